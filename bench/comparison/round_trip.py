# SPDX-License-Identifier: BSD-3-Clause
"""The same systems, with the generator (bench/generator.cc) at both of their ends instead of captures and a sink.

    generator on the first core -- memif, or veth for the kernel -- the system on the last core
"""

import contextlib
import json
import os
import select
import subprocess
from dataclasses import dataclass
from pathlib import Path

from . import captures, systems
from .systems import SystemFailed, run, wait_for

STAMP_BYTES = 14
WARM_SECONDS = 0.1
ANSWER_SECONDS = 60
POLLING_THREADS = ("generator", "rte-worker", "pmd-")


@dataclass
class Trial:
    """What the generator says of one trial."""

    offered: int
    lost: int
    seconds: float
    us: dict  # round trips: p50, p99, p99.9, max
    longest_pause_us: float

    @property
    def offered_mpps(self):
        return self.offered / self.seconds / 1e6

    @property
    def returned_mpps(self):
        return (self.offered - self.lost) / self.seconds / 1e6


def schedule_polling_threads(process, policy):
    """SCHED_FIFO: no other program gets their core, if the machine permits it; SCHED_OTHER: like any other."""
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        with contextlib.suppress(OSError):
            if (task / "comm").read_text().startswith(POLLING_THREADS):
                os.sched_setscheduler(int(task.name), policy, os.sched_param(policy == os.SCHED_FIFO))


