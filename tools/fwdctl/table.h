// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <string>
#include <vector>

namespace fwd::fwdctl {

/// Columns of text, each as wide as its widest cell; numbers stand right.
class Table {
 public:
    enum class Align { left, right };
    struct Column {
        std::string title;
        Align align = Align::left;
    };

    explicit Table(std::vector<Column> columns);

    void add(std::vector<std::string> row);
    bool empty() const { return rows_.empty(); }

    /// The rows since the last call, below the titles the first time. Columns never get narrower, so that the
    /// parts of a long list stand below each other.
    std::string take_text();

 private:
    void append_line(std::string& text, const std::vector<std::string>& row) const;

    std::vector<Column> columns_;
    std::vector<std::size_t> widths_;
    std::vector<std::vector<std::string>> rows_;
    bool titles_shown_ = false;
};

}  // namespace fwd::fwdctl
