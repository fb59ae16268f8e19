"""Clients that do nothing wrong, beside an attack: none of them may be ended, and none may be called suspect.

- devices with a contract of a second: some beat themselves, some by BEATFOR over a second connection, every 0.2 s;
- subscribers that wait for a message that never comes;
- a client that asks, and a newcomer ten times a second that says PING at once, stays for longer than the handshake
  may take, and leaves by QUIT.
"""

import select
import socket
import time

from wire import array, connect

DEVICES, SUBSCRIBERS = 10, 20
BEAT_EVERY, NEWCOMER_EVERY, NEWCOMER_STAYS = 0.2, 0.1, 3.0
# Of the server: a suspect device has as long to be heard from again; and how long a newcomer may be silent.
GRACE, HANDSHAKE = "1s", "2s"


class Neighbours:
    """All of them, in one process."""

    def __init__(self, port):
        self.port, self.poll = port, select.epoll()
        self.known, self.endings = {}, []
        self.beats, self.newcomers = [], []
        self.waiting, self.waits = {}, []
        for number in range(DEVICES):
            name = f"device{number}"
            device = self.join(f"{name}, which beats", array("IDENT", name, "BEAT", "1"))
            if number % 2:
                self.beats.append((self.join(f"what beats for {name}", array("PING")), array("BEATFOR", name)))
            else:
                self.beats.append((device, array("BEAT")))
        for number in range(SUBSCRIBERS):
            self.join("an idle subscriber", array("SUBSCRIBE", f"quiet{number}"))
        self.asker = self.join("who asks", array("PING"))

    def join(self, what, hello):
        client = connect(self.port)
        client.sendall(hello)
        client.setblocking(False)
        self.known[client.fileno()] = client, what
        self.poll.register(client.fileno(), select.EPOLLIN)
        return client

    def leave(self, client):
        if self.known.pop(client.fileno(), None):
            self.waiting.pop(client.fileno(), None)
            self.poll.unregister(client.fileno())
            client.close()

    def ended(self, client, why):
        self.endings.append(f"{self.known[client.fileno()][1]}: {why}")
        self.leave(client)

    def say(self, client, data):
        if client.fileno() in self.known:
            try:
                client.send(data)
            except OSError as why:
                self.ended(client, why.strerror)

    def listen(self, seconds):
        for fd, _ in self.poll.poll(max(0, seconds)):
            client, _ = self.known[fd]
            try:
                data = client.recv(65536)
            except BlockingIOError:
                continue
            except OSError as why:
                self.ended(client, why.strerror)
                continue
            if fd in self.waiting:
                self.waits.append(time.monotonic() - self.waiting.pop(fd))
            if not data:
                self.ended(client, "end of file")
            elif data.startswith((b"-ERR", b"-GOODBYE")):
                self.ended(client, data[:80].decode(errors="replace").strip())

    def newcomer(self, now):
        try:
            client = self.join("a newcomer", array("PING"))
        except OSError as why:
            self.endings.append(f"a newcomer: {why}")
            return
        self.waiting[client.fileno()] = now
        self.newcomers.append((now + NEWCOMER_STAYS, client))

    def goodbyes(self, now):
        while self.newcomers and self.newcomers[0][0] <= now:
            _, client = self.newcomers.pop(0)
            self.say(client, array("QUIT"))
            if client.fileno() in self.known:
                # The end of file behind the answer is no ending of the server's making.
                self.leave(client)


def healthy(link, port):
    """What happened to them, until it is asked for."""
    socket.setdefaulttimeout(10)
    people = Neighbours(port)
    link.ready()
    beat_at = newcomer_at = time.monotonic()
    while not link.stopped():
        now = time.monotonic()
        if now >= beat_at:
            beat_at = now + BEAT_EVERY
            for client, data in people.beats:
                people.say(client, data)
            people.waiting.setdefault(people.asker.fileno(), now)
            people.say(people.asker, array("PING"))
        if now >= newcomer_at:
            newcomer_at = now + NEWCOMER_EVERY
            people.newcomer(now)
        people.goodbyes(now)
        people.listen(min(beat_at, newcomer_at) - time.monotonic())
    late = [time.monotonic() - since for since in people.waiting.values()]
    return {"endings": people.endings, "wait_max": max([*people.waits, *late], default=0)}
