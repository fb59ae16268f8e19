"""What gateway.py has measured, with the bar of each figure: the table, the verdicts, and which bars were missed."""

import math

from bars import Bars, Bulk, Limit, Ratio, measured

OTHERS = ["C", "HAProxy", "nginx"]


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
BARS = Bars("gateway", OTHERS, [
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
    Bulk("bulk 1", "bulk, 1 pair, GB per second of CPU", *OTHERS),
    Bulk("bulk 50", "bulk, 50 pairs, GB per second of CPU", *OTHERS),
    Limit("time-waits", "TIME_WAIT after 5,000 lives that the client ends", 0),
    Drain(),
])
missed = BARS.missed


def section(data, _pictures=None):
    table = BARS.table(data)
    if table is None:
        return None
    held = data["gateway_idle"]
    return "\n\n".join([
        "## Gateway: a pair between a client and a server",
        f"{measured(data, 'gateway')} Each relays to "
        "the same C echo server, which shares a cpu with the generator; the relay has the other. Each round of round trips and "
        "lives has processes of its own: where the memory of a process lies decides up to 5 % as long as it runs. *C* is the "
        "floor under epoll ([`relay.c`](baseline/relay.c)): it reads and writes at once, and does nothing else. Times are the "
        "relay's own CPU time; ratios are linger's figure divided by the other's, of CPU time also for bulk, within a round: "
        "less than 1 is better for linger. A bar on a ratio is missed where the middle half of five rounds or more misses it.",
        f"Idle memory: {held:,} pairs. A *life* is connect, one exchange, and the client closes; counts and lives have 50 at a "
        "time. linger has `half_close = \"end\"`, as the others do it with no setting. How others drain is how they end: HAProxy "
        "by SIGUSR1 with `hard-stop-after`, nginx by SIGQUIT with `worker_shutdown_timeout`.",
        table,
    ])
