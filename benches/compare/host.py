"""The host: processes that are started and surely stopped, the cpus they are pinned to, networks of their own, and
what the kernel says of them."""

import ctypes
import os
import pathlib
import platform
import random
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWUSER, CLONE_NEWNET, PR_SET_PDEATHSIG = 0x10000000, 0x40000000, 1
# sched_setattr(2), for which there is no function; the shortest slice that it takes.
SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
SLICE_NS = 100_000
# Everything started and not yet seen to end.
RUNNING = []


class Failed(Exception):
    """Something could not be measured; the words go to the page."""


def say(text):
    print(f"compare: {text}", file=sys.stderr, flush=True)


def fresh_network():
    """Goes to a network namespace of its own: what is started from now on is in it, with no TIME_WAIT of anybody's.
    False where that is not permitted."""
    if LIBC.unshare(CLONE_NEWNET) != 0:
        uid, gid = os.getuid(), os.getgid()
        if LIBC.unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0:
            return False
        for name, text in ("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1"):
            pathlib.Path(f"/proc/self/{name}").write_text(text)
    return subprocess.run(["ip", "link", "set", "lo", "up"], check=False).returncode == 0


def raise_descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def die_with_parent():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # Of its own, for `prefer`.
    os.setsid()


def prefer(pid):
    """Gives a process in a session of its own (0: this one) precedence of what else runs here, where that is permitted. The scheduler
    weighs sessions (sched(7), autogroup) before the processes in them."""
    try:
        os.setpriority(os.PRIO_PROCESS, pid, -20)
        pathlib.Path(f"/proc/{pid or 'self'}/autogroup").write_text("-20")
    except OSError:
        return
    # And a slice so short that it need not wait for the end of another's.
    if number := SCHED_SETATTR.get(platform.machine()):
        LIBC.syscall(number, pid, struct.pack("=IIQiIQQQ", 48, 0, 0, -20, 0, SLICE_NS, 0, 0), 0)


def pinned(cpu):
    if cpu is None or shutil.which("taskset") is None:
        return []
    return ["taskset", "-c", str(cpu)]


def start(command, **options):
    process = subprocess.Popen(command, preexec_fn=die_with_parent, **options)
    RUNNING.append(process)
    return process


def stop(process, patience=5):
    """By SIGTERM; twice, because a second one cuts linger's drain short."""
    for number in signal.SIGTERM, signal.SIGTERM, signal.SIGKILL:
        if process.poll() is None:
            process.send_signal(number)
            try:
                process.wait(patience)
            except subprocess.TimeoutExpired:
                continue
        break
    process.wait()
    if process in RUNNING:
        RUNNING.remove(process)


def stop_all():
    for process in list(RUNNING):
        stop(process, 1)


def run(command, seconds, preferred=False):
    """Runs to its end; what it printed. `preferred`: see `prefer`."""
    process = start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if preferred:
        prefer(process.pid)
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        stop(process, 1)
        raise Failed(f"{pathlib.Path(command[-1]).name}: not done after {seconds:.0f} s") from None
    RUNNING.remove(process)
    return process.returncode, out, err


class Running:
    """A server that runs: a context that stops it."""

    def __init__(self, server, cpu, tool=()):
        self.server, self.cpu, self.tool = server, cpu, list(tool)

    def __enter__(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="linger-bench-"))
        for _ in range(5):
            # Below the ephemeral range, where no client's own port can collide with it.
            self.port = random.randrange(20_000, 30_000)
            if self._started():
                return self
            stop(self.process, 1)
        words = (self.directory / "log").read_text(errors="replace").strip()
        shutil.rmtree(self.directory, ignore_errors=True)
        raise Failed(f"{self.server.name} did not start: {words[-300:] or 'it says nothing'}")

    def _started(self):
        command = pinned(self.cpu) + self.tool + self.server.prepare(self.port, self.directory)
        with open(self.directory / "log", "wb") as log:
            self.process = start(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory)
        until = time.monotonic() + 20
        while time.monotonic() < until and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return True
            except OSError:
                time.sleep(0.02)
        return False

    def __exit__(self, *_):
        stop(self.process)
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def pid(self):
        return self.process.pid

    @property
    def url(self):
        work = self.server.work
        return f"{work.scheme}://127.0.0.1:{self.port}{work.path}"

    def cpu_ns(self):
        """CPU time of all its threads, and how long they were ready to run while others held their cpu. The kernel
        keeps both to the nanosecond; where it does not, there are utime and stime in ticks, and no waiting known."""
        ran = waited = 0
        for task in pathlib.Path(f"/proc/{self.pid}/task").iterdir():
            try:
                words = (task / "schedstat").read_text().split()
                ran, waited = ran + int(words[0]), waited + int(words[1])
            except (OSError, IndexError):
                continue
        if ran == 0:
            fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
            ran = (int(fields[11]) + int(fields[12])) * 10**9 // os.sysconf("SC_CLK_TCK")
        return ran, waited

    def rss_kb(self):
        """Resident memory, by counting pages: VmRSS is kept per cpu and can be behind."""
        try:
            text = pathlib.Path(f"/proc/{self.pid}/smaps_rollup").read_text()
        except OSError:
            text = pathlib.Path(f"/proc/{self.pid}/status").read_text().replace("VmRSS", "Rss")
        return int(re.search(r"^Rss:\s+(\d+)", text, re.M)[1])

    def descriptors(self):
        """How many it has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def await_quiet(self):
        """Until it has seen all its clients leave: its descriptors stop changing."""
        before, same = -1, 0
        for _ in range(200):
            count = self.descriptors()
            same = same + 1 if count == before else 0
            if same == 3:
                return
            before = count
            time.sleep(0.05)

    def time_waits(self):
        """TIME_WAIT on the server's side, and on its clients'."""
        counts = []
        for side in "sport", "dport":
            filtered = ["ss", "-Htan", "state", "time-wait", f"( {side} = :{self.port} )"]
            counts.append(len(run(filtered, 30)[1].splitlines()))
        return counts

    def exchange(self, ask):
        """What it answers to these bytes, until it is quiet or closes."""
        answer = b""
        with socket.create_connection(("127.0.0.1", self.port), 2) as client:
            client.sendall(ask.encode("latin-1").decode("unicode_escape").encode("latin-1"))
            # The first byte may take its time, under valgrind.
            client.settimeout(10)
            try:
                while piece := client.recv(65536):
                    answer += piece
                    client.settimeout(0.3)
            except TimeoutError:
                pass
        if not answer:
            raise Failed(f"{self.server.name} does not answer")
        return answer


def describe():
    """The machine, for the page."""
    cpu = re.search(r"model name\s*:\s*(.*)", pathlib.Path("/proc/cpuinfo").read_text())
    memory = int(re.search(r"MemTotal:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text())[1])
    return {
        "cpu": cpu[1] if cpu else "unknown",
        "cores": os.cpu_count(),
        "kernel": f"{os.uname().sysname} {os.uname().release}",
        "memory_gb": round(memory / 1e6, 1),
        "congestion": pathlib.Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip(),
        "descriptors": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        "load": os.getloadavg()[0],
    }
