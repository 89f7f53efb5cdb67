# SPDX-License-Identifier: BSD-3-Clause
"""What bench/throughput is made of: captures, the systems it compares, and how it shows the result."""
