# SPDX-License-Identifier: BSD-3-Clause
"""What is compared. Each system is started, brought into its established state and stopped (SIGSTOP); it runs only
while it is measured, on the same core as all others."""

import contextlib
import datetime
import json
import mmap
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

from . import captures
from .captures import check_sample

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60
OPEN_SECONDS = 240
BUFFER_ROOM = 128  # RTE_PKTMBUF_HEADROOM
SPARE_BUFFERS = 32768
WARM_SECONDS = 0.3
PATIENCE_SECONDS = 30


class SystemFailed(Exception):
    pass


def dotted(ip):
    return ".".join(map(str, struct.pack("!I", ip)))


def wait_for(what, condition, process, seconds, poll_seconds=0.02):
    end = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None:
            raise SystemFailed(f"{what}: the process ended with status {process.returncode}")
        if time.monotonic() > end:
            raise SystemFailed(f"{what}: not within {seconds} s")
        time.sleep(poll_seconds)


def run(*command, **options):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise SystemFailed(f"{' '.join(map(str, command))}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


class Bench:
    """What the systems of one comparison share."""

    def __init__(self, scratch, build, workers):
        self.scratch, self.build, self.workers = scratch, build, workers
        self.prepare = build / "bench/bench_prepare.so"
        cores = sorted(os.sched_getaffinity(0))
        # From the last core down: the first ones tend to serve interrupts.
        self.worker_cores = cores[-workers:]
        self.control_core = cores[0]

    @staticmethod
    def buffer_bytes(traffic):
        return BUFFER_ROOM + max(256, (max(captures.SIZES[traffic.size]) + 127) // 128 * 128)

    def capture(self, traffic, answers=False):
        file = self.scratch / f"{traffic}{'-answers' if answers else ''}.pcap"
        if not file.exists():
            traffic.write(file, answers)
        return file


class System:
    """name: as in the result; workload: dnat, full-nat or answers; traffic: its sessions.

    lifetime: None, and all sessions are established before they are measured; or the seconds after which an idle one
    ends, and none is there in the beginning.
    """

    workload = "dnat"

    def __init__(self, bench, traffic, lifetime=None):
        self.bench, self.traffic, self.lifetime = bench, traffic, lifetime
        self.timeout = lifetime or 86400
        self.directory = bench.scratch / f"{self.label}".replace("/", "-")
        self.directory.mkdir()
        self.processes = []

    @property
    def protocol(self):
        return "tcp" if self.traffic.protocol == captures.TCP else "udp"

    @property
    def label(self):
        return f"{self.name}/{self.workload}/{self.traffic}"

    def spawn(self, command, **environment):
        log = open(self.directory / f"{len(self.processes)}.log", "wb")
        process = subprocess.Popen([str(part) for part in command], stdin=subprocess.PIPE, stdout=log,
                                   stderr=subprocess.STDOUT, env=dict(os.environ, **environment))
        self.processes.append(process)
        return process

    def log(self):
        return "\n".join(file.read_text(errors="replace")[-2000:] for file in sorted(self.directory.glob("*.log")))

    def signal(self, number):
        for process in self.measured():
            process.send_signal(number)

    def measured(self):
        return self.processes

    def resume(self):
        self.signal(signal.SIGCONT)

    def pause(self):
        self.signal(signal.SIGSTOP)

    def stop(self):
        for process in reversed(self.processes):
            process.kill()
            process.wait()

    def empty(self):
        """Called before that, for a system that is measured from an empty table on; returns when packets come."""

    def before(self):
        """Called at the beginning of each measurement, while the system runs already."""

    def after(self):
        """Called at its end, while it still runs; the share of the packets that count."""
        return 1


class DpdkSystem(System):
    """A DPDK program with bench/prepare.cc inside, which opens sessions and counts what leaves."""

    opens_sessions = True
    from_empty = False

    def __init__(self, bench, traffic, lifetime=None):
        super().__init__(bench, traffic, lifetime)
        self.hold = self.directory / "hold"
        self.counter_file = self.directory / "counter"
        self.counter_file.write_bytes(bytes(24))
        with open(self.counter_file, "r+b") as file:
            self.counter = mmap.mmap(file.fileno(), 24)
        self.wan, self.lan = self.devices()

    def source(self, answers=False):
        file = self.bench.capture(self.traffic, answers)
        queues = ",".join([f"rx_pcap={file}"] * self.bench.workers)
        return f"net_pcap0,{queues},infinite_rx=1"

    def devices(self):
        if self.workload == "answers":
            return "net_null0,no-rx=1", self.source(answers=True)
        return self.source(), "net_null0,no-rx=1"

    def buffers(self):
        return self.traffic.packets * self.bench.workers + SPARE_BUFFERS

    def buffer_bytes(self):
        return self.bench.buffer_bytes(self.traffic)

    def environment(self):
        name = lambda device: device.split(",")[0]
        values = {"LD_PRELOAD": self.bench.prepare, "FWD_BENCH_COUNTER": self.counter_file,
                  "FWD_BENCH_CONTROL_CORE": self.bench.control_core,
                  "FWD_BENCH_OUT": name(self.wan if self.workload == "answers" else self.lan)}
        if self.opens_sessions:
            values |= {"FWD_BENCH_BUFFERS": self.buffers(), "FWD_BENCH_BUFFER_BYTES": self.buffer_bytes(),
                       "FWD_BENCH_OPEN": "" if self.lifetime else self.bench.capture(self.traffic),
                       "FWD_BENCH_WAN": name(self.wan),
                       "FWD_BENCH_LAN": name(self.lan), "FWD_BENCH_GO": self.directory / "go",
                       "FWD_BENCH_SAMPLE": self.directory / "sample.pcap",
                       "FWD_BENCH_HOLD": self.hold if self.from_empty else ""}
        return {key: str(value) for key, value in values.items()}

    def open_sessions(self, process, routed):
        sample = self.directory / "sample.pcap"
        (self.directory / "go").touch()
        wait_for("opening sessions", sample.exists, process, OPEN_SECONDS)
        self.pause()
        check_sample(sample, self.traffic, self.workload, routed)
        sample.unlink()

    def count(self):
        """Nanoseconds and packets that have left, as one."""
        while True:
            first, nanoseconds, packets = struct.unpack("QQQ", self.counter[:24])
            if first % 2 == 0 and first == struct.unpack("Q", self.counter[:8])[0]:
                return nanoseconds, packets


class Testpmd(DpdkSystem):
    opens_sessions = False

    def __init__(self, mode, bench, traffic):
        self.mode, self.name = mode, f"testpmd-{mode}"
        super().__init__(bench, traffic)

    def start(self):
        lcores = ",".join([f"0@{self.bench.control_core}"] +
                          [f"{i + 1}@{core}" for i, core in enumerate(self.bench.worker_cores)])
        workers = self.bench.workers
        process = self.spawn(
            ["dpdk-testpmd", "--lcores", lcores, "--main-lcore", "0", "--no-pci", "--no-telemetry", "--in-memory",
             "--single-file-segments", f"--file-prefix=fwd-bench-{os.getpid()}-{self.mode}", "--vdev", self.wan, "--vdev", self.lan, "--",
             f"--forward-mode={self.mode}", f"--nb-cores={workers}", f"--rxq={workers}", f"--txq={workers}",
             f"--total-num-mbufs={self.buffers()}", f"--mbuf-size={self.buffer_bytes()}", "--burst=64",
             "--auto-start", "--no-lsc-interrupt"], **self.environment())
        self.wait_until_ready(process)
        self.pause()

    def wait_until_ready(self, process):
        wait_for("forwarding", lambda: self.count()[1] > 0, process, START_SECONDS)


class Fwd(DpdkSystem):
    name = "fwd"
    idle = "adaptive"  # its default
    STATES = ["udp", "udp_unanswered", "tcp_opening", "tcp_established", "tcp_closing"]

    def __init__(self, workload, bench, traffic, lifetime=None, capacity=None, from_empty=False):
        """from_empty: each measurement begins when no session is left of those before."""
        self.workload, self.from_empty = workload, from_empty
        self.capacity = capacity or traffic.sessions + traffic.sessions // 4 + 16
        super().__init__(bench, traffic, lifetime)

    def spawn_daemon(self, *settings):
        """settings: more lines for its configuration."""
        config = self.directory / "fwd.conf"
        self.socket = self.directory / "fwd.sock"
        addresses = lambda texts: ", ".join(f'"{text}/24"' for text in texts)
        neighbours = [("wan", captures.ROUTER, captures.ROUTER_MAC)]
        neighbours += [("lan", server, captures.server_mac(n)) for n, server in enumerate(captures.SERVERS)]
        config.write_text(f"""
            workers = [ {", ".join(map(str, self.bench.worker_cores))} ];
            sessions = {self.capacity};
            idle = "{self.idle}";
            socket = "{self.socket}";
            state_directory = "{self.directory}/state";
            timeouts = {{ {" ".join(f"{state} = {self.timeout};" for state in self.STATES)} }};
            links = ( {{ name = "wan"; device = "{self.wan}"; addresses = [ {addresses(captures.WAN_ADDRESSES)} ]; }},
                      {{ name = "lan"; device = "{self.lan}"; addresses = [ {addresses(captures.LAN_ADDRESSES)} ]; }} );
            routes = ( {{ prefix = "0.0.0.0/0"; via = "{captures.ROUTER}"; }} );
            neighbours = ( {", ".join(f'{{ link = "{link}"; address = "{ip}"; mac = "{mac.hex(":")}"; }}'
                                      for link, ip, mac in neighbours)} );
        """ + "\n".join(settings))
        return self.spawn([self.bench.build / "control/fwdd", "--config", config], **self.environment())

    def listens(self):
        """The socket is there a moment before anybody may connect."""
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(str(self.socket)) == 0

    def start(self):
        process = self.spawn_daemon()
        wait_for("the socket of fwdd", self.listens, process, START_SECONDS)
        source = "masquerade" if self.workload == "full-nat" else "preserve"
        for rule in range(self.traffic.rules):
            external, target = self.traffic.external(rule), self.traffic.target(rule)
            self.fwdctl("add-rule", self.protocol, f"{dotted(external[0])}:{external[1]}",
                        f"{dotted(target[0])}:{target[1]}", "--source", source)
        self.open_sessions(process, routed=True)
        if self.lifetime:
            return
        self.resume()
        stats = self.stats()
        if stats["sessions"]["live"] != self.traffic.sessions or stats["sessions"]["unanswered"] != 0:
            raise SystemFailed(f"not every session is established: {stats['sessions']}")
        self.dropped = stats["packets"]["dropped"]
        self.pause()

    @property
    def client(self):
        return [self.bench.build / "tools/fwdctl/fwdctl", "--socket", self.socket]

    def fwdctl(self, *arguments):
        return run(*self.client, *arguments)

    def stats(self):
        return json.loads(self.fwdctl("--json", "stats"))

    def status(self):
        return json.loads(self.fwdctl("--json", "status"))

    def before(self):
        if self.lifetime and not self.from_empty:
            self.earlier = self.stats()

    def empty(self):
        if not self.from_empty:
            return
        self.hold.touch()
        wait_for("the end of all sessions", lambda: self.stats()["sessions"]["live"] == 0, self.processes[0],
                 10 + 3 * self.lifetime)
        self.earlier = self.stats()
        before = self.count()[1]
        self.hold.unlink()
        wait_for("packets", lambda: self.count()[1] != before, self.processes[0], 1, poll_seconds=0.001)

    def after(self):
        stats = self.stats()
        if self.lifetime:
            # A packet that has met a session of the pass before has not opened one.
            opened = (stats["sessions"]["opened"] - self.earlier["sessions"]["opened"]) * len(self.traffic.flags)
            return min(1, opened / (stats["packets"]["sent"] - self.earlier["packets"]["sent"]))
        if stats["packets"]["dropped"] != self.dropped:
            raise SystemFailed(f"packets were dropped: {stats['drops']}")
        return 1


class Ovs(DpdkSystem):
    """Conntrack with DNAT in the userspace datapath, without OVS's own start scripts."""

    name = "ovs-dpdk"
    EXACT_MATCH_FLOWS = 8192  # what the exact match cache holds
    more_settings = []

    def measured(self):
        return self.processes[1:]

    def start_database(self):
        directory = self.directory
        self.directories = {f"OVS_{name}DIR": str(directory) for name in ("RUN", "LOG", "DB")}
        self.database = f"unix:{directory}/db.sock"
        run("ovsdb-tool", "create", directory / "conf.db", "/usr/share/openvswitch/vswitch.ovsschema")
        server = self.spawn(["ovsdb-server", directory / "conf.db", f"--remote=p{self.database}",
                             f"--unixctl={directory}/ovsdb.ctl"], **self.directories)
        wait_for("ovsdb", (directory / "db.sock").exists, server, START_SECONDS)
        mask = sum(1 << core for core in self.bench.worker_cores)
        few = self.traffic.sessions <= self.EXACT_MATCH_FLOWS // 2  # a packet is looked up twice
        self.vsctl("--no-wait", "set", "Open_vSwitch", ".", "other_config:dpdk-init=true",
                   f"other_config:pmd-cpu-mask={mask:x}",
                   f"other_config:dpdk-lcore-mask={1 << self.bench.control_core:x}",
                   'other_config:dpdk-extra="--no-pci --no-telemetry --in-memory --single-file-segments"',
                   f"other_config:emc-insert-inv-prob={1 if few else 0}",
                   f"other_config:smc-enable={'false' if few else 'true'}", *self.more_settings)

    def vsctl(self, *arguments):
        return run("ovs-vsctl", f"--db={self.database}", *arguments, timeout=START_SECONDS)

    def ofctl(self, command, *arguments):
        return run("ovs-ofctl", "-O", "OpenFlow15", command, self.bridge, *arguments)

    @property
    def bridge(self):
        return f"unix:{self.directory}/br0.mgmt"

    def spawn_daemon(self):
        return self.spawn(["/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk", self.database,
                           f"--unixctl={self.directory}/vswitchd.ctl", "--no-chdir"],
                          **self.directories, **self.environment())

    def add_ports(self, *options):
        """options: --no-wait when ovs-vswitchd is not there yet."""
        self.vsctl(*options, "add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev", "fail-mode=secure")
        for port, device in (("wan", self.wan), ("lan", self.lan)):
            self.vsctl(*options, "add-port", "br0", port, "--", "set", "Interface", port, "type=dpdk",
                       f'options:dpdk-devargs="{device}"')

    def check_ports(self):
        for port in ("wan", "lan"):
            error = self.vsctl("get", "Interface", port, "error").strip()
            if error != "[]":
                raise SystemFailed(f"ovs-vswitchd: {error}")

    def flow(self, external, target):
        """The first packet to an external address and port goes to a target, and so do all after it."""
        return (f"table=1,in_port=wan,ct_state=+trk+new,{self.protocol},nw_dst={dotted(external[0])},"
                f"tp_dst={external[1]},actions=ct(commit,zone=1,nat(dst={dotted(target[0])}:{target[1]})),output:lan")

    def add_flows(self):
        flows = self.directory / "flows"
        flows.write_text("\n".join([
            f"table=0,in_port=wan,{self.protocol},actions=ct(table=1,zone=1,nat)",
            f"table=0,in_port=lan,{self.protocol},actions=ct(table=1,zone=1,nat)",
            self.flow(self.traffic.external(0), self.traffic.target(0)),
            f"table=1,in_port=wan,ct_state=+trk+est,{self.protocol},actions=output:lan",
            f"table=1,in_port=lan,ct_state=+trk+est,{self.protocol},actions=output:wan"]) + "\n")
        self.ofctl("add-flows", flows)

    def start(self):
        self.start_database()
        process = self.spawn_daemon()
        wait_for("ovs-vswitchd", (self.directory / "vswitchd.ctl").exists, process, START_SECONDS)
        self.add_ports()
        self.check_ports()
        self.vsctl("--", "--id=@datapath", "create", "Datapath", "datapath_version=0", "--", "set", "Open_vSwitch", ".",
                   "datapaths:netdev=@datapath")
        self.vsctl("add-zone-tp", "netdev", "zone=1", *(f"{state}={self.timeout}" for state in
                                                       ("udp_first", "udp_single", "udp_multiple", "tcp_established")))
        self.add_flows()
        self.open_sessions(process, routed=False)
        if self.lifetime:
            return
        self.resume()
        tracked = run("ovs-appctl", "-t", self.directory / "vswitchd.ctl", "dpctl/ct-get-nconns")
        if int(tracked) != self.traffic.sessions:
            raise SystemFailed(f"{tracked.strip()} connections are tracked, not {self.traffic.sessions}")
        self.pause()


class Namespace:
    """A network namespace that lives as long as a process in it."""

    def __init__(self):
        self.holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        own = os.readlink("/proc/self/ns/net")
        wait_for("a namespace", lambda: os.readlink(f"/proc/{self.holder.pid}/ns/net") != own, self.holder, 10)
        self.enter = ["nsenter", "-t", str(self.holder.pid), "-n"]

    def run(self, command, **options):
        return run(*self.enter, *command.split(), **options)

    def received_packets(self, interface):
        for line in Path(f"/proc/{self.holder.pid}/net/dev").read_text().splitlines():
            if line.strip().startswith(interface + ":"):
                return int(line.split(":")[1].split()[1])
        raise SystemFailed(f"no interface {interface}")

    def close(self):
        self.holder.kill()
        self.holder.wait()


class Nftables(System):
    """The kernel's DNAT. Sender and sink are on the same core: what they cost is part of the figure."""

    name = "nftables"

    def set_up_router(self):
        """s0 in the sender's namespace -- r0, DNAT, r1 -- k0 in the sink's."""
        pid = {"sender": self.sender.holder.pid, "router": self.router.holder.pid, "sink": self.sink.holder.pid}
        r0_mac = captures.FIRST_PCAP_MAC.hex(":")
        self.router.run(f"ip link add r0 address {r0_mac} type veth peer name s0 netns {pid['sender']}")
        self.router.run(f"ip link add r1 type veth peer name k0 netns {pid['sink']}")
        for namespace, link in ((self.router, "r0"), (self.router, "r1"), (self.sender, "s0"), (self.sink, "k0")):
            namespace.run("sysctl -qw net.ipv6.conf.all.disable_ipv6=1")
            namespace.run(f"ip link set {link} up")
        for setting in ("net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0",
                        "net.ipv4.conf.r0.rp_filter=0", f"net.netfilter.nf_conntrack_udp_timeout={self.timeout}",
                        f"net.netfilter.nf_conntrack_udp_timeout_stream={self.timeout}"):
            self.router.run(f"sysctl -qw {setting}")
        self.router.run(f"ip address add {captures.WAN_ADDRESSES[0]}/24 dev r0")
        self.router.run(f"ip address add {captures.LAN_ADDRESSES[0]}/24 dev r1")
        self.router.run(f"ip route add default via {captures.ROUTER}")
        # The sink drops as early as the kernel can without XDP.
        self.sink.run("nft -f -", input="table netdev sink { chain early "
                      "{ type filter hook ingress device k0 priority 0; policy drop; }; }\n")
        self.router.run(f"ip neigh add {captures.ROUTER} lladdr {captures.ROUTER_MAC.hex(':')} dev r0 nud permanent")
        self.router.run(f"ip neigh add {captures.SERVERS[0]} lladdr {captures.server_mac(0).hex(':')} dev r1 nud permanent")
        self.router.run("nft -f -", input=self.table())

    def table(self):
        external, target = self.traffic.external(0), self.traffic.target(0)
        return f"""table ip nat {{
            chain prerouting {{ type nat hook prerouting priority dstnat;
                iifname "r0" ip daddr {dotted(external[0])} {self.protocol} dport {external[1]} \\
                    dnat to {dotted(target[0])}:{target[1]}
            }}
        }}"""

    def tracked(self):
        return int(self.router.run("cat /proc/sys/net/netfilter/nf_conntrack_count"))

    def start(self):
        self.sender, self.router, self.sink = Namespace(), Namespace(), Namespace()
        self.set_up_router()
        # A ring's frames have to fit into packet buffers; small ones save memory.
        ring_bytes, buffer_bytes = (256, self.bench.buffer_bytes(self.traffic)) if self.traffic.size == "64" else (2048, 2176)
        process = self.spawn(
            self.sender.enter +
            ["dpdk-testpmd", "--lcores", f"0@{self.bench.control_core},1@{self.bench.worker_cores[0]}", "--main-lcore",
             "0", "--no-pci", "--no-telemetry", "--in-memory", "--single-file-segments", "--vdev",
             f"net_pcap0,rx_pcap={self.bench.capture(self.traffic)},infinite_rx=1", "--vdev",
             f"net_af_packet0,iface=s0,qdisc_bypass=1,framesz={ring_bytes}", "--", "--forward-mode=io", "--burst=64", "--auto-start",
             f"--total-num-mbufs={self.traffic.packets + SPARE_BUFFERS}", f"--mbuf-size={self.bench.buffer_bytes(self.traffic)}", "--no-lsc-interrupt"])
        if self.lifetime:
            wait_for("forwarding", lambda: self.count()[1] > 0, process, START_SECONDS)
            self.pause()
            return
        wait_for("tracking every connection", lambda: self.tracked() >= self.traffic.sessions, process, OPEN_SECONDS)
        self.pause()
        # One answer each, or no connection would be an established one.
        answers = self.bench.capture(self.traffic, answers=True)
        r1_mac = json.loads(self.router.run("ip -j link show dev r1"))[0]["address"]
        run(*self.sink.enter, "python3", "-m", "comparison.replay", answers, "k0", r1_mac, cwd=ROOT / "bench")

    def count(self):
        return time.monotonic_ns(), self.sink.received_packets("k0")

    def stop(self):
        super().stop()
        for namespace in ("sender", "router", "sink"):
            if hasattr(self, namespace):
                getattr(self, namespace).close()


def measure(system, seconds):
    """Million packets a second."""
    system.resume()
    time.sleep(WARM_SECONDS if system.lifetime is None else 2 * system.lifetime)
    system.before()
    system.empty()
    start, before = system.count()
    time.sleep(seconds)
    end, after = system.count()
    # On a machine that has other things to do a short while may pass without it.
    give_up = time.monotonic() + PATIENCE_SECONDS
    while after == before:
        if time.monotonic() > give_up:
            raise SystemFailed(f"not one packet in {PATIENCE_SECONDS} s")
        time.sleep(seconds)
        end, after = system.count()
    share = system.after()
    system.pause()
    return share * (after - before) * 1000 / (end - start)


def say(text):
    print(f"{datetime.datetime.now():%H:%M:%S} {text}", file=sys.stderr, flush=True)


def measure_in_turn(systems, rounds, seconds):
    """Pairs of each system and its rates, one a round: A B C A B C ..."""
    rates = {system: [] for system in systems}
    with contextlib.ExitStack() as started:
        for system in systems:
            say(f"starting {system.label}")
            started.callback(system.stop)
            with failure_names(system):
                system.start()
        for number in range(rounds):
            for system in systems:
                with failure_names(system):
                    rates[system].append(measure(system, seconds))
            say(f"round {number + 1}: " + ", ".join(f"{system.label} {each[-1]:.2f}" for system, each in rates.items()))
    return list(rates.items())


@contextlib.contextmanager
def failure_names(system):
    try:
        yield
    except (SystemFailed, captures.WrongFrame, OSError, subprocess.TimeoutExpired) as failure:
        sys.exit(f"{sys.argv[0]}: {system.label}: {failure}\n{system.log()}")
