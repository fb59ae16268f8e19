"""The measurements. Each takes servers and settings and adds samples (dicts, fit for JSON) to `data`. What belongs to
the same round was measured one right after the other, and is divided; absolute figures drift."""

import contextlib
import json
import shutil
import subprocess
import time

from figures import group, median
from host import Failed, Running, fresh_network, pinned, run, say, start, stop
from servers import LINGER, ROOT

C_LOAD = ROOT / "target/bench/load"
IN_FLIGHT = 50


class Bench:
    """Settings, and what was measured with them."""

    def __init__(self, settings, servers, data):
        self.settings, self.servers, self.data = settings, servers, data
        # Whether generators have precedence of what else runs here, as their servers then have.
        self.preferred = False

    def add(self, table, /, **sample):
        self.data.setdefault(table, []).append(sample)

    def failed(self, part, server, why, **where):
        say(f"{part}: {server.key}: {why}")
        self.add("failures", part=part, server=server.key, why=str(why), **where)

    def works(self, *names):
        """The servers of each kind of work that has more than one."""
        by_work = {}
        for server in self.servers:
            if server.work.name in names:
                by_work.setdefault(server.work.name, []).append(server)
        return [servers for servers in by_work.values() if len(servers) > 1]

    def load(self, running, connections, *arguments, seconds):
        """One run of `linger load`; what it says in JSON, and the share of the time for which the server waited for a
        cpu that was its own."""
        before, began = running.cpu_ns(), time.monotonic()
        command = pinned(self.settings.load_cpu) + [
            str(LINGER), "load", running.url, "-c", str(connections), "-d", f"{int(seconds * 1000)}ms", "--json",
            "--server-pid", str(running.pid), *map(str, arguments),
        ]
        code, out, err = run(command, seconds + 60, self.preferred)
        waited = (running.cpu_ns()[1] - before[1]) / 1e9 / (time.monotonic() - began)
        if code != 0 and not out:
            raise Failed(err.strip().splitlines()[-1] if err.strip() else f"linger load: exit status {code}")
        result = json.loads(out)
        if result["errors"]:
            first = result["errors"][0]
            raise Failed(f"{first['count']} x {first['kind']}: {first['first']}")
        result["server_waited"] = waited
        return result

    def c_load(self, running, mode, *arguments, seconds=120):
        """One run of the C generator; its key=value words."""
        command = pinned(self.settings.load_cpu) + [str(C_LOAD), mode, "-p", str(running.port), *map(str, arguments)]
        code, out, err = run(command, seconds, self.preferred)
        if code != 0:
            raise Failed(err.strip().splitlines()[-1] if err.strip() else f"load {mode}: exit status {code}")
        return {key: value for key, _, value in (word.partition("=") for word in out.split())}


def in_turn(servers, number):
    """Which of them goes first changes from round to round, so that a drift favours nobody."""
    at = number % len(servers)
    turned = servers[at:] + servers[:at]
    return turned if number % 2 == 0 else turned[::-1]


# ---- Rate and latency: all servers stay up, idle while another is measured ------------------------------


@contextlib.contextmanager
def all_up(bench, servers, part):
    with contextlib.ExitStack() as stack:
        up = {}
        for server in servers:
            try:
                up[server] = stack.enter_context(Running(server, bench.settings.server_cpu))
                # Memory touched and caches filled before the first sample counts.
                bench.load(up[server], 200, "-P", 4, seconds=0.2)
            except Failed as why:
                bench.failed(part, server, why)
                up.pop(server, None)
        yield up


def sample_of(result):
    latency = result["latency_us"]
    return {
        "rate": result["requests"]["rate"],
        "server_us": result["server_us_per_request"],
        "server_cpu": result["server_cpu"],
        "generator_cpu": result["generator_cpu"],
        "lag_us": result["generator_lag_us"]["p99"],
        "disturbed": max(result["generator_waited"], result["server_waited"]),
        **{name: latency[name] for name in ("p50", "p75", "p90", "p99", "p99.9", "p99.99", "max")},
    }


