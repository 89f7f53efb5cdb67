// SPDX-License-Identifier: BSD-3-Clause
#include <iostream>

#include "tools/fwdctl/fwdctl.h"

int main(int argc, char** argv) {
    return fwd::fwdctl::run(argc, argv, std::cout, std::cerr);
}
