"""The server under attack, in a process of its own, and what the kernel and its metrics say of it."""

import os
import pathlib
import re
import subprocess
import tempfile
import time
import urllib.request

from healthy import GRACE, HANDSHAKE
from host import Failed, die_with_parent, prefer

# What it may buffer in all, where that can be set: small beside what the attacks ask for.
MEMORY_MAX_MIB = 256
# Connections a second that the second listener lets in of one source.
SOURCE_RATE = 100
# No client that does nothing wrong ends like this, and no attacker need to.
FALSE_VERDICTS = re.compile(
    r'linger_ends_total\{.*reason="((?:stuck|lost)\.\w+|protocol\.handshake_timeout|local\.(?:idle|audit|internal))"')


def knows_bound(program):
    """Whether the bytes that it buffers in all can be bounded."""
    listing = subprocess.run([program, "config"], capture_output=True, text=True, check=False).stdout
    return re.search(r"^memory_max\b", listing, re.M) is not None


class Server:
    """A context: it runs inside, and is gone after."""

    def __init__(self, program, cpu):
        self.program, self.cpu = str(program), cpu

    def __enter__(self):
        command = [
            self.program, "serve", "--log", "off", "--admin", "127.0.0.1:0",
            "--listen", f"resp://127.0.0.1:0?heartbeat.grace={GRACE}&handshake_timeout={HANDSHAKE}",
            "--listen", f"resp://127.0.0.1:0?name=limited&source.accept_rate={SOURCE_RATE}",
        ]
        self.bound = 0
        if knows_bound(self.program):
            command += ["--set", f"server.memory_max={MEMORY_MAX_MIB}MiB"]
            self.bound = MEMORY_MAX_MIB << 20
        self.words = tempfile.TemporaryFile(mode="w+")
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self.words, stderr=self.words, preexec_fn=self._settle)
        self.port, self.limited, self.admin = (self._address(name) for name in ("resp", "limited", "admin"))
        return self

    def _settle(self):
        die_with_parent()
        # Other programs on its cpu are not its doing.
        prefer(0)
        if self.cpu is not None:
            os.sched_setaffinity(0, {self.cpu})

    def said(self):
        self.words.seek(0)
        return self.words.read()

    def _address(self, name):
        until = time.monotonic() + 10
        while time.monotonic() < until and self.process.poll() is None:
            if found := re.search(rf"^ +{name} +127\.0\.0\.1:(\d+)$", self.said(), re.M):
                return int(found[1])
            time.sleep(0.01)
        raise Failed(f"the server did not start: {self.said().strip()[-300:]}")

    def __exit__(self, *_):
        # No client is left that a drain would have to wait for.
        self.process.kill()
        self.process.wait()
        self.words.close()

    def alive(self):
        return self.process.poll() is None

    # ---- What is known of it --------------------------------------------------------------------------------

    def _proc(self, name):
        return pathlib.Path(f"/proc/{self.process.pid}/{name}")

    def memory(self, which):
        """VmRSS or VmHWM, in bytes; none of a process that is gone."""
        try:
            found = re.search(rf"^{which}:\s+(\d+) kB", self._proc("status").read_text(), re.M)
        except OSError:
            found = None
        return int(found[1]) * 1024 if found else 0

    def forget_peak(self):
        """Lets the peak be counted from now on."""
        try:
            self._proc("clear_refs").write_text("5")
        except OSError:
            pass

    def cpu_ns(self):
        """What it ran for, and for how long it waited for a cpu that another process held."""
        try:
            ran, waited, _ = self._proc("schedstat").read_text().split()
        except (OSError, ValueError):
            return 0, 0
        return int(ran), int(waited)

    def metrics(self):
        """By name with labels. The admin interface is under attack as well, so it may have to be asked again."""
        for _ in range(5):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=3) as page:
                    lines = page.read().decode().splitlines()
            except OSError:
                time.sleep(0.2)
                continue
            return {name: float(value) for name, _, value in
                    (line.rpartition(" ") for line in lines if not line.startswith("#"))}
        return None


def false_verdicts(metrics):
    """What the server says of clients that did nothing to deserve it."""
    found = [f"{count:.0f} x {verdict[1]}" for name, count in metrics.items()
             if count and (verdict := FALSE_VERDICTS.match(name))]
    suspected = sum(count for name, count in metrics.items() if name.partition("{")[0] == "linger_suspected_total")
    return found + ([f"{suspected:.0f} suspected"] if suspected else [])