def rates(bench):
    """Closed loop: as fast as it answers."""
    settings = bench.settings
    for servers in bench.works("echo", "resp", "http"):
        fresh_network()
        with all_up(bench, servers, "rates") as up:
            for number in range(settings.rounds):
                for connections in settings.connections:
                    for pipeline in settings.pipelines:
                        rate_round(bench, up, number, connections, pipeline)
                say(f"rates of {servers[0].work.name}: round {number + 1} of {settings.rounds}")


def rate_round(bench, up, number, connections, pipeline):
    # So many connections take long to be served once each.
    seconds = bench.settings.seconds * (2 if connections >= 10_000 else 1)
    where = {"round": number, "connections": connections, "pipeline": pipeline}
    measure_each(bench, up, "rates", where, ["-P", pipeline], seconds)


def measure_each(bench, up, table, where, options, seconds):
    """One round: each server in its turn under the same load, into a table."""
    for server in in_turn(list(up), where["round"]):
        try:
            result = bench.load(up[server], where["connections"], *options, seconds=seconds)
            bench.add(table, server=server.key, **where, **sample_of(result))
        except Failed as why:
            bench.failed(table, server, why, **where)
        up[server].await_quiet()


def latencies(bench):
    """Open loop: the same schedule for all, half of what the slowest can do."""
    settings = bench.settings
    for servers in bench.works("echo", "resp", "http"):
        fresh_network()
        with all_up(bench, servers, "latencies") as up:
            schedule = {c: schedule_of(bench, up, c) for c in settings.connections}
            for number in range(settings.rounds):
                for connections in settings.connections:
                    latency_round(bench, up, number, connections, schedule[connections])
                say(f"latencies of {servers[0].work.name}: round {number + 1} of {settings.rounds}")


def schedule_of(bench, up, connections):
    known = group(bench.data.get("rates", []), "server", "connections", "pipeline")
    slowest = []
    for server, running in up.items():
        samples = known.get((server.key, connections, 1))
        if not samples:
            with contextlib.suppress(Failed):
                samples = [sample_of(bench.load(running, connections, seconds=0.5))]
        if samples:
            slowest.append(median([sample["rate"] for sample in samples]))
    return max(100, round(min(slowest, default=10_000) / 2, -2))


def latency_round(bench, up, number, connections, rate):
    where = {"round": number, "connections": connections, "schedule": rate}
    measure_each(bench, up, "latencies", where, ["--rate", rate, "--spin"], bench.settings.seconds * 3)


# ---- Lives: connect, one exchange, close ----------------------------------------------------------------


def lives_of(server):
    """The kinds of life that a server can be asked for: name, and how the C generator is told."""
    work = server.work
    yield "client", ["-l", work.ask], work.ask
    if work.ask_to_close:
        yield "server", ["-l", work.ask_to_close] + (["-e"] if work.awaits_end else []), work.ask_to_close


def churn(bench):
    """A network of its own for each: what is left in TIME_WAIT is this server's, and no table is full of others'."""
    for number in range(bench.settings.rounds):
        for server in in_turn(bench.servers, number):
            fresh_network()
            try:
                with Running(server, bench.settings.server_cpu) as running:
                    for first, arguments, ask in lives_of(server):
                        churn_once(bench, running, number, first, arguments, ask)
            except Failed as why:
                bench.failed("churn", server, why, round=number)
        say(f"churn: round {number + 1} of {bench.settings.rounds}")


def churn_once(bench, running, number, first, arguments, ask):
    arguments = ["-c", IN_FLIGHT, *arguments, "-a", len(running.exchange(ask))]
    bench.c_load(running, "churn", *arguments, "-n", 500)
    running.await_quiet()
    waits, before = running.time_waits(), running.cpu_ns()
    said = bench.c_load(running, "churn", *arguments, "-t", bench.settings.seconds)
    running.await_quiet()
    used, waited = (after - then for after, then in zip(running.cpu_ns(), before))
    lives, seconds = int(said["lives"]), float(said["seconds"])
    left = [max(0, after - before) for after, before in zip(running.time_waits(), waits)]
    bench.add(
        "churn", server=running.server.key, round=number, first=first, lives=lives, rate=float(said["rate"]),
        server_us=used / lives / 1000, server_cpu=used / 1e9 / seconds,
        disturbed=max(waited / 1e9, float(said["waited"])) / seconds,
        on_server=left[0], on_clients=left[1],
    )


