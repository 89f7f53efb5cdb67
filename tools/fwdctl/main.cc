// SPDX-License-Identifier: BSD-3-Clause
#include <cstdlib>
#include <iostream>

#include "tools/fwdctl/fwdctl.h"

int main(int argc, char** argv) {
    const int status = fwd::fwdctl::run(argc, argv, std::cout, std::cerr);
    if (std::cout.flush()) return status;
    std::cerr << "fwdctl: the output cannot be written\n";
    return status == EXIT_SUCCESS ? EXIT_FAILURE : status;
}
