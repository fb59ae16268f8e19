"""The gateway: a pair of connections between a client and a server. Linger beside the minimal C relay, HAProxy and nginx,
which all have the same echo server behind them. It shares a cpu with the generator; the relay has the other, and its own
CPU time is what is compared. Figures, bars and verdicts are in gateway_page.py."""

import contextlib
import shutil
import subprocess

import gateway_ends
from host import Failed, Running, fresh_network, pinned, prefer, say, start, stop
from measure import IN_FLIGHT, held, in_turn, total_of
from relays import BASELINE, echo_on, relays, wanted, why_missing
from servers import ROOT

BULK = ROOT / "target/bench/bulk"
# Descriptors per process are 20,000 where this is measured: two for each pair.
IDLE = 9_000
# Pairs, and messages of 64 bytes under way on each.
ROUND_TRIPS = [(50, 1), (1000, 1), (50, 16), (1000, 16)]
BULK_PAIRS = [1, 50]


def gateway(bench):
    if not built():
        raise Failed("benches/baseline/relay.c or bulk.c cannot be built")
    bench.data["gateway_idle"] = idle_count(bench)
    bench.data["gateway_versions"] = {relay.name: relay.version_text() for relay in each_relay(bench)}
    for relay in relays("127.0.0.1:1"):
        if why := why_missing(relay):
            bench.add("skipped", part="gateway", why=f"gateway: {why}")
    bench.preferred = True
    for measured in timed, bulk, memory, counted, gateway_ends.endings:
        measured(bench)
        say(f"gateway: {measured.__name__}: done")
    bench.preferred = False


def built():
    if shutil.which("cc") is None:
        return BASELINE.exists() and BULK.exists()
    BASELINE.parent.mkdir(parents=True, exist_ok=True)
    return all(
        subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-o", program, ROOT / f"benches/baseline/{program.name}.c"],
                       check=False).returncode == 0
        for program in (BASELINE, BULK))


def idle_count(bench):
    """Connections that are held, idle, for their memory."""
    return IDLE if not bench.settings.quick else 4_000


# ---- Relays and the server behind them -----------------------------------------------------------------------


@contextlib.contextmanager
def one_up(bench, name, tool=()):
    """One relay in a network of its own, its echo server behind it."""
    fresh_network()
    with Running(echo_on(), bench.settings.load_cpu) as echo:
        # A generator that waits for a cpu sends its messages in smaller batches, and each batch has a wait of its own.
        prefer(echo.pid)
        relay = next(relay for relay in wanted(bench, f"127.0.0.1:{echo.port}") if relay.name == name)
        with Running(relay, bench.settings.server_cpu, tool) as running:
            yield running


@contextlib.contextmanager
def all_up(bench, wanted_relays, part="gateway"):
    with contextlib.ExitStack() as stack:
        up = {}
        for relay in wanted_relays:
            try:
                up[relay] = stack.enter_context(Running(relay, bench.settings.server_cpu))
                prefer(up[relay].pid)
            except Failed as why:
                bench.failed(part, relay, why)
        yield up


def each_relay(bench):
    """The relays, whatever is behind them."""
    return wanted(bench, "127.0.0.1:1")


# ---- CPU time: all relays are up, idle while another is measured ----------------------------------------------


def timed(bench):
    fresh_network()
    with Running(echo_on(), bench.settings.load_cpu) as echo:
        prefer(echo.pid)
        for number in range(bench.settings.rounds):
            # Where the memory of a process lies decides up to 5 % as long as it runs: each round has processes of its own.
            with all_up(bench, wanted(bench, f"127.0.0.1:{echo.port}")) as up:
                one_round(bench, up, number)
            say(f"gateway: round {number + 1} of {bench.settings.rounds}")


def one_round(bench, up, number):
    for running in up.values():
        # Memory touched and caches filled before the first sample counts.
        bench.load(running, 200, "-P", 4, seconds=0.2)
        bench.c_load(running, "churn", "-c", IN_FLIGHT, "-n", 500)
    for pairs, pipeline in ROUND_TRIPS:
        each(bench, up, number, f"round trip {pairs}x{pipeline}", round_trips, pairs, pipeline)
    each(bench, up, number, "life", lives)


def each(bench, up, number, what, sample, *how, part="gateway"):
    """One round: each relay in its turn, one right after the other."""
    for relay in in_turn(list(up), number):
        running = up[relay]
        try:
            user_s, system_s = cpu_split(running)
            cpu_us, waited = sample(bench, running, *how)
            user_after, system_after = cpu_split(running)
            ran = user_after - user_s + system_after - system_s
            bench.add(part, server=relay.name, what=what, round=number, server_us=cpu_us, disturbed=waited,
                      user=(user_after - user_s) / ran if ran else None)
        except Failed as why:
            bench.failed(part, relay, why, what=what, round=number)
        running.await_quiet()