class Generator:
    """The process; it ends when this end of its standard input is closed."""

    def __init__(self, command, log_file):
        with open(log_file, "wb") as log:
            self.process = subprocess.Popen([str(part) for part in command], stdin=subprocess.PIPE,
                                            stdout=subprocess.PIPE, stderr=log)

    def ask(self, command, seconds):
        try:
            self.process.stdin.write(command.encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise SystemFailed(f"{command}: the generator has ended") from None
        if not select.select([self.process.stdout], [], [], seconds)[0]:
            raise SystemFailed(f"{command}: no answer from the generator within {seconds} s")
        line = self.process.stdout.readline()
        if not line:
            raise SystemFailed(f"{command}: the generator has ended")
        return json.loads(line)

    def close(self):
        self.process.kill()
        self.process.wait()


class RoundTrip:
    """Mixed into a system: the generator's devices in place of net_pcap and net_null."""

    routed = True  # MAC addresses and TTL are a router's
    rx_queues = 1  # how many queues the system sends on
    way = "dnat"  # what becomes of addresses: see captures.check_sample

    def __init__(self, ring_packets, *arguments):
        self.log2_ring = ring_packets.bit_length() - 1
        super().__init__(*arguments)

    def devices(self):
        mac = captures.FIRST_PCAP_MAC
        memif = lambda n, side: (f"net_memif{n},role=server,socket={self.directory}/{side},socket-abstract=no,"
                                 f"mac={(mac[:-1] + bytes([n])).hex(':')}")
        return memif(0, "wan"), memif(1, "lan")

    def environment(self):
        return {}

    def buffers(self):
        return systems.SPARE_BUFFERS

    def buffer_bytes(self):
        return 2048 + systems.BUFFER_ROOM  # what fwdd and ovs-vswitchd have as well

    def generator_devices(self):
        # Zero-copy: the forwarder copies, as with any peer; the generator, which has to be the faster one, does not.
        return [f"net_memif{n},role=client,socket={self.directory}/{side},socket-abstract=no,zero-copy=yes,"
                f"rsize={self.log2_ring}" for n, side in enumerate(("wan", "lan"))]

    def start_generator(self, enter=()):
        devices = self.generator_devices()
        vdevs = [part for device in devices for part in ("--vdev", device)]
        self.generator = Generator([
            *enter, self.bench.build / "bench/generator", "--lcores", f"0@{self.bench.control_core}", "--no-pci",
            "--no-telemetry", "--in-memory", "--single-file-segments", *vdevs, "--",
            *(device.split(",")[0] for device in devices), self.rx_queues, self.bench.capture(self.traffic),
            self.directory], self.directory / "generator.log")
        self.generator.ask("open", systems.OPEN_SECONDS)
        for file, way in (("forward", self.way), ("answers", "answers")):
            sample = self.directory / f"{file}.pcap"
            count = captures.check_sample(sample, self.traffic, way, self.routed)
            if count != self.traffic.sessions:
                raise SystemFailed(f"{file}: {count} sessions of {self.traffic.sessions}")
            sample.unlink()
        schedule_polling_threads(self.generator.process, os.SCHED_FIFO)

    def open_sessions(self, process, routed):
        for side in ("wan", "lan"):
            wait_for("the links", (self.directory / side).exists, process, systems.START_SECONDS)
        self.start_generator()
        self.pause()

    def resume(self):
        super().resume()
        for process in self.measured():
            schedule_polling_threads(process, os.SCHED_FIFO)

    def pause(self):
        # A thread that polls in real time could keep the others from noticing that they have to stop, and the next
        # system from its core.
        for process in self.measured():
            schedule_polling_threads(process, os.SCHED_OTHER)
        super().pause()
        for process in self.measured():
            wait_for("stopping", lambda: self.is_stopped(process), process, systems.START_SECONDS)

    @staticmethod
    def is_stopped(process):
        tasks = Path(f"/proc/{process.pid}/task").iterdir()
        return all((task / "stat").read_text().rsplit(")", 1)[1].split()[0] == "T" for task in tasks)

    def trial(self, mpps, seconds):
        """One measurement, of which every answer has been checked."""
        self.resume()
        self.generator.ask(f"trial {mpps * 1e6:.0f} {WARM_SECONDS}", ANSWER_SECONDS)
        said = self.generator.ask(f"trial {mpps * 1e6:.0f} {seconds}", ANSWER_SECONDS + seconds)
        self.pause()
        if said["wrong"]:
            raise captures.WrongFrame(f"{said['wrong']} packets are not what was sent: {said['first_wrong']}")
        if said["received"]:
            captures.check_sample(self.directory / "sample.pcap", self.traffic, self.way, self.routed, STAMP_BYTES)
        return Trial(said["offered"], said["offered"] - said["received"], said["seconds"],
                     {key: said[f"{key}_us"] for key in ("p50", "p99", "p99.9", "max")}, said["longest_pause_us"])

    def stop(self):
        if hasattr(self, "generator"):
            self.generator.close()
        super().stop()


class Fwd(RoundTrip, systems.Fwd):
    def __init__(self, idle, *arguments):
        self.idle = idle
        super().__init__(*arguments)


class Testpmd(RoundTrip, systems.Testpmd):
    routed = False

    @property
    def way(self):
        return "swapped" if self.mode == "5tswap" else "untouched"

    def wait_until_ready(self, process):
        self.open_sessions(process, self.routed)


class Ovs(RoundTrip, systems.Ovs):
    routed = False
    rx_queues = 2  # one of its control threads has a queue of its own
    more_settings = ["other_config:per-port-memory=true"]


class Nftables(RoundTrip, systems.Nftables):
    """The kernel forwards on the last core, which RPS hands packets to; how they get there is the sender's work."""

    RING_BYTES = 2048

    def start(self):
        self.sender = self.sink = systems.Namespace()
        self.router = systems.Namespace()
        self.set_up_router()
        core = f"{1 << self.bench.worker_cores[0]:x}"
        steer = " && ".join(["mount -t sysfs sysfs /sys"] + [f"echo {core} >/sys/class/net/{link}/queues/rx-0/rps_cpus"
                                                             for link in ("r0", "r1")])
        run(*self.router.enter, "unshare", "--mount", "sh", "-c", steer)
        self.start_generator(self.sender.enter)
        if self.tracked() != self.traffic.sessions:
            raise SystemFailed(f"{self.tracked()} connections are tracked, not {self.traffic.sessions}")

    def generator_devices(self):
        ring = 1 << self.log2_ring
        return [f"net_af_packet{n},iface={link},qdisc_bypass=1,framesz={self.RING_BYTES},blocksz=65536,framecnt={ring}"
                for n, link in enumerate(("s0", "k0"))]
