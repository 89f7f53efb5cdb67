# SPDX-License-Identifier: BSD-3-Clause
"""Where a comparison runs: processes and networks of its own, which end with it however it ends."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from . import machine

sys.path.append(str(Path(__file__).resolve().parents[2] / "tools"))
import children  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
INSIDE, SCRATCH = "FWD_BENCH_INSIDE", "FWD_BENCH_SCRATCH"
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def build_step(command):
    status = children.run(command).returncode
    if status != 0:
        sys.exit(status)


def needed_build():
    """The directory with fwd's release build, which is made when FWD_BUILD names no other."""
    if os.environ.get("FWD_BUILD"):
        return Path(os.environ["FWD_BUILD"]).resolve()
    build = ROOT / "build-release"
    progress = ROOT / "tools/progress"
    build_step([ROOT / "tools/setup", "build", "lab", "bench"])
    if not (build / "build.ninja").exists():
        build_step([progress, "configuring build-release", build / "setup.log",
                        "meson", "setup", "--buildtype=release", build, ROOT])
    build_step([progress, "building build-release", build / "build.log", "ninja", "-C", build,
                    "control/fwdd", "tools/fwdctl/fwdctl", "bench/bench_prepare.so", "bench/generator"])
    return build


def end_cleanly(number, _):
    """What is borrowed goes back, and a second signal doesn't disturb that."""
    for each in ENDING:
        signal.signal(each, signal.SIG_IGN)
    sys.exit(128 + number)


def run_inside(build, scratch):
    """The program's status, once nothing that it has started runs any more."""
    # What runs inside outlives its starter for a moment: then it is ours to wait for.
    ctypes.CDLL(None).prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    child = subprocess.Popen(
        ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", *sys.argv],
        env=dict(os.environ, **{INSIDE: str(build), SCRATCH: scratch}), start_new_session=True)
    try:
        return child.wait()
    finally:
        child.kill()
        with contextlib.suppress(ChildProcessError):
            while True:
                os.wait()


def enter(megabytes, connections):
    """Starts the program again inside and ends with it; inside, gives the directory of the build and one for its files.

    megabytes of hugepages and a kernel that tracks so many connections are there meanwhile.
    """
    if os.environ.get(INSIDE):
        return Path(os.environ[INSIDE]), Path(os.environ[SCRATCH])
    build = needed_build()
    if os.geteuid() != 0:
        os.execvp("sudo", ["sudo", f"FWD_BUILD={build}", f"TMPDIR={tempfile.gettempdir()}", *sys.argv])
    if megabytes * 5 // 4 > machine.available_mb():
        sys.exit(f"{sys.argv[0]}: {megabytes} MB of hugepages wanted, {machine.available_mb()} MB of memory are "
                 "available: comparing less at a time needs less, see --help")
    for each in ENDING:
        signal.signal(each, end_cleanly)
    with tempfile.TemporaryDirectory(prefix="fwd-bench-") as scratch, machine.hugepages(megabytes) as complete, \
            machine.at_least(machine.CONNTRACK_MAX, connections), \
            machine.at_least(machine.CONNTRACK_BUCKETS, connections):
        if not complete:
            sys.exit(f"{sys.argv[0]}: {megabytes} MB of hugepages can't be reserved: memory is fragmented or in use")
        sys.exit(run_inside(build, scratch))
