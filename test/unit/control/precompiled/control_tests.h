// SPDX-License-Identifier: BSD-3-Clause
// What nearly every test here includes; a test names what it needs all the same.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>
