// SPDX-License-Identifier: BSD-3-Clause
#include "tools/fwdctl/table.h"

#include <algorithm>
#include <utility>

namespace fwd::fwdctl {

Table::Table(std::vector<Column> columns) : columns_{std::move(columns)} {
    for (const Column& column : columns_) widths_.push_back(column.title.size());
}

void Table::add(std::vector<std::string> row) {
    for (std::size_t i = 0; i < row.size(); ++i) widths_[i] = std::max(widths_[i], row[i].size());
    rows_.push_back(std::move(row));
}

std::string Table::take_text() {
    std::string text;
    if (!std::exchange(titles_shown_, true)) {
        std::vector<std::string> titles;
        for (const Column& column : columns_) titles.push_back(column.title);
        append_line(text, titles);
    }
    for (const auto& row : rows_) append_line(text, row);
    rows_.clear();
    return text;
}

void Table::append_line(std::string& text, const std::vector<std::string>& row) const {
    for (std::size_t i = 0; i < row.size(); ++i) {
        const std::string padding(widths_[i] - row[i].size(), ' ');
        if (i > 0) text += "  ";
        text += columns_[i].align == Align::right ? padding + row[i] : row[i] + padding;
    }
    text.erase(text.find_last_not_of(' ') + 1);
    text += '\n';
}

}  // namespace fwd::fwdctl
