"""RESP over sockets, as far as attackers and their neighbours need it."""

import select
import socket
import time

PIECE = 1 << 18
PATIENCE = 30


def array(*words):
    """A command as client libraries send it."""
    words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def connect(port, room=None):
    """`room`: of the kernel, for what is not read; without it as much as it likes."""
    client = socket.socket()
    client.settimeout(PATIENCE)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if room:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        # As on Ethernet: by the segments of the loopback, 64 KB each, the server's kernel would have room for megabytes.
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1460)
    client.connect(("127.0.0.1", port))
    return client


class Client:
    """One connection that waits for what it asked."""

    def __init__(self, port):
        self.socket = connect(port)
        self.rest = b""

    def send(self, data):
        self.socket.sendall(data)

    def line(self):
        """One line without its end; ConnectionError at the end of file."""
        while b"\r\n" not in self.rest:
            self.more()
        line, _, self.rest = self.rest.partition(b"\r\n")
        return line

    def more(self):
        piece = self.socket.recv(PIECE)
        if not piece:
            raise ConnectionError("it was closed")
        self.rest += piece

    def take(self, count):
        pieces, left = [self.rest[:count]], count - len(self.rest)
        self.rest = self.rest[count:]
        while left > 0:
            piece = self.socket.recv(min(left, PIECE))
            if not piece:
                raise ConnectionError("it was closed")
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)

    def reply(self):
        """The next reply: bytes, a number, a list; an error is an Exception that is returned."""
        line = self.line()
        kind, rest = line[:1], line[1:]
        if kind == b"-":
            return Exception(rest.decode(errors="replace"))
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return self.take(int(rest) + 2)[:-2] if rest != b"-1" else None
        if kind in (b"*", b">"):
            return [self.reply() for _ in range(int(rest))]
        return rest

    def ask(self, *words):
        self.send(array(*words))
        return self.reply()


def refused(port, *words):
    """Whether a new connection is answered an error, or closed; it may be closed before all is sent."""
    client = Client(port)
    try:
        return isinstance(client.ask(*words), Exception)
    except ConnectionError:
        return True
    finally:
        client.socket.close()


def largest(port, sizes, command):
    """The largest of `sizes` (falling) for which `command(size)`, the words of one, is not refused."""
    for size in sizes:
        if not refused(port, *command(size)):
            return size
    raise AssertionError("nothing is accepted, however small")


class Crowd:
    """Many connections that say `hello(number)`, and whose answers are read and thrown away."""

    def __init__(self, port, count, hello, room=None):
        self.epoll = select.epoll()
        self.sockets, self.silent, self.bytes = {}, set(), 0
        for number in range(count):
            client = connect(port, room)
            client.sendall(hello(number))
            client.setblocking(False)
            self.sockets[client.fileno()] = client
            self.silent.add(client.fileno())
            self.epoll.register(client.fileno(), select.EPOLLIN)
            if number % 64 == 63:
                self.read_ready(0)
        until = time.monotonic() + PATIENCE
        while self.silent and time.monotonic() < until:
            self.read_ready(0.1)
        if self.silent:
            raise AssertionError(f"{len(self.silent)} of {count} were not answered")

    def read_ready(self, seconds):
        for fd, _ in self.epoll.poll(seconds, 512):
            self.silent.discard(fd)
            try:
                piece = self.sockets[fd].recv(PIECE)
            except BlockingIOError:
                continue
            except OSError:
                piece = b""
            self.bytes += len(piece)
            if not piece:
                self.leave(fd)

    def leave(self, fd):
        self.epoll.unregister(fd)
        self.sockets.pop(fd).close()

    def read_until(self, until):
        while (left := until - time.monotonic()) > 0:
            self.read_ready(min(left, 0.1))

    def send_all(self, data):
        """As far as the kernel takes it at once, each of them."""
        for client in list(self.sockets.values()):
            try:
                client.send(data)
            except OSError:
                continue

    def close(self):
        for client in self.sockets.values():
            client.close()
        self.epoll.close()


def pump(client, data, until, times=None):
    """Sends `data` again and again without waiting for answers, which it reads and throws away. How many times it
    was sent whole."""
    client.setblocking(False)
    view, at, done = memoryview(data), 0, 0
    poll = select.poll()
    poll.register(client, select.POLLIN | select.POLLOUT)
    while (left := until - time.monotonic()) > 0:
        sending = times is None or done < times
        poll.modify(client, select.POLLIN | (select.POLLOUT if sending else 0))
        for _, events in poll.poll(left * 1000):
            try:
                if events & (select.POLLIN | select.POLLHUP | select.POLLERR) and not client.recv(PIECE):
                    return done
                if sending and events & select.POLLOUT:
                    at += client.send(view[at:])
            except BlockingIOError:
                continue
            except OSError:
                return done
            if at == len(data):
                at, done = 0, done + 1
    return done
