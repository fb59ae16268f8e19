"""Bars on figures of relays: what holds one, how it is written, and the table of a part."""

import page
from figures import group, median, ratio

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

    def __init__(self, what, title, *others):
        super().__init__(what, title, **dict.fromkeys(others, 1))
        self.bar = "≥ the best of them"

    def figure(self, samples):
        return page.short(1e6 / median([sample["server_us"] for sample in samples]))


class Bars:
    """The lines of a part, and the verdict of each on what was measured."""

    def __init__(self, part, others, lines):
        self.part, self.others, self.lines = part, others, lines

    def found(self, data):
        """Each line that linger has a figure for: the line, our samples, the others' by name, the verdict."""
        cells = group(data.get(self.part, []), "what", "server")
        for line in self.lines:
            mine = cells.get((line.what, page.OURS))
            if mine:
                others = {name: cells[line.what, name] for name in self.others if (line.what, name) in cells}
                yield line, mine, others, line.verdict(mine, others)

    def missed(self, data):
        """The bars that were missed, in words; by less than the rounds differ is not missed."""
        return [f"{line.title}: {line.figure(mine)}, bar {line.bar}{ratios_in_words(line, mine, others)}"
                for line, mine, others, verdict in self.found(data) if verdict == "missed"]

    def table(self, data):
        """None where nothing was measured."""
        rows = []
        for line, mine, others, verdict in self.found(data):
            ratios = (line.ratio_to(mine, others[name]) if name in others else None for name in self.others)
            rows.append([line.title, line.bar, line.figure(mine),
                         *(line.figure(others[name]) if name in others else "–" for name in self.others),
                         *(against.text(bounded=True) if against else "–" for against in ratios), MARK[verdict]])
        header = ["what", "bar", "linger", *self.others, *(f"ratio to {name}" for name in self.others), "verdict"]
        return page.table(header, rows) if rows else None


def ratios_in_words(line, mine, others):
    ratios = {name: line.ratio_to(mine, theirs) for name, theirs in others.items()}
    return "".join(f", {against.middle:.2f} × {name}" for name, against in ratios.items() if against)


def measured(data, part):
    """When, on what and with what a part was measured: how its section begins."""
    machine, settings, versions = data["machine"], data["settings"], data[f"{part}_versions"]
    said = ", ".join(f"{name} {version}" for name, version in versions.items() if name != "C")
    return (f"Measured {data['date']}, {settings['rounds']} rounds of {settings['seconds']:g} s, on {machine['cpu']}, "
            f"{machine['kernel'].split('-')[0]}, {machine['congestion']}, load average before {machine['load']:.1f}, with "
            f"{said}, by `{data['command']}`.")
