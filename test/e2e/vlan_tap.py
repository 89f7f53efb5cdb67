# SPDX-License-Identifier: BSD-3-Clause
"""vlan_tap.py INTERFACE VLAN TAP: a VLAN of an interface as a device of its own, for kernels without 802.1Q.

What the host sends to TAP leaves by INTERFACE with a tag; frames with that tag come out of TAP without it.
"""

import fcntl
import os
import select
import socket
import struct
import sys

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 2, 0x1000
SOL_PACKET, PACKET_AUXDATA, PACKET_OUTGOING = 263, 8, 4
ETH_P_ALL, ETH_P_8021Q = 3, 0x8100
ADDRESSES = 12  # bytes of a frame before its tag

interface, vlan, name = sys.argv[1], int(sys.argv[2]), sys.argv[3]
tap = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH14x", name.encode(), IFF_TAP | IFF_NO_PI))
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
wire.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
wire.bind((interface, ETH_P_ALL))


def untagged(frame, auxiliary):
    """The frame if it is of this VLAN. The kernel has taken the tag out and tells of it beside the frame."""
    for level, kind, data in auxiliary:
        if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
            status, tag = struct.unpack_from("I12xH", data)
            if status & 1 << 4 and tag & 0xFFF == vlan:  # TP_STATUS_VLAN_VALID
                return frame
    if frame[ADDRESSES:ADDRESSES + 2] == struct.pack("!H", ETH_P_8021Q):
        if struct.unpack_from("!H", frame, ADDRESSES + 2)[0] & 0xFFF == vlan:
            return frame[:ADDRESSES] + frame[ADDRESSES + 4:]
    return None


print("ready", flush=True)
while True:
    for ready in select.select([tap, wire], [], [])[0]:
        if ready is tap:
            frame = os.read(tap, 65536)
            wire.send(frame[:ADDRESSES] + struct.pack("!HH", ETH_P_8021Q, vlan) + frame[ADDRESSES:])
        else:
            data, auxiliary, _, source = wire.recvmsg(65536, 256)
            frame = untagged(data, auxiliary) if source[2] != PACKET_OUTGOING else None
            if frame:
                os.write(tap, frame)
