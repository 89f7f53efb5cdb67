# SPDX-License-Identifier: BSD-3-Clause
"""Fails when a packet takes more instructions than instructions.json allows: a guard that no noise can trip.

Usage: instructions_test.py PROGRAM [--update]

Counts with callgrind. The kept figures are those of Debian 12's gcc and DPDK with meson's debugoptimized build;
after a change that is worth its instructions, --update writes the new ones.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

KEPT = Path(__file__).with_name("instructions.json")
TOLERANCE = 0.02


def count(program):
    """Instructions a packet, by kind of packet."""
    with tempfile.TemporaryDirectory() as scratch:
        done = subprocess.run(
            ["valgrind", "--tool=callgrind", "--collect-atstart=no", f"--callgrind-out-file={scratch}/out", program],
            capture_output=True, text=True, env={**os.environ, "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F"})
        if done.returncode != 0:
            sys.exit(f"instructions: {program} ended with status {done.returncode}\n{done.stdout}{done.stderr}")
        packets = {name: int(number) for name, number in re.findall(r"^(\S+) (\d+)$", done.stdout, re.MULTILINE)}
        result = {}
        for file in Path(scratch).iterdir():
            text = file.read_text()
            trigger = re.search(r"^desc: Trigger: Client Request: (\S+)$", text, re.MULTILINE)
            if trigger:
                name = trigger[1]
                total = int(re.search(r"^(?:summary|totals): (\d+)", text, re.MULTILINE)[1])
                result[name] = round(total / packets[name], 1)
        if result.keys() != packets.keys():
            sys.exit(f"instructions: counted {sorted(result)}, want {sorted(packets)}")
        return result


def main():
    counted = count(sys.argv[1])
    if "--update" in sys.argv:
        KEPT.write_text(json.dumps(counted, indent=1, sort_keys=True) + "\n")
    kept = json.loads(KEPT.read_text())
    failed = counted.keys() != kept.keys()
    for name in sorted(kept):
        now = counted.get(name, float("inf"))
        change = now / kept[name] - 1
        bad = change > TOLERANCE
        failed = failed or bad
        print(f"{name:20} {now:8.1f} instructions a packet, kept {kept[name]:8.1f}, {change:+.1%}"
              f"{'  TOO MANY' if bad else ''}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
