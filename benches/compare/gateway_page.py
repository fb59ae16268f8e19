"""What gateway.py has measured, with the bar of each figure: the table, the verdicts, and which bars were missed."""

import math

import page
from figures import group, median, ratio

OTHERS = ["C", "HAProxy", "nginx"]
# Rounds below which a bar on CPU time is not said to be missed.
ROUNDS_MIN = 5
MARK = {"missed": "**missed**", "near": "missed by less than the rounds differ", "few": "missed in too few rounds to tell",
        "held": "held"}


class Limit:
    """A bar on a number of our own that does not depend on how busy the machine is."""

    def __init__(self, what, title, limit, digits=0):
        self.what, self.title, self.limit, self.digits = what, title, limit, digits
        self.bar = f"≤ {limit:,}" if limit else "0"

    def figure(self, samples):
        return f"{samples[0]['each']:,.{self.digits}f}"

    def ratio_to(self, _mine, _theirs):
        return None

    def verdict(self, mine, _others):
        return "held" if mine[0]["each"] <= self.limit else "missed"


class Ratio:
    """A bar on CPU time, divided by another's within a round."""

    def __init__(self, what, title, **bars):
        self.what, self.title, self.bars = what, title, bars
        self.bar = ", ".join(f"≤ {limit:.2f} × {name}" if limit > 1 else f"< {name}" for name, limit in bars.items())

    def figure(self, samples):
        user = [sample["user"] for sample in samples if sample["user"] is not None]
        share = f" ({median(user):.0%} user)" if user else ""
        return page.short(median([sample["server_us"] for sample in samples])) + share

    def ratio_to(self, mine, theirs):
        return ratio(mine, theirs, "server_us", False)

    def verdict(self, mine, others):
        """Missed is what the middle half of the rounds misses."""
        found = "held"
        for name, limit in self.bars.items():
            against = self.ratio_to(mine, others[name]) if name in others else None
            if against and against.spread[0] > limit:
                return "missed" if len(against.values) >= ROUNDS_MIN else "few"
            if against and against.middle > limit:
                found = "near"
        return found


class Bulk(Ratio):
    """The same, of a gigabyte: shown as bytes per second of CPU time."""

    def __init__(self, what, title):
        super().__init__(what, title, C=1, HAProxy=1, nginx=1)
        self.bar = "≥ the best of them"

    def figure(self, samples):
        return page.short(1e6 / median([sample["server_us"] for sample in samples]))


class Drain:
    """How clients are told over the time of a drain."""

    what, title, bar = "drain", "drain of 40 idle pairs over 5 s: most in one second, TIME_WAIT", "≤ 10 and 0"

    def figure(self, samples):
        sample = samples[0]
        ended = f", {sample['ended']} of 40 ended" if sample["ended"] < 40 else ""
        resets = f", {sample['resets']} by reset" if sample["resets"] else ""
        return f"{self.most_in_a_second(sample)}, {sample['time_waits']}{ended}{resets}"

    @staticmethod
    def most_in_a_second(sample):
        seconds = [math.floor(after) for after in sample["after"]]
        return max(map(seconds.count, seconds), default=0)

    def ratio_to(self, _mine, _theirs):
        return None

    def verdict(self, mine, _others):
        sample = mine[0]
        orderly = sample["ended"] == 40 and not sample["resets"] and not sample["time_waits"]
        return "held" if orderly and self.most_in_a_second(sample) <= 10 else "missed"


ROUND_TRIP = {"C": 1.03, "HAProxy": 1, "nginx": 1}
PIPELINED = {"C": 1.05, "HAProxy": 1, "nginx": 1}
LINES = [
    Limit("memory", "user memory of an idle pair, bytes", 280),
    Limit("strace echo", "system calls per round trip, 50 pairs", 4.1, 2),
    Limit("strace churn", "system calls per life", 15, 2),
    Limit("callgrind echo", "user instructions per round trip", 1_000),
    Limit("callgrind churn", "user instructions per life", 6_000),
    Ratio("round trip 50x1", "CPU per round trip, 50 pairs, µs", **ROUND_TRIP),
    Ratio("round trip 1000x1", "CPU per round trip, 1,000 pairs, µs", **ROUND_TRIP),
    Ratio("round trip 50x16", "the same, pipeline 16, 50 pairs, µs", **PIPELINED),
    Ratio("round trip 1000x16", "the same, pipeline 16, 1,000 pairs, µs", **PIPELINED),
    Ratio("life", "CPU per life, µs", C=1.03),
    Bulk("bulk 1", "bulk, 1 pair, GB per second of CPU"),
    Bulk("bulk 50", "bulk, 50 pairs, GB per second of CPU"),
    Limit("time-waits", "TIME_WAIT after 5,000 lives that the client ends", 0),
    Drain(),
]


def found(data):
    """Each line that linger has a figure for: the line, our samples, the others' by name, the verdict."""
    cells = group(data.get("gateway", []), "what", "server")
    for line in LINES:
        mine = cells.get((line.what, page.OURS))
        if mine:
            others = {name: cells[line.what, name] for name in OTHERS if (line.what, name) in cells}
            yield line, mine, others, line.verdict(mine, others)


def missed(data):
    """The bars that were missed, in words; by less than the rounds differ is not missed."""
    return [f"{line.title}: {line.figure(mine)}, bar {line.bar}{ratios_in_words(line, mine, others)}"
            for line, mine, others, verdict in found(data) if verdict == "missed"]


def ratios_in_words(line, mine, others):
    ratios = {name: line.ratio_to(mine, theirs) for name, theirs in others.items()}
    return "".join(f", {against.middle:.2f} × {name}" for name, against in ratios.items() if against)


def section(data, _pictures=None):
    rows = []
    for line, mine, others, verdict in found(data):
        ratios = (line.ratio_to(mine, others[name]) if name in others else None for name in OTHERS)
        rows.append([line.title, line.bar, line.figure(mine),
                     *(line.figure(others[name]) if name in others else "–" for name in OTHERS),
                     *(against.text(bounded=True) if against else "–" for against in ratios), MARK[verdict]])
    if not rows:
        return None
    machine, settings = data["machine"], data["settings"]
    versions = ", ".join(f"{name} {data['gateway_versions'][name]}" for name in data["gateway_versions"] if name != "C")
    held = data["gateway_idle"]
    return "\n\n".join([
        "## Gateway: a pair between a client and a server",
        f"Measured {data['date']}, {settings['rounds']} rounds of {settings['seconds']:g} s, on {machine['cpu']}, "
        f"{machine['kernel'].split('-')[0]}, {machine['congestion']}, load average before {machine['load']:.1f}, with {versions}, by `{data['command']}`. Each relays to "
        "the same C echo server, which shares a cpu with the generator; the relay has the other. *C* is the floor under epoll "
        "([`relay.c`](baseline/relay.c)): it reads and writes at once, and does nothing else. Times are the relay's own CPU "
        "time; ratios are linger's figure divided by the other's, of CPU time also for bulk, within a round: less than 1 is "
        "better for linger. A bar on a ratio is missed where the middle half of five rounds or more misses it.",
        f"Idle memory: {held:,} pairs. A *life* is connect, one exchange, and the client closes; counts and lives have 50 at a "
        "time. linger has `half_close = \"end\"`, as the others do it with no setting. How others drain is how they end: HAProxy "
        "by SIGUSR1 with `hard-stop-after`, nginx by SIGQUIT with `worker_shutdown_timeout`.",
        page.table(["what", "bar", "linger", *OTHERS, *(f"ratio to {name}" for name in OTHERS), "verdict"], rows),
    ])
