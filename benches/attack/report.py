"""From what was seen to verdicts, and the table of them."""

P99_MS, LONGEST_MS = 10, 50
# Of the attack by one source: against the p99 before it; what is shorter than this is the wake-up of a process on a cpu of
# which 30,000 connects a second take most.
SOURCE, SOURCE_TIMES, SOURCE_US_MIN = "source", 2, 2000
# Beside the bound on buffers: tables, allocator, and what the connections themselves take.
MEMORY_SLACK = 64 << 20
# Who waits this long before the attack, or for this share of it for a cpu that others hold, is on a noisy machine.
NOISE = 0.1
# A wait this many times as long as the longest before the attack is not the machine's any more.
PROPORTION = 10
# More than the clock's tick, by which that is counted.
STOLEN_SECONDS = 0.01
RETRANSMISSION_US = 400_000
HELD, BROKEN, NOISY = "held", "BROKEN", "noise"

BARS = f"""\
  p99 of the prober <= {P99_MS} ms, its longest wait <= {LONGEST_MS} ms; no healthy client ended or suspect; resident
  memory grows by no more than the bound on buffers and {MEMORY_SLACK >> 20} MiB (printed only where the server has no
  such bound). Of `{SOURCE}`: p99 <= {SOURCE_TIMES} x that before the attack, or {SOURCE_US_MIN / 1000} ms. Where the prober before the attack is over a tenth of a bar, or others held the server's cpu for over a
  tenth of the time, waits in proportion to that are tried again, and a bar that they still break is called noise.
"""


def p99_us_max(outcome):
    """Most that p99 may be: from a crowd that is refused others hardly notice anything."""
    if outcome.name != SOURCE:
        return 1000 * P99_MS
    return max(SOURCE_TIMES * outcome.quiet["p99_us"], SOURCE_US_MIN)


def slow(outcome):
    """The bars on waits that were broken."""
    seen = outcome.attacked
    found = []
    if seen["p99_us"] > p99_us_max(outcome):
        found.append(f"p99 {ms(seen['p99_us'])} ms")
    if seen["max_us"] > 1000 * LONGEST_MS:
        found.append(f"longest wait {ms(seen['max_us'])} ms")
    return found


def harmed(outcome):
    """The bars that no noise excuses."""
    found = []
    if outcome.endings:
        more = f" and {len(outcome.endings) - 2} more" if len(outcome.endings) > 2 else ""
        found.append("; ".join(outcome.endings[:2]) + more)
    if outcome.bound and outcome.peak - outcome.before > outcome.bound + MEMORY_SLACK:
        found.append(f"memory: {mb(outcome.peak - outcome.before)} MB more, bound {mb(outcome.bound)} MB")
    return found


def broken(outcome):
    if outcome.failure:
        return [outcome.failure]
    return slow(outcome) + harmed(outcome)


def doubts(outcome):
    """Signs that others have used the machine meanwhile."""
    if outcome.failure:
        return []
    quiet, found = outcome.quiet, []
    if quiet["p99_us"] > 1000 * P99_MS * NOISE or quiet["max_us"] > 1000 * LONGEST_MS * NOISE:
        found.append(f"before the attack p99 {ms(quiet['p99_us'])} ms, longest {ms(quiet['max_us'])} ms")
    if outcome.server_waited > NOISE:
        found.append(f"others held the server's cpu for {outcome.server_waited:.0%} of the time")
    if outcome.stolen > STOLEN_SECONDS:
        found.append(f"the host took the server's cpu for {1000 * outcome.stolen:.0f} ms")
    if outcome.dropped:
        found.append(f"the loopback dropped {outcome.dropped} packets")
    return found


def explained(outcome):
    """Whether the broken bars may be those others' doing: there are waits, and not out of all proportion."""
    if outcome.failure or not doubts(outcome) or not slow(outcome):
        return False
    seen, quiet = outcome.attacked, outcome.quiet
    by_others = 1e6 * (outcome.server_waited * outcome.seconds + outcome.stolen) + (RETRANSMISSION_US if outcome.dropped else 0)
    return all(seen[what] <= max(bar, PROPORTION * quiet[what]) + by_others
               for what, bar in (("p99_us", p99_us_max(outcome)), ("max_us", LONGEST_MS * 1000)))


def verdict(outcome):
    if not broken(outcome):
        return HELD
    return NOISY if explained(outcome) and not harmed(outcome) else BROKEN


def ms(micros):
    return f"{micros / 1000:.1f}" if micros < 100_000 else f"{micros / 1000:,.0f}"


def mb(count):
    return f"{count / 1e6:,.0f}"


def row(outcome):
    """One row of the table, as cells."""
    if outcome.failure:
        return [outcome.name, *["-"] * 9, BROKEN, outcome.failure]
    quiet, seen = outcome.quiet, outcome.attacked
    return [
        outcome.name, ms(quiet["p99_us"]), ms(quiet["max_us"]), ms(seen["p50_us"]), ms(seen["p99_us"]),
        ms(seen["max_us"]), ms(outcome.aftermath["max_us"]), f"{1000 * outcome.newcomer_max:,.0f}",
        f"{mb(outcome.before)} > {mb(outcome.peak)} > {mb(outcome.after)}", f"{outcome.server_busy:.0%}",
        verdict(outcome), "; ".join(broken(outcome) + doubts(outcome)),
    ]


def line(outcome):
    words = "; ".join(filter(None, outcome.told))
    return f"{outcome.name}: {'; '.join(broken(outcome)) or 'held'}{f' ({words})' if words else ''}"


HEADER = ["attack", "quiet p99", "max", "p50", "p99", "longest", "after", "newcomer", "memory MB", "busy", "verdict", ""]


def table(outcomes):
    rows = [HEADER, *map(row, outcomes)]
    widths = [max(len(cells[at]) for cells in rows) for at in range(len(HEADER) - 1)]
    lines = ["  ".join([*(f"{cell:<{width}}" if at in (0, 10) else f"{cell:>{width}}"
                          for at, (cell, width) in enumerate(zip(cells, widths))), cells[-1]]).rstrip() for cells in rows]
    bounds = {mb(outcome.bound) for outcome in outcomes if outcome.bound}
    return "\n".join([
        "", *lines, "",
        f"Waits in ms, of PING on a schedule; bars: p99 {P99_MS}, longest {LONGEST_MS}. `after`: the longest while all "
        "attackers leave at once; `newcomer`: of healthy clients, by their own clock.",
        "Memory: resident before the attack, at most, and half a second after it; "
        + (f"bound on buffers: {', '.join(sorted(bounds))} MB." if bounds else "the server knows no bound on buffers."),
    ])
