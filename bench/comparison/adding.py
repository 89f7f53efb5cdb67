# SPDX-License-Identifier: BSD-3-Clause
"""The same systems, and how rules are added to each while it forwards: a process a rule, or all in one transaction."""

import json
import re
import subprocess
import sys
import time
from bisect import bisect_left
from dataclasses import dataclass

from . import captures, systems
from .systems import ROOT, SystemFailed, dotted

PORTS = 100  # of each external address
SAMPLE_SECONDS = 0.005  # how often bench/prepare.cc counts
GRACE_SECONDS = 60


def rules(count):
    """External addresses (RFC 2544's, routed to the forwarder) and targets, as text."""
    first = captures.address("198.18.0.1")
    servers = captures.SERVERS
    return [(f"{dotted(first + n // PORTS)}:{1000 + n % PORTS}",
             f"{servers[n % len(servers)]}:{20000 + n // len(servers)}") for n in range(count)]


class Samples:
    """The packets that have left, over time."""

    def __init__(self):
        self.times, self.packets = [], []

    def take(self, system):
        now, packets = system.count()
        if not self.times or now > self.times[-1]:
            self.times.append(now)
            self.packets.append(packets)
        time.sleep(SAMPLE_SECONDS)

    def take_for(self, system, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.take(system)

    def at(self, moment):
        after = min(max(bisect_left(self.times, moment), 1), len(self.times) - 1)
        (t0, t1), (p0, p1) = self.times[after - 1:after + 1], self.packets[after - 1:after + 1]
        return p0 + (p1 - p0) * (moment - t0) / (t1 - t0)

    def mpps(self, begin, end):
        return (self.at(end) - self.at(begin)) * 1000 / (end - begin)


@dataclass
class Added:
    """What one measurement has found."""

    rules: int
    seconds: float
    before_mpps: float
    during_mpps: float
    after_mpps: float


class Adding:
    """Mixed into a system.

    commands_for(rules) has a command for each, file_command(rules) one for all; listed() are the rules that are there.
    """

    enter = ()  # where commands are run

    def add(self, commands, samples, limit):
        """Runs them on the first core, next to the system's own control, while it forwards on the last one."""
        file = self.directory / "commands.json"
        file.write_text(json.dumps([[str(part) for part in command] for command in commands]))
        process = subprocess.Popen(["taskset", "--cpu-list", str(self.bench.control_core), *self.enter, sys.executable,
                                    "-m", "comparison.one_by_one", str(limit), file], cwd=ROOT / "bench", text=True,
                                   stdout=subprocess.PIPE, stderr=open(self.directory / "adding.log", "w"))
        end = time.monotonic() + limit + GRACE_SECONDS
        try:
            while process.poll() is None:
                samples.take(self)
                if time.monotonic() > end:
                    raise SystemFailed(f"adding rules: not within {limit + GRACE_SECONDS} s")
        finally:
            process.kill()
        if process.wait() != 0:
            raise SystemFailed("adding rules failed")
        return json.load(process.stdout)

    def measure(self, wanted, at_once, seconds, limit):
        self.resume()
        time.sleep(systems.WARM_SECONDS)
        samples = Samples()
        samples.take_for(self, seconds)
        before = samples.mpps(samples.times[0], samples.times[-1])
        commands = [self.file_command(wanted)] if at_once else self.commands_for(wanted)
        done = self.add(commands, samples, limit)
        samples.take_for(self, seconds)
        self.after()
        count = len(wanted) if at_once else done["count"]
        there, added = self.listed(), set(wanted[:count])
        if there != added:
            raise SystemFailed(f"{len(added & there)} of {count} added rules are there, {len(there - added)} others")
        begin, end = done["begin"], done["end"]
        return Added(count, (end - begin) / 1e9, before, samples.mpps(begin, end),
                     samples.mpps(end, end + seconds * 1e9))


class Fwd(Adding, systems.Fwd):
    def arguments(self, rule):
        return [self.protocol, *rule, "--source", "preserve"]

    def commands_for(self, wanted):
        return [[*self.client, "add-rule", *self.arguments(rule)] for rule in wanted]

    def file_command(self, wanted):
        file = self.directory / "rules"
        file.write_text("".join(" ".join(self.arguments(rule)) + "\n" for rule in wanted))
        return [*self.client, "add-rules", file]

    def listed(self):
        listed = json.loads(self.fwdctl("--json", "list-rules"))["rules"]
        return {(rule["external"], rule["target"]) for rule in listed if rule["external"].startswith("198.")}


class Ovs(Adding, systems.Ovs):
    FLOW = re.compile(r"nw_dst=(198[\d.]+),tp_dst=(\d+) actions=ct\(commit,zone=1,nat\(dst=([\d.:]+)\)\),output:lan$")

    def text(self, rule):
        endpoints = (text.split(":") for text in rule)
        return self.flow(*((captures.address(ip), port) for ip, port in endpoints))

    def commands_for(self, wanted):
        return [["ovs-ofctl", "-O", "OpenFlow15", "add-flow", self.bridge, self.text(rule)] for rule in wanted]

    def file_command(self, wanted):
        file = self.directory / "more-flows"
        file.write_text("".join(self.text(rule) + "\n" for rule in wanted))
        return ["ovs-ofctl", "-O", "OpenFlow15", "--bundle", "add-flows", self.bridge, file]

    def listed(self):
        found = map(self.FLOW.search, self.ofctl("dump-flows", "table=1", "--no-stats", "--names").splitlines())
        return {(f"{flow[1]}:{flow[2]}", flow[3]) for flow in found if flow}


class Nftables(Adding, systems.Nftables):
    """Rules are elements of a map, which is looked up once, however many there are."""

    def table(self):
        return super().table() + f"""
        table ip nat {{
            map targets {{ type ipv4_addr . inet_service : ipv4_addr . inet_service; }}
            chain prerouting {{ iifname "r0" dnat ip to ip daddr . {self.protocol} dport map @targets; }}
        }}"""

    @property
    def enter(self):
        return self.router.enter

    @staticmethod
    def element(rule):
        return " : ".join(text.replace(":", " . ") for text in rule)

    def commands_for(self, wanted):
        return [["nft", f"add element ip nat targets {{ {self.element(rule)} }}"] for rule in wanted]

    def file_command(self, wanted):
        file = self.directory / "elements"
        file.write_text("add element ip nat targets {\n" + ",\n".join(map(self.element, wanted)) + "\n}\n")
        return ["nft", "-f", file]

    def listed(self):
        listed = json.loads(self.router.run("nft -j list map ip nat targets"))["nftables"]
        elements = next(part["map"]["elem"] for part in listed if "map" in part)
        return {tuple("{}:{}".format(*side["concat"]) for side in element) for element in elements}
