# SPDX-License-Identifier: BSD-3-Clause
"""Captures that are replayed, and a check of what a forwarder has made of them.

    clients 128.0.0.0/2 -- router 203.0.113.254 -- wan [forwarder] lan -- servers 10.0.0.100 ...
                            external 203.0.113.100:80 ...           targets 10.0.0.100:8080 ...

Every frame's last four bytes are the number of its session.
"""

import struct
from pathlib import Path

TCP, UDP = 6, 17
FIN, SYN, ACK = 0x01, 0x02, 0x10
ROUTER_MAC = bytes.fromhex("020000000100")
WAN_ADDRESSES = ["203.0.113.1"]
# Full NAT of a million sessions needs more pairs of own address and target than one address has ports.
LAN_ADDRESSES = [f"10.0.0.{n}" for n in range(1, 9)]
ROUTER = "203.0.113.254"
SERVERS = [f"10.0.0.{100 + n}" for n in range(16)]
FIRST_PCAP_MAC = bytes.fromhex("027063617000")  # net_pcap's first device, always

# Frames without their check sequence. IMIX: 7 of 64 bytes, 4 of 594, 1 of 1518.
SIZES = {"64": [60], "imix": [60, 590, 60, 590, 60, 60, 1514, 60, 590, 60, 590, 60], "1500": [1514]}


def address(text):
    return struct.unpack("!I", bytes(map(int, text.split("."))))[0]


def server_mac(rule):
    return bytes([2, 0, 0, 0, 0, rule % len(SERVERS)])


