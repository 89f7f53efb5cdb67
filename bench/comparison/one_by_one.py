# SPDX-License-Identifier: BSD-3-Clause
"""Runs commands one after the other until the time is over: python3 -m comparison.one_by_one SECONDS FILE

FILE has a list of commands in JSON. Prints, in JSON too, when the first began and the last ended (nanoseconds of the
monotonic clock), and how many they were.
"""

import json
import os
import sys
import time
from pathlib import Path


def main():
    seconds, file = sys.argv[1:]
    quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    count = 0
    begin = end = time.monotonic_ns()
    for command in json.loads(Path(file).read_text()):
        if end - begin > float(seconds) * 1e9:
            break
        child = os.posix_spawnp(command[0], command, os.environ, file_actions=quiet)
        if os.waitpid(child, 0)[1] != 0:
            sys.exit(f"failed: {' '.join(command)}")
        count += 1
        end = time.monotonic_ns()
    print(json.dumps({"begin": begin, "end": end, "count": count}))


main()
