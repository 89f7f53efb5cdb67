// SPDX-License-Identifier: BSD-3-Clause
// A configuration is refused with a message, or taken; rules that are taken are the same when they have been
// written and read again.
#include <cstdlib>
#include <string>

#include "control/settings.h"
#include "test/unit/control/temporary_directory.h"

namespace fwd::control {
namespace {

void check(bool holds) {
    if (!holds) std::abort();
}

void expect_same_again(const std::vector<Rule>& rules) {
    const std::string text = format_rules(rules);
    const auto again = parse_rules(text, "again");
    check(again.has_value());
    check(format_rules(*again) == text);
}

void run(const std::string& text) {
    static const test::TemporaryDirectory directory;
    const auto settings = load_settings(directory.write("fwd.conf", text));
    check(settings || !settings.error().text().empty());
    if (settings) expect_same_again(settings->rules);
    if (const auto rules = parse_rules(text, "input")) expect_same_again(*rules);
}

}  // namespace
}  // namespace fwd::control

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fwd::control::run({reinterpret_cast<const char*>(data), size});
    return 0;
}
