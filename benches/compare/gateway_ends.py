"""How the pairs of a relay end: what is left in TIME_WAIT when clients end them, and how a drain goes. Each relay has a
network of its own, so that the kernel's counters are of it alone (`TcpExtTW`: sockets that went to TIME_WAIT and left it,
which `ss` can miss)."""

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import time

from host import Failed, Running, fresh_network, pinned, start, stop
from relays import DRAIN_S, echo_on, wanted

LIVES = 5_000
DRAINED = 40
MESSAGE = b"x" * 63 + b"\n"
DRAIN_SIGNALS = {"linger": signal.SIGTERM, "HAProxy": signal.SIGUSR1, "nginx": signal.SIGQUIT}
# Waits for its network, then becomes the relay.
IN_NETWORK = ["unshare", "--net", "sh", "-c", 'read -r ready && exec "$@"', "sh"]


class Apart(Running):
    """A relay in a network of its own, which a pair of interfaces joins to ours."""

    def __init__(self, server, cpu, here, there):
        super().__init__(server, cpu)
        self.here, self.there = here, there

    def _started(self):
        command = pinned(self.cpu) + IN_NETWORK + self.server.prepare(self.port, self.directory)
        with open(self.directory / "log", "wb") as log:
            self.process = start(command, stdin=subprocess.PIPE, stdout=log, stderr=log, cwd=self.directory)
        until = time.monotonic() + 10
        while os.readlink(f"/proc/{self.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            if time.monotonic() > until or self.process.poll() is not None:
                return False
            time.sleep(0.01)
        self._join(f"gw{self.port}")
        # It stays readable when the relay is gone.
        self.netstat = open(f"/proc/{self.pid}/net/netstat", encoding="utf-8")
        self.process.stdin.write(b"\n")
        self.process.stdin.close()
        while time.monotonic() < until and self.process.poll() is None:
            with contextlib.suppress(OSError):
                self.connect().close()
                return True
            time.sleep(0.02)
        return False

    def _join(self, name):
        inside = ["nsenter", "-t", str(self.pid), "-n"]
        for command in (
            ["ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", str(self.pid)],
            ["ip", "address", "add", f"{self.here}/24", "dev", name],
            ["ip", "link", "set", name, "up"],
            [*inside, "ip", "address", "add", f"{self.there}/24", "dev", "eth0"],
            [*inside, "ip", "link", "set", "lo", "up"],
            [*inside, "ip", "link", "set", "eth0", "up"],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise Failed(f"{' '.join(command)}: {done.stderr.strip()}")

    def connect(self):
        return socket.create_connection((self.there, self.port), 5)

    def exchange_once(self):
        """A client that has had an exchange."""
        client = self.connect()
        client.sendall(MESSAGE)
        got = 0
        while got < len(MESSAGE):
            piece = client.recv(len(MESSAGE))
            if not piece:
                raise Failed("it closed before it had answered")
            got += len(piece)
        return client

    def time_waits_ever(self):
        """Sockets of it that have gone to TIME_WAIT."""
        self.netstat.seek(0)
        names, values = [line.split() for line in self.netstat if line.startswith("TcpExt:")]
        counts = dict(zip(names[1:], map(int, values[1:])))
        return counts["TW"] + counts["TWKilled"]


def endings(bench):
    if not fresh_network():
        bench.add("skipped", part="gateway", why="TIME_WAIT and drain need a network of their own, which is not permitted")
        return
    with Running(echo_on("0.0.0.0"), bench.settings.load_cpu) as echo, contextlib.ExitStack() as stack:
        up = {}
        for number in range(len(wanted(bench, "127.0.0.1:1"))):
            here, there = f"10.77.{number}.1", f"10.77.{number}.2"
            relay = wanted(bench, f"{here}:{echo.port}", address=there, supervised=True)[number]
            try:
                up[relay] = stack.enter_context(Apart(relay, bench.settings.server_cpu, here, there))
                up[relay].await_quiet()
                before = up[relay].time_waits_ever()
                for _ in range(LIVES):
                    up[relay].exchange_once().close()
                up[relay].await_quiet()
                bench.add("gateway", server=relay.name, what="time-waits", each=up[relay].time_waits_ever() - before)
            except (Failed, OSError) as why:
                bench.failed("gateway", relay, why, what="time-waits")
                up.pop(relay, None)
        drains(bench, {relay: running for relay, running in up.items() if relay.name in DRAIN_SIGNALS})


def drains(bench, up):
    """All at the same time."""
    clients, begun, seen, waits = selectors.DefaultSelector(), {}, {relay: [] for relay in up}, {}
    for relay, running in up.items():
        for _ in range(DRAINED):
            clients.register(running.exchange_once(), selectors.EVENT_READ, relay)
        waits[relay] = running.time_waits_ever()
    for relay, running in up.items():
        running.process.send_signal(DRAIN_SIGNALS[relay.name])
        begun[relay] = time.monotonic()
    until = time.monotonic() + DRAIN_S + 5
    while clients.get_map() and time.monotonic() < until:
        for key, _ in clients.select(0.5):
            seen[key.data].append((time.monotonic() - begun[key.data], ended_by(key.fileobj)))
            clients.unregister(key.fileobj)
            key.fileobj.close()
    # Until the last close has got through.
    time.sleep(0.3)
    for relay, running in up.items():
        after = [seconds for seconds, _ in seen[relay]]
        bench.add("gateway", server=relay.name, what="drain", after=after, ended=len(after),
                  resets=sum(how == "reset" for _, how in seen[relay]),
                  time_waits=running.time_waits_ever() - waits[relay])


def ended_by(client):
    try:
        return "fin" if client.recv(1) == b"" else "data"
    except OSError:
        return "reset"
