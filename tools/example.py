# SPDX-License-Identifier: BSD-3-Clause
"""One web request through fwd as tools/demo and tools/vm show it: taken down on both wires, compared and judged."""

import contextlib
import json
import re
import struct
import subprocess
import time
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

import children

LAB = Path(__file__).resolve().parent / "lab"

PAGE = "It works: forwarded by fwd.\n"

NGINX = """\
daemon off;
pid {0}/nginx.pid;
error_log {0}/error.log;
events {{ }}
http {{
    access_log {0}/access.log;
    client_body_temp_path {0}/body; proxy_temp_path {0}/proxy; fastcgi_temp_path {0}/fastcgi;
    uwsgi_temp_path {0}/uwsgi; scgi_temp_path {0}/scgi;
    server {{ listen 10.0.0.4:8080; root {0}/www; }}
}}
"""


class DemoError(Exception):
    pass


@dataclass(frozen=True)
class Addresses:
    """Who asks whom for what, and who the server sees: fwd with a port of its own, or the client itself."""

    client: IPv4Address
    external: IPv4Address
    source: IPv4Address
    server: IPv4Address = IPv4Address("10.0.0.4")

    @property
    def url(self):
        return f"http://{self.external}/"


ONE_ARM = Addresses(IPv4Address("10.0.0.1"), IPv4Address("10.0.0.3"), IPv4Address("10.0.0.2"))
TWO_ARM = Addresses(IPv4Address("192.0.2.10"), IPv4Address("192.0.2.1"), IPv4Address("192.0.2.10"))


# --- captures --------------------------------------------------------------------------------------------------------

FLAGS = {0x02: "SYN", 0x10: "ACK", 0x08: "PSH", 0x01: "FIN", 0x04: "RST"}


@dataclass
class Segment:
    """A TCP segment as it was on a wire."""

    source: tuple
    destination: tuple
    ttl: int
    sequence: int
    acknowledged: int
    flags: int
    payload: bytes
    checksums_right: bool

    def same(self):
        """What no forwarder may change, and so finds the segment again on the other wire."""
        return self.sequence, self.acknowledged, self.flags, self.payload

    def __str__(self):
        names = "-".join(name for bit, name in FLAGS.items() if self.flags & bit)
        text = f"{self.source[0]}:{self.source[1]} > {self.destination[0]}:{self.destination[1]} {names}"
        return f"{text} +{len(self.payload)}" if self.payload else text


def internet_checksum(data):
    """RFC 1071: 0 over data that holds its own right checksum."""
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def parse_segment(frame):
    """Decodes an Ethernet frame with IPv4 and TCP in it."""
    packet = frame[14 : 14 + struct.unpack_from("!H", frame, 16)[0]]
    header_bytes = (packet[0] & 0xF) * 4
    tcp = packet[header_bytes:]
    source_port, destination_port, sequence, acknowledged, offset, flags = struct.unpack_from("!HHIIBB", tcp)
    pseudo_header = packet[12:20] + struct.pack("!HH", 6, len(tcp))
    return Segment(
        source=(IPv4Address(packet[12:16]), source_port),
        destination=(IPv4Address(packet[16:20]), destination_port),
        ttl=packet[8],
        sequence=sequence,
        acknowledged=acknowledged,
        flags=flags & 0x3F,
        payload=tcp[(offset >> 4) * 4 :],
        checksums_right=internet_checksum(packet[:header_bytes]) == 0 and internet_checksum(pseudo_header + tcp) == 0,
    )


def read_segments(file):
    """The frames of a capture of TCP over IPv4 over Ethernet, in pcap format."""
    data = file.read_bytes()
    position, segments = 24, []
    while position + 16 <= len(data):
        length = struct.unpack_from("<I", data, position + 8)[0]
        segments.append(parse_segment(data[position + 16 : position + 16 + length]))
        position += 16 + length
    return segments


# --- the network -----------------------------------------------------------------------------------------------------


