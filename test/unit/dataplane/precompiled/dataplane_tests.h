// SPDX-License-Identifier: BSD-3-Clause
// What nearly every test here includes; a test names what it needs all the same.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <random>
#include <string>
#include <vector>

#include "test/support/packet_builder.h"
