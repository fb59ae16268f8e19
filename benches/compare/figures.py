"""From samples to figures: medians, ratios within a round, and who won."""

import statistics

# Ratios nearer to 1 than this are called a draw, whatever the rounds say.
DRAW = 0.02
# A round in which generator or server waited longer for a cpu that others held is not counted,
DISTURBED = 0.10
# unless fewer than these would be left; then nobody is said to win.
ROUNDS_MIN = 3


def median(values):
    return statistics.median(values) if values else None


def quartiles(values):
    if len(values) < 3:
        return min(values), max(values)
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


class Ratio:
    """linger's figure divided by another's, round by round."""

    def __init__(self, ours, theirs, more_is_better, disturbed=False):
        self.values = [a / b for a, b in zip(ours, theirs) if a is not None and b]
        self.more_is_better = more_is_better
        self.disturbed = disturbed

    def __bool__(self):
        return bool(self.values)

    @property
    def middle(self):
        return median(self.values)

    @property
    def spread(self):
        return quartiles(self.values)

    @property
    def verdict(self):
        """`wins`, `loses`, or `even`: half of the rounds on both sides of 1 is no difference. `unjudged`: others held
        the cpus."""
        low, high = self.spread
        if self.disturbed:
            return "unjudged"
        if abs(self.middle - 1) < DRAW or low <= 1 <= high:
            return "even"
        return "wins" if (self.middle > 1) == self.more_is_better else "loses"

    @property
    def factor(self):
        """How many times as good as the other's: above 1 is better for linger, whatever is measured."""
        return self.middle if self.more_is_better else 1 / self.middle

    def text(self, bounded=False):
        """`bounded`: the figure is only a bound, so that nobody can be said to lose."""
        low, high = self.spread
        spread = f" ({low:.2f}–{high:.2f})" if len(self.values) > 1 else ""
        mark = "" if bounded else {"wins": "", "loses": "**loses** ", "even": "", "unjudged": "~ "}[self.verdict]
        return f"{mark}{self.middle:.2f}{spread}"


def verdict_sentence(cells, what):
    """Who wins how often and by how much. `cells`: (where, Ratio)."""
    cells = [(where, ratio) for where, ratio in cells if ratio]
    if not cells:
        return f"{what}: nothing could be measured."
    words = []
    verbs = {"wins": "is ahead", "even": "is even", "loses": "is behind", "unjudged": "is not judged (others held the cpus)"}
    for verdict, verb in verbs.items():
        of = [(ratio.factor, where) for where, ratio in cells if ratio.verdict == verdict]
        if not of:
            continue
        factor, where = max(of) if verdict == "wins" else min(of)
        extreme = "" if verdict in ("even", "unjudged") else f" ({'at best' if verdict == 'wins' else 'at worst'} by {by(factor)}: {where})"
        words.append(f"{verb} in {len(of)} of {len(cells)}{extreme}")
    return f"{what}: linger {', '.join(words)}."


def by(factor):
    """`12 %` or `3.1 times`, from how many times as good."""
    factor = factor if factor >= 1 else 1 / factor
    return f"{(factor - 1) * 100:.0f} %" if factor < 2 else f"{factor:.1f} times"


def group(samples, *keys):
    """Samples (dicts) by the values of `keys`, in order of appearance."""
    found = {}
    for sample in samples:
        found.setdefault(tuple(sample[key] for key in keys), []).append(sample)
    return found


def by_round(samples, field):
    """The figure of each round; none where it is missing."""
    return {sample["round"]: sample[field] for sample in samples if sample.get(field) is not None}


def ratio(ours, theirs, field, more_is_better):
    mine, other = by_round(ours, field), by_round(theirs, field)
    rounds = sorted(set(mine) & set(other))
    # CPU time does not count the waiting.
    rough = {sample["round"] for sample in [*ours, *theirs] if sample["disturbed"] > DISTURBED and field != "server_us"}
    kept = [r for r in rounds if r not in rough]
    disturbed = len(kept) < min(ROUNDS_MIN, len(rounds))
    rounds = rounds if disturbed else kept
    return Ratio([mine[r] for r in rounds], [other[r] for r in rounds], more_is_better, disturbed)