# ---- Memory: connections that have had an exchange, and are idle -------------------------------------------


@contextlib.contextmanager
def held(bench, running, count):
    work = running.server.work
    command = pinned(bench.settings.load_cpu) + [
        str(C_LOAD), "hold", "-p", str(running.port), "-c", str(count), "-d", "120",
        "-l", work.ask, "-a", str(len(running.exchange(work.ask))),
    ]
    process = start(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        if process.stdout.readline().strip() != f"held={count}":
            process.kill()
            raise Failed(f"{count} connections could not be held: {process.stderr.read().strip()}")
        yield
        process.stdin.close()
        if process.stdout.readline().strip() != "lost=0":
            raise Failed("it closed connections that were to be idle")
    finally:
        stop(process)
        for pipe in process.stdin, process.stdout, process.stderr:
            with contextlib.suppress(OSError):
                pipe.close()


def memory(bench):
    count = bench.settings.held
    for server in bench.servers:
        fresh_network()
        try:
            with Running(server, bench.settings.server_cpu) as running:
                started = running.rss_kb()
                # The code and the tables that the first connections touch are paid once, not per connection.
                with held(bench, running, 64):
                    pass
                running.await_quiet()
                before = running.rss_kb()
                with held(bench, running, count):
                    time.sleep(1)
                    after = running.rss_kb()
            bench.add("memory", server=server.key, count=count, started_kb=started, full_kb=after,
                      bytes=1024 * (after - before) / count)
        except Failed as why:
            bench.failed("memory", server, why)
    say("memory: done")


# ---- Counts: the difference of two runs, so that start-up cancels -----------------------------------------


def counts(bench):
    for kind, tool in ("strace", "strace"), ("callgrind", "valgrind"):
        if shutil.which(tool) is None:
            bench.add("skipped", part="counts", why=f"{tool} is not installed")
            continue
        for server in bench.servers:
            for what in ["request"] * (server.work.scheme is not None) + [life[0] for life in lives_of(server)]:
                count_one(bench, kind, server, what)
        say(f"counts: {kind} done")


def count_one(bench, kind, server, what):
    try:
        runs = [counted_run(bench, kind, server, what, size) for size in (0, 1)]
        (done, total), (done_more, total_more) = runs
        if done_more <= done:
            raise Failed("no more was done in the longer run")
        bench.add("counts", kind=kind, server=server.key, what=what, each=(total_more - total) / (done_more - done))
    except Failed as why:
        bench.failed("counts", server, why, kind=kind, what=what)


def counted_run(bench, kind, server, what, size):
    """A fresh server under the tool: how many requests or lives there were, and the count of the whole run."""
    fresh_network()
    settings = bench.settings
    # strace as a grandchild: the process that was started is the server.
    tools = {
        "strace": ["strace", "-D", "-f", "-c", "-o", "count"],
        "callgrind": ["valgrind", "-q", "--tool=callgrind", "--callgrind-out-file=count"],
    }
    running = Running(server, settings.server_cpu, tools[kind])
    with running:
        output = running.directory / "count"
        if what == "request":
            seconds = settings.count_seconds[size]
            done = bench.load(running, IN_FLIGHT, seconds=seconds)["requests"]["answered"]
        else:
            _, arguments, ask = next(life for life in lives_of(server) if life[0] == what)
            answer = len(running.exchange(ask))
            done = settings.count_lives[size]
            bench.c_load(running, "churn", "-c", IN_FLIGHT, *arguments, "-a", answer, "-n", done)
        running.await_quiet()
        stop(running.process)
        return done, total_of(kind, output)


def total_of(kind, output):
    mark = "totals:" if kind == "callgrind" else " total"
    for _ in range(100):
        text = output.read_text() if output.exists() else ""
        lines = [line.split() for line in text.splitlines() if mark in line]
        if lines:
            return sum(int(words[1]) for words in lines) if kind == "callgrind" else int(lines[-1][3])
        time.sleep(0.05)
    raise Failed(f"{kind} left no count")
