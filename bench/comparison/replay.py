# SPDX-License-Identifier: BSD-3-Clause
"""Sends a capture once: python3 -m comparison.replay FILE INTERFACE DESTINATION_MAC"""

import socket
import sys

from .captures import read


def main():
    file, interface, mac = sys.argv[1:]
    destination = bytes.fromhex(mac.replace(":", ""))
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as link:
        link.bind((interface, 0))
        for frame in read(file):
            link.send(destination + frame[6:])


main()