def cpu_split(running):
    """User and system time, which the kernel gives in ticks."""
    with open(f"/proc/{running.pid}/stat", encoding="utf-8") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return int(fields[11]), int(fields[12])


def round_trips(bench, running, pairs, pipeline, *how):
    result = bench.load(running, pairs, "-P", pipeline, *how, seconds=bench.settings.seconds)
    return result["server_us_per_request"], result["server_waited"]


def lives(bench, running):
    """Connect, one exchange, and the client closes."""
    before, waited_before = running.cpu_ns()
    said = bench.c_load(running, "churn", "-c", IN_FLIGHT, "-t", bench.settings.seconds)
    running.await_quiet()
    after, waited = running.cpu_ns()
    return (after - before) / int(said["lives"]) / 1000, (waited - waited_before) / 1e9 / float(said["seconds"])


# ---- Bulk ----------------------------------------------------------------------------------------------------


class Bulk:
    """The server and the clients of bulk, in one process."""

    def __init__(self, bench, port):
        self.process = start(
            pinned(bench.settings.load_cpu) + [str(BULK), "-b", str(port), "-t", str(bench.settings.seconds)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        prefer(self.process.pid)
        if self.process.stdout.readline() != "ready\n":
            raise self.failure()

    def through(self, running, pairs):
        try:
            self.process.stdin.write(f"{running.port} {pairs} {running.pid}\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise self.failure() from None
        line = self.process.stdout.readline()
        if not line:
            raise self.failure()
        return {key: float(value) for key, _, value in (word.partition("=") for word in line.split())}

    def failure(self):
        self.process.kill()
        return Failed(self.process.stderr.read().strip() or "the generator of bulk has ended")

    def close(self):
        stop(self.process)
        for pipe in self.process.stdin, self.process.stdout, self.process.stderr:
            with contextlib.suppress(OSError):
                pipe.close()


def bulk(bench):
    # Below the ephemeral range, and not where relays are started.
    fresh_network()
    port = 19_001
    driver = Bulk(bench, port)
    with contextlib.closing(driver), all_up(bench, wanted(bench, f"127.0.0.1:{port}")) as up:
        def sample(_, running, pairs):
            said = driver.through(running, pairs)
            # CPU time of a gigabyte, as of everything else.
            return said["server_ns"] / 1000 / (said["bytes"] / 1e9), said["server_waited_ns"] / 1e9 / said["seconds"]

        for number in range(-1, bench.settings.rounds):
            for pairs in BULK_PAIRS:
                what = f"bulk {pairs}" if number >= 0 else "warm-up"
                each(bench, up, number, what, sample, pairs)


# ---- Memory, and counts --------------------------------------------------------------------------------------


def memory(bench):
    count = idle_count(bench)
    for relay in each_relay(bench):
        try:
            with one_up(bench, relay.name) as running:
                # The code and the tables that the first pairs touch are paid once, not per pair.
                with held(bench, running, 64):
                    pass
                running.await_quiet()
                before = running.rss_kb()
                with held(bench, running, count):
                    running.await_quiet()
                    after = running.rss_kb()
            bench.add("gateway", server=relay.name, what="memory", each=1024 * (after - before) / count)
        except Failed as why:
            bench.failed("gateway", relay, why, what="memory")


TOOLS = {
    # As a grandchild: the process that was started is the relay.
    "strace": ("strace", ["strace", "-D", "-f", "-c", "-o", "count"]),
    "callgrind": ("valgrind", ["valgrind", "-q", "--tool=callgrind", "--callgrind-out-file=count"]),
}


def counted(bench):
    """Differences of two exact runs, so that start-up cancels."""
    quick = bench.settings.quick
    sizes = {"echo": (500, 4_500) if quick else (2_000, 22_000), "churn": (100, 600) if quick else (500, 3_500)}
    for kind, (program, tool) in TOOLS.items():
        if shutil.which(program) is None:
            bench.add("skipped", part="gateway", why=f"{program} is not installed")
            continue
        for relay in each_relay(bench):
            for mode, (low, high) in sizes.items():
                try:
                    less, more = (total(bench, relay.name, kind, tool, mode, size) for size in (low, high))
                    bench.add("gateway", server=relay.name, what=f"{kind} {mode}", each=(more - less) / (high - low))
                except Failed as why:
                    bench.failed("gateway", relay, why, what=f"{kind} {mode}")


def total(bench, name, kind, tool, mode, size):
    with one_up(bench, name, tool) as running:
        bench.c_load(running, mode, "-c", IN_FLIGHT, "-n", size)
        running.await_quiet()
        stop(running.process)
        return total_of(kind, running.directory / "count")
