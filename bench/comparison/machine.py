# SPDX-License-Identifier: BSD-3-Clause
"""The machine: what it is, and what a run borrows from it and gives back."""

import contextlib
import datetime
import os
import platform
import subprocess
from pathlib import Path

HUGEPAGES = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")
CONNTRACK_MAX = Path("/proc/sys/net/netfilter/nf_conntrack_max")
CONNTRACK_BUCKETS = Path("/sys/module/nf_conntrack/parameters/hashsize")


def describe():
    cpu = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")), platform.machine())
    memory = int(Path("/proc/meminfo").read_text().split()[1]) // (1 << 20)
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    dpdk = subprocess.run(["dpkg-query", "-Wf", "${Version}", "dpdk"], capture_output=True, text=True).stdout
    return {"cpu": cpu, "cores": os.cpu_count(), "memory_gib": memory, "kernel": platform.release(),
            "system": release.get("PRETTY_NAME", "").strip('"'), "dpdk": dpdk,
            "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")}


def memory(key):
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1])
    return 0


def available_mb():
    return memory("MemAvailable") >> 10


def free_hugepages_mb():
    return memory("HugePages_Free") * memory("Hugepagesize") >> 10


@contextlib.contextmanager
def hugepages(megabytes):
    """Reserves 2 MB pages on top of those that are there; yields whether all were to be had."""
    pages = megabytes // 2
    before = int(HUGEPAGES.read_text())
    added = 0
    try:
        try:
            HUGEPAGES.write_text(str(before + pages))
        finally:  # a signal ends that half-way
            added = int(HUGEPAGES.read_text()) - before
        yield added == pages
    finally:
        HUGEPAGES.write_text(str(max(int(HUGEPAGES.read_text()) - added, 0)))


@contextlib.contextmanager
def at_least(file, value):
    """Raises a number of the kernel's for a while."""
    before = int(file.read_text())
    if before < value:
        file.write_text(str(value))
    try:
        yield
    finally:
        if before < value:
            file.write_text(str(before))
