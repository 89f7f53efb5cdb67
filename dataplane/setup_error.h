// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <tl/expected.hpp>

namespace fwd::dataplane {

/// Why a part of the data plane could not be set up.
struct SetupError {
    const char* what = "";  ///< a static text: "can't start the port"
    int code = 0;           ///< an errno value, positive; 0 when there is none
    int link = -1;          ///< index of the link whose device it is about; -1: none
};

template <typename T>
using Setup = tl::expected<T, SetupError>;

}  // namespace fwd::dataplane
