# SPDX-License-Identifier: BSD-3-Clause
"""The same systems, as they ship, and how long each takes to start and what memory it holds then."""

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from . import machine, systems
from .systems import START_SECONDS, SystemFailed, dotted, wait_for

POLL_SECONDS = 0.002


@dataclass
class Started:
    """Seconds since the start of the process, and MB; None where a system has no such thing."""

    answers: float | None = None  # its control
    forwards: float | None = None  # the first packet
    hugepages_mb: float | None = None
    rss_mb: float | None = None


def process_mb(process, key):
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) / 1024
    raise SystemFailed(f"the kernel does not tell {key}")


class Starting:
    """Mixed into a DPDK system: packets wait for it, bench/prepare.cc only counts."""

    opens_sessions = False

    def spawn_and_time(self, *settings):
        begin = time.monotonic()
        process = self.spawn_daemon(*settings)

        def until(what, condition):
            wait_for(what, condition, process, START_SECONDS, POLL_SECONDS)
            return time.monotonic() - begin

        with ThreadPoolExecutor() as pool:
            answers = pool.submit(until, "its control", self.control_answers)
            forwards = pool.submit(until, "the first packet", lambda: self.count()[1] > 0)
        return Started(answers.result(), forwards.result(), process_mb(process, "HugetlbPages"),
                       process_mb(process, "VmRSS"))


class Fwd(Starting, systems.Fwd):
    def __init__(self, hugepages, *arguments):
        self.hugepages = hugepages
        super().__init__("dnat", *arguments)

    def control_answers(self):
        return self.socket.exists() and subprocess.run([*self.client, "status"], capture_output=True).returncode == 0

    def measure(self):
        endpoints = (f"{dotted(ip)}:{port}" for ip, port in (self.traffic.external(0), self.traffic.target(0)))
        started = self.spawn_and_time(
            f"hugepages = {str(self.hugepages).lower()};",
            'rules = ( {{ protocol = "udp"; external = "{}"; target = "{}"; source = "preserve"; }} );'.format(
                *endpoints))
        status = self.status()
        if (status["hugepages"], status["capacity"]) != (self.hugepages, self.capacity):
            raise SystemFailed(f"it has not started as it was told: {status}")
        return started


class Ovs(Starting, systems.Ovs):
    """Bridge and ports are in its database, as after a reboot; flows are added as soon as it takes them."""

    def control_answers(self):
        try:
            self.add_flows()
            return True
        except SystemFailed:  # no bridge yet, or no ports
            return False

    def measure(self):
        self.start_database()
        self.add_ports("--no-wait")
        started = self.spawn_and_time()
        self.check_ports()
        return started


class Nftables(systems.Nftables):
    """Nothing starts: the table is loaded."""

    def measure(self):
        self.router = systems.Namespace()
        begin = time.monotonic()
        self.router.run("nft -f -", input=self.table())
        return Started(answers=time.monotonic() - begin)


def conntrack_bytes():
    """Of the kernel's memory: an entry without its extensions, and the buckets that are there however few are used."""
    entry = next((int(line.split()[3]) for line in Path("/proc/slabinfo").read_text().splitlines()
                  if line.startswith("nf_conntrack ")), None)
    return entry, 8 * int(machine.CONNTRACK_BUCKETS.read_text())
