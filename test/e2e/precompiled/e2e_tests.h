// SPDX-License-Identifier: BSD-3-Clause
// What nearly every test here includes; a test names what it needs all the same.
#include <fmt/format.h>

#include <algorithm>

#include "test/e2e/lab.h"
