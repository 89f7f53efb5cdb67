# SPDX-License-Identifier: BSD-3-Clause
"""What the comparisons are made of: captures, the systems it compares, and how it shows the result."""