def lab(*arguments):
    done = children.run([str(LAB), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise DemoError(f"tools/lab {' '.join(arguments)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def wait_for(condition, what, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise DemoError(f"{what} after {seconds} s")
        time.sleep(0.02)


@contextlib.contextmanager
def background(log, *command):
    """A program that runs for as long as the block."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                   start_new_session=True)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def capture(host, file):
    """Keeps all TCP on a host's wire in a file."""
    log = file.with_suffix(".log")
    tcpdump = ("tcpdump", "-Z", "root", "-U", "--immediate-mode", "-i", "eth0", "-w", str(file), "tcp")
    with background(log, str(LAB), "exec", host, *tcpdump):
        wait_for(lambda: "listening on" in log.read_text(), "tcpdump is not ready")
        yield


@contextlib.contextmanager
def web_server(directory):
    (directory / "www").mkdir(exist_ok=True)
    (directory / "www/index.html").write_text(PAGE)
    (directory / "nginx.conf").write_text(NGINX.format(directory))
    command = ("nginx", "-p", str(directory), "-e", f"{directory}/error.log", "-c", f"{directory}/nginx.conf")
    with background(directory / "nginx.log", str(LAB), "exec", "server", *command):
        wait_for(lambda: ":8080" in lab("exec", "server", "ss", "-Htln"), "nginx is not ready")
        yield


# --- the story -------------------------------------------------------------------------------------------------------


class Checks:
    """What was right and what was not, said line by line."""

    def __init__(self):
        self.failed = 0

    def __call__(self, right, fact):
        print(f"  {'right' if right else 'WRONG'}  {fact}")
        self.failed += not right


def show_side_by_side(client_side, server_side):
    """Pairs the segments of both wires; returns the pairs."""
    left = [str(segment) for segment in client_side]
    width = max(map(len, left), default=0)
    others = list(server_side)
    pairs = []
    print(f"\n  {'on the client' + chr(39) + 's wire':{width}}   |   on the server's wire")
    for segment, text in zip(client_side, left):
        twin = next((other for other in others if other.same() == segment.same()), None)
        if twin:
            others.remove(twin)
        pairs.append((segment, twin))
        print(f"  {text:{width}}   |   {twin or '(nothing)'}")
    for other in others:
        pairs.append((None, other))
        print(f"  {'(nothing)':{width}}   |   {other}")
    return pairs


def show_and_check(directory, answer, addresses, fwdctl):
    """Shows what was on both wires and what fwd says of it; fwdctl gives the text of a command."""
    check = Checks()
    client, public, source, server = addresses.client, addresses.external, addresses.source, addresses.server
    client_side = read_segments(directory / "client.pcap")
    server_side = read_segments(directory / "server.pcap")
    pairs = show_side_by_side(client_side, server_side)

    access_log = (directory / "access.log").read_text()
    print(f"\n  nginx's log: {access_log.strip()}")
    for command in ("list-rules", "list-sessions"):
        print(f"\n  $ fwdctl {command}")
        print("".join(f"  {line}\n" for line in fwdctl(command).splitlines()), end="")

    def ends(segments, address):
        return {end for segment in segments for end in (segment.source, segment.destination) if end[0] == address}

    print()
    check(answer == PAGE, f"curl got nginx's page from {addresses.url}")
    check(
        {end[0] for segment in client_side for end in (segment.source, segment.destination)} == {client, public}
        and ends(client_side, public) == {(public, 80)},
        f"the client talked to {public}:80 alone",
    )
    check(
        {end[0] for segment in server_side for end in (segment.source, segment.destination)} == {source, server}
        and ends(server_side, server) == {(server, 8080)},
        f"the server on {server}:8080 talked to {source} alone",
    )
    check(len(ends(server_side, source)) == 1, f"through one port of {source}")
    complete = [pair for pair in pairs if all(pair)]
    check(len(complete) == len(pairs) >= 8, f"all {len(pairs)} segments were on both wires, their payload unchanged")
    check(
        all((a.ttl - b.ttl) == (1 if a.source[0] == client else -1) for a, b in complete),
        "each with its time to live one less",
    )
    check(
        all(segment.checksums_right for segment in client_side + server_side), "each with its checksums right"
    )
    check(re.match(rf"{re.escape(str(source))} .* \"GET / HTTP/1\.1\" 200 ", access_log) is not None,
          f"nginx logged one request, from {source}")

    sessions = json.loads(fwdctl("--json", "list-sessions"))["sessions"]
    source_end = next(iter(ends(server_side, source)), (source, 0))
    request = client_side[0] if client_side else None
    check(
        len(sessions) == 1
        and request is not None
        and sessions[0]["rule"] == "web"
        and sessions[0]["client"] == f"{client}:{request.source[1]}"
        and sessions[0]["external"] == f"{public}:80"
        and sessions[0]["source"] == f"{source}:{source_end[1]}"
        and sessions[0]["target"] == f"{server}:8080",
        "fwd has that session and no other",
    )
    stats = json.loads(fwdctl("--json", "stats"))
    rule = next((rule for rule in stats["rules"] if rule["name"] == "web"), {})
    check(
        (rule.get("sessions"), rule.get("packets")) == (1, len(client_side)),
        f"and counted it for the rule: {rule.get('sessions')} session, {rule.get('packets')} packets",
    )
    return check.failed == 0


def ask_and_show(directory, addresses, fwdctl):
    """Adds the rule, asks once and says whether all views of it were right."""
    rule = ("add-rule", "tcp", f"{addresses.external}:80", f"{addresses.server}:8080", "--name", "web")
    fwdctl(*rule)
    print(f"  $ fwdctl {' '.join(rule)}")
    with web_server(directory):
        with capture("client", directory / "client.pcap"), capture("server", directory / "server.pcap"):
            print(f"  $ curl {addresses.url}")
            answer = lab("exec", "client", "curl", "-sS", "--max-time", "10", addresses.url)
            time.sleep(0.3)  # the last segments of the connection
        return show_and_check(directory, answer, addresses, fwdctl)
