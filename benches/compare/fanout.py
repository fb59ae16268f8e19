"""Fan-out: one publisher, many subscribers. Linger beside Redis, both pinned to the same cpu, one idle while the other is
measured; a round of each in turn, and their ratio. Alone among the parts, it has bars."""

import contextlib
import shutil
import subprocess

import page
from figures import group, median, ratio, verdict_sentence
from host import Failed, fresh_network, pinned, prefer, say, start, stop
from measure import all_up, in_turn
from servers import ROOT

DRIVER = ROOT / "target/bench/fanout"
# Subscribers, bytes of a message, publishes under way; and what the ratio of deliveries a second is to reach, if there
# is a bar. Few under way: the kernel's part, a call for each subscriber, is most of it, and the same for both.
CELLS = {
    (1, 64, 64): 1.0, (100, 64, 64): 2.0, (1000, 64, 64): 1.5, (10_000, 64, 64): 1.5, (1000, 16_384, 2): 2.0,
    (100, 64, 4): None, (1000, 64, 4): None, (10_000, 64, 4): 1.5,
}


# ---- Measuring ---------------------------------------------------------------------------------------------


class Driver:
    """A generator whose subscribers stay subscribed to one server, and which publishes when told to."""

    def __init__(self, running, cell, settings):
        subscribers, size, window = cell
        self.process = start(
            pinned(settings.load_cpu) + [
                str(DRIVER), "-p", str(running.port), "-c", str(subscribers), "-s", str(size),
                "-w", str(window), "-t", str(settings.seconds), "-S", str(running.pid)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        # What others take of the cpus hits a rate twice, by server and by generator; all three are treated alike.
        for pid in self.process.pid, running.pid:
            prefer(pid)
        if self.process.stdout.readline() != "ready\n":
            raise self.failure()

    def measure(self):
        try:
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise self.failure() from None
        line = self.process.stdout.readline()
        if not line:
            raise self.failure()
        return {key: float(value) for key, _, value in (word.partition("=") for word in line.split())}

    def failure(self):
        self.process.kill()
        return Failed(self.process.stderr.read().strip() or "the generator has ended")

    def close(self):
        stop(self.process)
        for pipe in self.process.stdin, self.process.stdout, self.process.stderr:
            with contextlib.suppress(OSError):
                pipe.close()


def built():
    if shutil.which("cc") is None:
        return DRIVER.exists()
    DRIVER.parent.mkdir(parents=True, exist_ok=True)
    source = ROOT / "benches/baseline/fanout.c"
    return subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-o", DRIVER, source], check=False).returncode == 0


def fanout(bench):
    for servers in bench.works("resp"):
        if not built():
            raise Failed("benches/baseline/fanout.c cannot be built")
        for cell in CELLS:
            # New servers for each: queues that one of them has grown are not the next one's.
            fresh_network()
            with all_up(bench, servers, "fanout") as up, contextlib.ExitStack() as stack:
                rounds_of(bench, up, cell, stack)
            say(f"fanout: {where_of(cell)}: done")


def where_of(cell):
    return f"{cell[0]:,} subscribers, {cell[1]:,} bytes, {cell[2]} under way"


def rounds_of(bench, up, cell, stack):
    drivers, where = {}, dict(zip(("subscribers", "size", "window"), cell))
    for server, running in up.items():
        try:
            drivers[server] = Driver(running, cell, bench.settings)
            stack.callback(drivers[server].close)
        except Failed as why:
            bench.failed("fanout", server, why, **where)
    for number in range(bench.settings.rounds):
        for server in in_turn(list(drivers), number):
            try:
                seen = drivers[server].measure()
            except Failed as why:
                bench.failed("fanout", server, why, **where, round=number)
                del drivers[server]
                continue
            bench.add("fanout", server=server.key, **where, round=number,
                      server_us=seen["server_ns"] / 1000, rate=seen["rate"], disturbed=seen["disturbed"],
                      server_busy=seen["server_busy"], own_busy=seen["own_busy"])


# ---- The page ----------------------------------------------------------------------------------------------


def compared(data):
    """For each cell that both have: the cell, our samples, the other's, the ratios of rate and of CPU time."""
    cells = group(data.get("fanout", []), "server", "subscribers", "size", "window")
    for (key, *cell), theirs in cells.items():
        mine = cells.get((f"{page.OURS}/resp", *cell))
        if mine and page.split(key)[0] != page.OURS:
            rate, cpu = ratio(mine, theirs, "rate", True), ratio(mine, theirs, "server_us", False)
            if rate and cpu:
                yield tuple(cell), mine, theirs, rate, cpu


def missed(data):
    """The bars that were not reached, in words; a cell that could not be judged is none of them."""
    return [f"{where_of(cell)}: {rate.middle:.2f}, bar {CELLS[cell]:g}" for cell, _, _, rate, _ in compared(data)
            if CELLS[cell] and not rate.disturbed and rate.middle < CELLS[cell]]


def section(data, _pictures=None):
    rows, by_rate, by_cpu = [], [], []
    for cell, mine, theirs, rate, cpu in compared(data):
        by_rate.append((where_of(cell), rate))
        by_cpu.append((where_of(cell), cpu))
        busy = (f"{median([one[what] for one in some]):.0%}" for what in ("server_busy", "own_busy") for some in (mine, theirs))
        rows.append([*(f"{number:,}" for number in cell), rate.text(), f"{CELLS[cell]:g}" if CELLS[cell] else "–", cpu.text(),
                     *(page.short(median([one["rate"] for one in some]) / 1000) for some in (mine, theirs)),
                     *(page.short(median([one["server_us"] for one in some])) for some in (mine, theirs)),
                     "{} · {} / {} · {}".format(*busy)])
    if not rows:
        return None
    machine, settings = data["machine"], data["settings"]
    return "\n\n".join([
        "## Fan-out: one publisher, many subscribers",
        f"Measured {data['date']}, {settings['rounds']} rounds of {settings['seconds']:g} s, on {machine['cpu']}, "
        f"{machine['kernel'].split('-')[0]}, {machine['congestion']}, with Redis {data['versions'].get('Redis', '–')}, by "
        f"`{data['command']}`. A publisher keeps so many `PUBLISH` *under way* and waits for the reply and the deliveries of "
        "one before the next, so that nothing piles up. A *delivery* is a message that has come to a subscriber. Where the "
        "generator's cpu is full and the server's is not, the CPU time is the figure to read.",
        "- " + verdict_sentence(by_rate, "Deliveries a second") + "\n- " + verdict_sentence(by_cpu, "Server CPU per delivery"),
        page.table(["subscribers", "bytes", "under way", "deliveries a second, ratio", "bar", "server CPU per delivery, ratio",
                    "linger k/s", "Redis k/s", "linger µs", "Redis µs", "busy: server / generator, linger · Redis"], rows),
    ])
