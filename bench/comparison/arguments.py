# SPDX-License-Identifier: BSD-3-Clause
"""Types of arguments, which say what would be right."""

import argparse


def number(lowest, highest, convert=int):
    def parse(text):
        try:
            value = convert(text)
            if lowest <= value <= highest:
                return value
        except ValueError:
            pass
        raise argparse.ArgumentTypeError(f"got {text!r}, want {lowest} to {highest}")
    return parse


def list_of(parse):
    """Separated by commas; none of them when empty."""
    return lambda text: [parse(part) for part in text.split(",")] if text else []


def some_of(choices):
    def parse(text):
        if text not in choices:
            raise argparse.ArgumentTypeError(f"got {text!r}, want some of {','.join(choices)}")
        return text
    return list_of(parse)
