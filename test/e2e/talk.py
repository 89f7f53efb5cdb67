# SPDX-License-Identifier: BSD-3-Clause
"""talk.py ADDRESS PORT TCP UDP: so many conversations by TCP and by UDP with who sends back what comes.

Each says something ten times a second, and says it again until it has come back. SIGTERM ends that; then all that is
still under way has half a minute to come. What is printed is a JSON object: of TCP and UDP how many conversations there
were, how much each has said at least, what has not come back, and how often something had to be said again.
"""

import json
import selectors
import signal
import socket
import sys
import time

address, port = sys.argv[1], int(sys.argv[2])
counts = {"tcp": int(sys.argv[3]), "udp": int(sys.argv[4])}
PAUSE, PATIENCE, AGAIN = 0.1, 30, 1.0


class Conversation:
    def __init__(self, kind, number):
        self.kind, self.number = kind, number
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
        self.socket.settimeout(PATIENCE)
        self.socket.connect((address, port))
        self.socket.setblocking(False)
        self.said = self.heard = self.again = 0
        self.received, self.last, self.error = b"", 0.0, ""

    def text(self):
        return f"{self.kind} {self.number} says {self.said}\n".encode()

    def waits(self):
        return self.heard < self.said

    def speak(self, now, goes_on):
        try:
            if not self.waits() and goes_on and now > self.last + PAUSE:
                self.said, self.last = self.said + 1, now
                self.socket.send(self.text())
            elif self.waits() and self.kind == "udp" and now > self.last + AGAIN:
                self.again, self.last = self.again + 1, now
                self.socket.send(self.text())
        except OSError as error:
            self.error = str(error)

    def listen(self):
        try:
            data = self.socket.recv(65536)
        except OSError as error:
            self.error = str(error)
            return
        if not data:
            self.error = "closed"
        self.received = data if self.kind == "udp" else self.received + data
        if self.waits() and self.received == self.text():
            self.heard, self.received = self.said, b""


goes_on = True


def end(_signal, _frame):
    global goes_on
    goes_on = False


conversations = [Conversation(kind, number) for kind, count in counts.items() for number in range(count)]
selector = selectors.DefaultSelector()
for conversation in conversations:
    selector.register(conversation.socket, selectors.EVENT_READ, conversation)
signal.signal(signal.SIGTERM, end)
first_round, patience_ends = True, None
while True:
    now = time.monotonic()
    if not goes_on:
        patience_ends = patience_ends or now + PATIENCE
        if now > patience_ends or not any(c.waits() and not c.error for c in conversations):
            break
    for conversation in conversations:
        if not conversation.error:
            conversation.speak(now, goes_on)
    for key, _ in selector.select(0.02):
        key.data.listen()
        if key.data.error:
            selector.unregister(key.fileobj)
    if first_round and all(c.heard > 0 for c in conversations):
        first_round = False
        print("talking", flush=True)

print(json.dumps({kind: {
    "conversations": len(mine := [c for c in conversations if c.kind == kind]),
    "least said": min((c.said for c in mine), default=0),
    "lost": [f"{c.number}: {c.error or c.text().decode().strip()}" for c in mine if c.error or c.waits()],
    "said again": sum(c.again for c in mine),
} for kind in counts}), flush=True)
