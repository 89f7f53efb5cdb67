// SPDX-License-Identifier: BSD-3-Clause
// What nearly every test here includes; a test names what it needs all the same.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/packet/networks.h"
