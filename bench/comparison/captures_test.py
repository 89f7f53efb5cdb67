# SPDX-License-Identifier: BSD-3-Clause
"""A wrong frame must not count: python3 -m unittest comparison.captures_test"""

import struct
import tempfile
import unittest
from pathlib import Path

from .captures import LAN_ADDRESSES, TCP, UDP, Traffic, WrongFrame, address, check_sample, fold, read, server_mac, word_sum

L4_CHECKSUM = {TCP: 50, UDP: 40}


def set_checksums(frame, protocol):
    """By the book, over the whole packet."""
    for at in (24, L4_CHECKSUM[protocol]):
        frame[at:at + 2] = b"\0\0"
    frame[24:26] = struct.pack("!H", fold(word_sum(bytes(frame[14:34]))))
    l4 = bytes(frame[34:])
    total = fold(word_sum(bytes(frame[26:34]) + struct.pack("!HH", protocol, len(l4)) + l4))
    at = L4_CHECKSUM[protocol]
    frame[at:at + 2] = struct.pack("!H", total or (0xFFFF if protocol == UDP else 0))


class Captures(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.file = Path(directory.name) / "capture.pcap"

    def write(self, frames):
        self.file.write_bytes(bytes(24) + b"".join(struct.pack("<IIII", 0, 0, len(f), len(f)) + f for f in frames))

    def translated(self, traffic, masquerade=False):
        traffic.write(self.file)
        frames = []
        for number, original in enumerate(read(self.file)):
            frame = bytearray(original)
            target = traffic.target(traffic.rule(number))
            frame[:6] = server_mac(traffic.rule(number))
            frame[22] -= 1
            frame[30:34] = struct.pack("!I", target[0])
            frame[36:38] = struct.pack("!H", target[1])
            if masquerade:
                frame[26:30] = struct.pack("!I", address(LAN_ADDRESSES[0]))
                frame[34:36] = struct.pack("!H", 1024 + number)
            set_checksums(frame, traffic.protocol)
            frames.append(frame)
        return frames

    def test_every_frame_written_has_correct_checksums_and_its_size(self):
        for protocol in (TCP, UDP):
            for size in ("64", "imix", "1500"):
                traffic = Traffic(100, protocol, size, 64)
                for answers in (False, True):
                    traffic.write(self.file, answers)
                    for number, frame in enumerate(read(self.file)):
                        correct = bytearray(frame)
                        set_checksums(correct, protocol)
                        self.assertEqual(frame, bytes(correct))
                        self.assertEqual(len(frame), traffic.frame_bytes(number))

    def test_sessions_differ(self):
        traffic = Traffic(100000, UDP, "64", 1)
        self.assertEqual(len({traffic.client(number) for number in range(traffic.sessions)}), traffic.sessions)

    def test_right_frames_pass(self):
        for protocol in (TCP, UDP):
            traffic = Traffic(100, protocol, "64", 64)
            self.write(self.translated(traffic))
            self.assertEqual(check_sample(self.file, traffic, "dnat"), 100)
            self.write(self.translated(traffic, masquerade=True))
            self.assertEqual(check_sample(self.file, traffic, "full-nat"), 100)

    def test_every_wrong_byte_is_found(self):
        for protocol in (TCP, UDP):
            traffic = Traffic(1, protocol, "64", 1)
            right, = self.translated(traffic)
            for at in range(len(right)):
                if 6 <= at < 14:
                    continue  # the source's MAC address is a random one; the type makes it no frame at all
                wrong = bytearray(right)
                wrong[at] ^= 1
                self.write([wrong])
                with self.assertRaises(WrongFrame, msg=f"byte {at}"):
                    check_sample(self.file, traffic, "dnat")

    def test_a_stamp_may_be_anything_but_its_checksum(self):
        traffic = Traffic(1, UDP, "64", 1)
        frame, = self.translated(traffic)
        frame[42:56] = bytes(range(14))
        self.write([frame])
        with self.assertRaises(WrongFrame):
            check_sample(self.file, traffic, "dnat", stamp_bytes=14)
        set_checksums(frame, UDP)
        self.write([frame])
        self.assertEqual(check_sample(self.file, traffic, "dnat", stamp_bytes=14), 1)

    def test_frames_without_translation_pass_as_such_only(self):
        traffic = Traffic(100, UDP, "64", 1)
        traffic.write(self.file)
        frames = [bytearray(frame) for frame in read(self.file)]
        self.assertEqual(check_sample(self.file, traffic, "untouched", routed=False), 100)
        for frame in frames:
            frame[26:30], frame[30:34], frame[34:36], frame[36:38] = frame[30:34], frame[26:30], frame[36:38], frame[34:36]
        self.write(frames)
        self.assertEqual(check_sample(self.file, traffic, "swapped", routed=False), 100)
        with self.assertRaises(WrongFrame):
            check_sample(self.file, traffic, "untouched", routed=False)

    def test_a_source_port_given_to_two_sessions_is_found(self):
        traffic = Traffic(2, UDP, "64", 1)
        frames = self.translated(traffic, masquerade=True)
        frames[1][34:36] = frames[0][34:36]
        set_checksums(frames[1], UDP)
        self.write(frames)
        with self.assertRaises(WrongFrame):
            check_sample(self.file, traffic, "full-nat")

    def test_a_capture_without_frames_is_found(self):
        self.write([])
        with self.assertRaises(WrongFrame):
            check_sample(self.file, Traffic(1, UDP, "64", 1), "dnat")


if __name__ == "__main__":
    unittest.main()
