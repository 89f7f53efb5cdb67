#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Which test shows which requirement: checks test/requirements.txt, the tests and test/README.md against each other."""

import argparse
import re
import sys
from pathlib import Path

TEST = Path(__file__).resolve().parent
README = TEST / "README.md"
BEGIN = "<!-- made by test/requirements.py --write -->\n"
STATES = ("not yet", "in part", "not applicable")
NAMES_IDS = re.compile(r"///\s+((?:[A-Z]\d+)(?:, [A-Z]\d+)*)(?::|$)")
BEGINS_WITH_ID = re.compile(r"///\s+[A-Z]\d+\b")
TEST_CASE = re.compile(r"(?:TYPED_)?TEST(?:_[FP])?\((\w+), (\w+)\)")


class Requirement:
    def __init__(self, line):
        fields = [field.strip() for field in line.split("|")]
        if len(fields) != 4:
            raise SystemExit(f"test/requirements.txt: not four fields: {line}")
        self.id, self.source, self.behaviour, state = fields
        self.state, _, self.reason = (part.strip() for part in state.partition(":"))
        if self.state and (self.state not in STATES or not self.reason):
            raise SystemExit(f"test/requirements.txt: {self.id}: want '{': REASON, '.join(STATES)}: REASON' or nothing")
        self.tests = []

    def wrong(self):
        """What the tests say against the state, or None."""
        if self.state in ("", "in part") and not self.tests:
            return "no test names it"
        if self.state in ("not yet", "not applicable") and self.tests:
            return f"is said to be {self.state}, and {self.tests[0]} names it"
        return None

    def row(self):
        state = f"{self.state}: {self.reason}" if self.state else "shown"
        tests = "<br>".join(f"`{test}`" for test in self.tests)
        return f"| {self.id} | {self.source} | {self.behaviour} | {tests} | {state} |\n"


def read_requirements():
    lines = (TEST / "requirements.txt").read_text().splitlines()
    rows = [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]
    return {row.id: row for row in rows}


def add_tests(requirements):
    """Finds the tests that name ids; gives what is wrong with how they do."""
    wrong = []
    for file in sorted(TEST.rglob("*.cc")):
        ids = []
        for number, line in enumerate(file.read_text().splitlines(), 1):
            if line.startswith("///"):
                if named := NAMES_IDS.match(line):
                    ids = [(id, number) for id in named[1].split(", ")]
                elif BEGINS_WITH_ID.match(line):
                    wrong.append(f"{file.relative_to(TEST.parent)}:{number}: want '/// U1, R3: SENTENCE', got '{line}'")
                continue
            if case := TEST_CASE.match(line):
                for id, _ in ids:
                    if id in requirements:
                        requirements[id].tests.append(f"{case[1]}.{case[2]}")
            elif ids:
                wrong.append(f"{file.relative_to(TEST.parent)}:{ids[0][1]}: names {ids[0][0]} above what is no test")
            wrong += [f"{file.relative_to(TEST.parent)}:{at}: there is no {id}" for id, at in ids if id not in requirements]
            ids = []
    return wrong


def table(requirements):
    head = "| id | source | behaviour | tests | state |\n| --- | --- | --- | --- | --- |\n"
    return BEGIN + head + "".join(row.row() for row in requirements.values())


def without_parameters(case):
    """`BadFrame.IsDropped` of what reports call `Rows/BadFrame.IsDropped/Truncated`."""
    suite, _, name = case.partition(".")
    return f"{suite.split('/')[-1]}.{name.split('/')[0]}"


def check(ran=None, failed=()):
    """Gives what is wrong, and the count as a sentence.

    @param ran the names of all tests that were run, if all were: those that show requirements must be among them
    @param failed of those the ones that failed
    """
    requirements = read_requirements()
    wrong = add_tests(requirements)
    wrong += [f"{row.id}: {what}" for row in requirements.values() if (what := row.wrong())]
    text = README.read_text()
    if text.partition(BEGIN)[1:] != table(requirements).partition(BEGIN)[1:]:
        wrong.append("test/README.md is not what the tests say: run test/requirements.py --write")
    if ran is not None:
        good = {without_parameters(case) for case in ran} - {without_parameters(case) for case in failed}
        wrong += [f"{row.id}: {test} has not passed" for row in requirements.values() for test in row.tests
                  if test not in good]
    return wrong, count(requirements)


def count(requirements):
    states = [row.state for row in requirements.values()]
    parts = [(states.count(""), "shown")]
    parts += [(states.count(state), state) for state in ("in part", "not yet", "not applicable")]
    return "requirements: " + ", ".join(f"{number} {state}" for number, state in parts if number or state == "shown")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="make the table of test/README.md anew")
    if parser.parse_args().write:
        requirements = read_requirements()
        add_tests(requirements)
        README.write_text(README.read_text().partition(BEGIN)[0] + table(requirements))
    wrong, sentence = check()
    print("\n".join([*wrong, sentence]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
