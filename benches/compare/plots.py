"""Plots as SVG: bars with their spread, and latency over percentiles. No script, no font, no style of others."""

import math
from html import escape

WIDTH, LEFT, RIGHT, TOP, BAR, GAP = 760, 150, 120, 66, 18, 12
COLOURS = {"linger": "#1e6f9f", "C": "#7f8c8d", "Redis": "#b03a2e", "nginx": "#1e8449", "HAProxy": "#b7791f",
           "mosquitto": "#7d3c98"}
# Words stay readable over a line.
HALO = ' paint-order="stroke" stroke="white" stroke-width="3"'
TEXT, GRID, FAINT = "#222", "#ddd", "#666"


def text(x, y, words, anchor="start", colour=TEXT, extra=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}"{extra}>{escape(words)}</text>'


def line(x1, y1, x2, y2, colour=GRID, width=1.0):
    return f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="{colour}" stroke-width="{width}"/>'


def picture(title, subtitle, height, parts):
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" font-family="sans-serif" '
            f'font-size="12"><rect width="100%" height="100%" fill="white"/>')
    titles = [text(20, 26, title, extra=' font-size="16" font-weight="bold"'), text(20, 45, subtitle, colour=FAINT)]
    return "\n".join([head, *titles, *parts, "</svg>"]) + "\n"


def steps(top):
    """Three to six round marks up to `top`."""
    raw = top / 4
    base = 10 ** math.floor(math.log10(raw)) if raw > 0 else 1
    step = next(base * factor for factor in (1, 2, 2.5, 5, 10) if base * factor >= raw)
    return [step * index for index in range(int(top / step) + 1)]


def bars(title, subtitle, groups, unit=""):
    """Groups of bars from 0. `groups`: (label, [(name, middle, low, high, mark)]); 1 has a line of its own."""
    values = [max(bar[1], bar[3]) for _, found in groups for bar in found]
    top = max([*values, 1e-9]) * 1.05
    place = lambda value: LEFT + (WIDTH - LEFT - RIGHT) * min(value, top) / top
    parts, y = [], TOP + 14
    body = sum(len(found) * BAR + GAP for _, found in groups)
    for mark in steps(top):
        x = place(mark)
        parts += [line(x, TOP, x, y + body), text(x, TOP - 5, f"{mark:g}{unit}", "middle", FAINT)]
    if top > 1:
        parts.append(line(place(1), TOP, place(1), y + body, "#888", 1.6))
    for label, found in groups:
        parts.append(text(LEFT - 10, y + len(found) * BAR / 2 + 4, label, "end"))
        for name, middle, low, high, mark in found:
            colour = COLOURS.get(name, "#555")
            width = max(place(middle) - LEFT, 1)
            centre = y + BAR / 2
            parts.append(f'<rect x="{LEFT}" y="{y + 2:.1f}" width="{width:.1f}" height="{BAR - 4}" fill="{colour}"/>')
            if high > low:
                parts += [line(place(low), centre, place(high), centre, "#111", 1.4),
                          line(place(low), centre - 3, place(low), centre + 3, "#111", 1.4),
                          line(place(high), centre - 3, place(high), centre + 3, "#111", 1.4)]
            parts.append(text(max(place(high), LEFT + width) + 6, centre + 4, f"{middle:.2f}{unit} {name}{mark}",
                              colour=colour, extra=HALO))
            y += BAR
        y += GAP
    return picture(title, subtitle, y + 14, parts)


QUANTILES = [("p50", 0.5), ("p75", 0.75), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)]
PANEL = 190


def curves(title, subtitle, panels):
    """Latency over percentiles, both logarithmic: the tail is what matters. `panels`: (label, {name: {quantile: us}})."""
    values = [us for _, lines in panels for found in lines.values() for us in found.values() if us]
    if not values:
        return None
    low, high = math.log10(min(values)), math.log10(max(values))
    low, high = math.floor(low * 2) / 2, max(math.ceil(high * 2) / 2, low + 0.5)
    across = lambda part: LEFT + (WIDTH - LEFT - RIGHT) * (-math.log10(1 - part) + math.log10(0.5)) / (
        math.log10(0.5) - math.log10(0.0001))
    parts, top = [], TOP + 24
    for label, lines in panels:
        bottom = top + PANEL
        down = lambda us, bottom=bottom: bottom - PANEL * (math.log10(us) - low) / (high - low)
        parts.append(text(LEFT, top - 10, label, extra=' font-weight="bold"'))
        for exponent in range(math.ceil(low), math.floor(high) + 1):
            for factor in (1, 3):
                us = factor * 10**exponent
                if low <= math.log10(us) <= high:
                    parts += [line(LEFT, down(us), WIDTH - RIGHT, down(us)), text(LEFT - 8, down(us) + 4, human(us), "end", FAINT)]
        for name, part in QUANTILES:
            parts += [line(across(part), top, across(part), bottom), text(across(part), bottom + 16, name, "middle", FAINT)]
        ends = []
        for name, found in lines.items():
            points = [(across(part), down(found[quantile])) for quantile, part in QUANTILES if found.get(quantile)]
            colour = COLOURS.get(name, "#555")
            path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
            parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-linejoin="round"/>')
            if points:
                ends.append((points[-1][1], name, colour))
        parts += names_beside(ends)
        top = bottom + 60
    return picture(title, subtitle, top - 24, parts)


def names_beside(ends):
    """The names of lines beside their ends, none over another."""
    parts, last = [], -math.inf
    for y, name, colour in sorted(ends):
        last = max(y, last + 14)
        parts.append(text(WIDTH - RIGHT + 8, last + 4, name, colour=colour))
    return parts


def human(us):
    return f"{us:g} µs" if us < 1000 else f"{us / 1000:g} ms" if us < 1e6 else f"{us / 1e6:g} s"