class Traffic:
    """The sessions of one configuration."""

    BLOCK = 64  # sessions whose packets come between two of one session

    def __init__(self, sessions, protocol, size, rules, flags=(ACK,)):
        """flags: of each TCP packet that a session has; for UDP their number counts."""
        self.sessions, self.protocol, self.size, self.rules, self.flags = sessions, protocol, size, rules, flags

    def __str__(self):
        name = f"{'tcp' if self.protocol == TCP else 'udp'}-{self.sessions}-{self.size}-{self.rules}"
        return name if self.flags == (ACK,) else name + "-" + "-".join(f"{flags:02x}" for flags in self.flags)

    @property
    def packets(self):
        return self.sessions * len(self.flags)

    def client(self, number):
        # Odd factors: every number below 2^30 has an address of its own.
        return (0x80000000 | (number * 0x9E3779B1 & 0x3FFFFFFF),
                1024 + ((number * 0x85EBCA6B & 0xFFFFFFFF) >> 8) % 60000)

    def external(self, rule):
        return address("203.0.113.100") + rule // 4, 80 + rule % 4

    def target(self, rule):
        return address(SERVERS[rule % len(SERVERS)]), 8080 + rule // len(SERVERS)

    def rule(self, number):
        return number % self.rules

    def frame_bytes(self, number):
        sizes = SIZES[self.size]
        return sizes[number % len(sizes)]

    def write(self, file, answers=False, mac=FIRST_PCAP_MAC):
        """The sessions' packets: the clients', or the targets' when the client's address was preserved. mac: to whom."""
        templates = {}
        out = bytearray(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        tcp = self.protocol == TCP
        checksum_at = 34 + (16 if tcp else 6)
        for flags, number in ((flags, number) for begin in range(0, self.sessions, self.BLOCK) for flags in self.flags
                              for number in range(begin, min(begin + self.BLOCK, self.sessions))):
            rule = self.rule(number)
            if answers:
                source, destination = self.target(rule), self.client(number)
            else:
                source, destination = self.client(number), self.external(rule)
            bytes_ = self.frame_bytes(number)
            if (bytes_, flags) not in templates:
                templates[bytes_, flags] = template(self.protocol, bytes_, flags)
            frame, ip_sum, l4_sum = templates[bytes_, flags]
            addresses = (source[0] >> 16) + (source[0] & 0xFFFF) + (destination[0] >> 16) + (destination[0] & 0xFFFF)
            tail = struct.pack("<I", number)
            number_sum = sum(struct.unpack("!2H", tail))
            struct.pack_into("!H", frame, 24, fold(ip_sum + addresses))
            struct.pack_into("!IIHH", frame, 26, source[0], destination[0], source[1], destination[1])
            checksum = fold(l4_sum + addresses + source[1] + destination[1] + number_sum)
            struct.pack_into("!H", frame, checksum_at, checksum or (0 if tcp else 0xFFFF))
            frame[:6] = mac
            frame[-4:] = tail
            out += struct.pack("<IIII", 0, 0, bytes_, bytes_)
            out += frame
        Path(file).write_bytes(out)


def fold(total):
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def word_sum(data):
    if len(data) % 2:
        data += b"\0"
    return sum(struct.unpack(f"!{len(data) // 2}H", data))


def template(protocol, frame_bytes, flags=ACK):
    """A frame without what differs between sessions, and the sums of its headers so far."""
    ip_bytes = frame_bytes - 14
    if protocol == TCP:
        l4 = struct.pack("!HHIIBBHHH", 0, 0, 1, 1, 5 << 4, flags, 65535, 0, 0)
    else:
        l4 = struct.pack("!HHHH", 0, 0, ip_bytes - 20, 0)
    l4 += bytes(ip_bytes - 20 - len(l4))
    ip = struct.pack("!BBHHHBBHII", 0x45, 0, ip_bytes, 0, 0, 64, protocol, 0, 0, 0)
    frame = bytearray(FIRST_PCAP_MAC + ROUTER_MAC + b"\x08\x00" + ip + l4)
    return frame, word_sum(ip), word_sum(l4) + protocol + len(l4)


def read(file):
    data = Path(file).read_bytes()
    at = 24
    while at + 16 <= len(data):
        length = struct.unpack_from("<I", data, at + 8)[0]
        yield data[at + 16:at + 16 + length]
        at += 16 + length


class WrongFrame(Exception):
    pass


def check_sample(file, traffic, way, routed=True, stamp_bytes=0):
    """Checks every byte of the frames that a forwarder has sent, but for a stamp behind their UDP header.

    way: dnat, full-nat or answers; of forwarders without translation untouched, or swapped: source and destination.
    """
    mappings = {}
    count = 0
    for frame in read(file):
        if frame[12:14] != b"\x08\x00":
            continue
        count += 1
        number = struct.unpack("<I", frame[-4:])[0]

        def want(what, got, expected):
            if got != expected:
                raise WrongFrame(f"session {number}: {what} is {got!r}, want {expected!r}: {frame.hex()}")

        if number >= traffic.sessions:
            raise WrongFrame(f"a frame of no session: {frame.hex()}")
        rule = traffic.rule(number)
        source, destination, source_port, destination_port = struct.unpack_from("!IIHH", frame, 26)
        if way in ("answers", "swapped"):
            want("the source", (source, source_port), traffic.external(rule))
            want("the destination", (destination, destination_port), traffic.client(number))
        elif way == "untouched":
            want("the source", (source, source_port), traffic.client(number))
            want("the destination", (destination, destination_port), traffic.external(rule))
        else:
            want("the destination", (destination, destination_port), traffic.target(rule))
            if way == "dnat":
                want("the source", (source, source_port), traffic.client(number))
            else:
                if source not in map(address, LAN_ADDRESSES) or source_port < 1024:
                    raise WrongFrame(f"session {number} has no source of fwd's: {frame.hex()}")
                want("the owner of its source", mappings.setdefault(frame[26:38], number), number)
        want("the length", len(frame), traffic.frame_bytes(number))
        # The rest is as it was sent, but for TTL, checksums and MAC addresses.
        tcp = traffic.protocol == TCP
        if tcp and frame[47] not in traffic.flags:
            raise WrongFrame(f"session {number} has sent no such flags: {frame.hex()}")
        original = bytearray(template(traffic.protocol, len(frame), frame[47])[0])
        original[26:38] = frame[26:38]
        original[-4:] = frame[-4:]
        original[42:42 + stamp_bytes] = frame[42:42 + stamp_bytes]
        if routed:
            original[22] -= 1
            want("the next hop", frame[:6], ROUTER_MAC if way == "answers" else server_mac(rule))
        original[:12] = frame[:12]
        ip, l4 = bytes(original[14:34]), bytes(original[34:])
        struct.pack_into("!H", original, 24, fold(word_sum(ip)))
        l4_checksum = fold(word_sum(l4) + word_sum(ip[12:20]) + traffic.protocol + len(l4))
        struct.pack_into("!H", original, 34 + (16 if tcp else 6), l4_checksum or (0 if tcp else 0xFFFF))
        want("the frame", frame.hex(), bytes(original).hex())
    if count == 0:
        raise WrongFrame("nothing was captured")
    return count
