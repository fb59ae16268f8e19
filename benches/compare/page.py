"""The page: tables of ratios with who wins, computed from the samples, and plots beside them."""

import plots
from figures import DISTURBED, Ratio, by_round, group, median, ratio, verdict_sentence

OURS = "linger"
# The last section.
DOUBTS = "## What is in doubt"
# A generator above this share of its cpu may be what is measured, where the server has some of its own left.
SATURATED = 0.9
# What is divided by what: mosquitto has no counterpart of its kind here.
AGAINST = {"echo": "echo", "resp": "resp", "http": "http", "mqtt": "resp"}
SCENES = {"echo": "echo, 64 bytes", "resp": "RESP, PING", "http": "HTTP, GET of `ok`", "mqtt": "MQTT, CONNECT"}


def write(data, path, *more):
    """`more`: sections of others."""
    pages = [head(data)]
    pictures = {}
    for section in rates, latencies, churn, memory, *more, counts:
        found = section(data, pictures)
        if found:
            pages.append(found)
    pages.append(doubts(data))
    directory = path.parent / "plots"
    directory.mkdir(parents=True, exist_ok=True)
    for name, picture in pictures.items():
        (directory / name).write_text(picture)
    path.write_text("\n\n".join(pages) + "\n")


def put(section, path):
    """Puts a section into a page that is there, in place of the one with its title."""
    if section is None:
        return
    text, title = path.read_text(), section.partition("\n")[0]
    begin = text.find(f"\n{title}\n") + 1
    end = text.find("\n## ", begin) + 1 if begin else 0
    if not begin:
        begin = end = text.index(DOUBTS)
    path.write_text(text[:begin] + section + "\n\n" + text[end:])


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "| --- " * len(header) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def split(key):
    name, _, work = key.partition("/")
    return name, work


def pairs(keys):
    """(the other, ours) for all of `keys` that are to be compared, in their order."""
    for key in keys:
        name, work = split(key)
        if name != OURS:
            yield key, f"{OURS}/{AGAINST[work]}"


def short(value):
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


# ---- Head --------------------------------------------------------------------------------------------------


def head(data):
    machine, settings = data["machine"], data["settings"]
    versions = ", ".join(f"{name} {version}" for name, version in data["versions"].items())
    pinned = settings.get("server_cpu") is not None
    lines = [
        "# Beside other servers",
        "Written by `" + data["command"] + "`; do not edit. Each server has one thread"
        + (f", pinned to cpu {settings['server_cpu']}; the generator (`linger load`, and for lives and idle connections"
           f" `benches/baseline/load.c`) is pinned to cpu {settings['load_cpu']}" if pinned else ", not pinned")
        + f". Timed figures: {settings['rounds']} rounds of {settings['seconds']:g} s, the servers one right after the "
        "other within each, in changing order. A ratio is taken within a round; shown are the median and the middle half "
        "of the rounds.",
        "**How to read the ratios: linger's figure divided by the other's.** For rates and lives more than 1 is better for "
        "linger; for times, memory, system calls and instructions less than 1 is. Where linger **loses** it says so: the "
        "middle half of the rounds lies on the wrong side of 1, and the median by more than 2 %. A round in which generator "
        "or server waited for a cpu that others held for over 10 % of the time is left out; ~ marks what has too few others, "
        "and nobody wins there (CPU time does not count the waiting, and is always judged). Absolute numbers are context only: machines differ, and this one may not be quiet.",
        table(["", ""], [
            ["date", data["date"]],
            ["machine", f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB"],
            ["kernel", f"{machine['kernel'].split('-')[0]}, {machine['congestion']}, loopback, load average before "
                       f"{machine['load']:.1f}"],
            ["versions", versions],
        ]),
        "What each can do of the same work: echo (linger, the C server), RESP `PING` (linger, Redis), HTTP `GET` of a "
        "three-byte answer with keep-alive (linger's admin interface, which is not meant as a web server; nginx `return`; "
        "HAProxy `http-request return`). mosquitto speaks MQTT, for which linger has no counterpart: its lives and idle "
        "connections (CONNECT, CONNACK) are compared with linger's RESP, which is not the same work. TCP keepalive is on "
        "for linger and Redis, their default, and off for the others. The configurations are in "
        "[`servers.py`](compare/servers.py).",
    ]
    return "\n\n".join(lines)


# ---- Rates -------------------------------------------------------------------------------------------------


def bound_by_generator(samples):
    generator, server = (median([s[name] for s in samples if s[name] is not None]) for name in ("generator_cpu", "server_cpu"))
    return generator is not None and generator > SATURATED and (server or 0) < SATURATED


def rates(data, pictures):
    cells = group(data.get("rates", []), "server", "connections", "pipeline")
    if not cells:
        return None
    rows, by_rate, by_cpu, bars = [], [], [], []
    doubtful = False
    for (key, connections, pipeline), theirs in cells.items():
        if split(key)[0] == OURS:
            continue
        mine = cells.get((f"{OURS}/{AGAINST[split(key)[1]]}", connections, pipeline), [])
        rate, cpu = ratio(mine, theirs, "rate", True), ratio(mine, theirs, "server_us", False)
        if not rate or not cpu:
            continue
        name, work = split(key)
        where = f"{name}, {connections:,} connections, pipeline {pipeline}"
        ours_bound, their_bound = bound_by_generator(mine), bound_by_generator(theirs)
        mark = {(True, False): "≥ ", (False, True): "≤ ", (True, True): "? ", (False, False): ""}[ours_bound, their_bound]
        doubtful = doubtful or ours_bound or their_bound
        if not (ours_bound or their_bound):
            by_rate.append((where, rate))
        by_cpu.append((where, cpu))
        bars.append((name, work, connections, pipeline, rate, cpu))
        rows.append([SCENES[work], name, f"{connections:,}", str(pipeline), mark + rate.text(bool(mark)), cpu.text(),
                     *(short(median(list(by_round(s, "rate").values())) / 1000) for s in (mine, theirs)),
                     *(short(median(list(by_round(s, "server_us").values()))) for s in (mine, theirs))])
    below = "work, connections × pipeline; whiskers: the middle half of the rounds"
    pictures["rate.svg"] = ratio_picture("Requests a second: linger divided by the other",
                                         f"above 1 linger is faster; {below}", [(*bar[:4], bar[4]) for bar in bars])
    pictures["server-cpu.svg"] = ratio_picture("Server CPU time per request: linger divided by the other",
                                               f"below 1 linger needs less; {below}", [(*bar[:4], bar[5]) for bar in bars])
    note = ("\n\n≥, ≤ and ? mark rates at which the generator had no time left while the server had: at least so much, at "
            "most so much, or no telling. They are left out of the sentence on rates; the CPU time of the server "
            "is not touched by it." if doubtful else "")
    return "\n\n".join([
        "## Requests: rate, and what one costs the server",
        "Closed loop: each connection sends its next request when an answer has come. The *rate* is what comes of server "
        "and generator together; the *server CPU* for each request is the server's alone, user and kernel, and the honest "
        "measure where both cpus are full.",
        "- " + verdict_sentence(by_rate, "Rate") + "\n- " + verdict_sentence(by_cpu, "Server CPU per request"),
        table(["work", "against", "connections", "pipeline", "rate, ratio", "server CPU per request, ratio",
               "linger k/s", "other k/s", "linger µs", "other µs"], rows) + note,
        "![Requests a second of linger, divided by the other's](plots/rate.svg)",
        "![Server CPU time of linger for a request, divided by the other's](plots/server-cpu.svg)",
    ])


def ratio_picture(title, subtitle, bars):
    groups = {}
    marks = {"wins": "", "even": " (even)", "loses": " (linger loses)", "unjudged": " (not judged)"}
    for name, work, connections, pipeline, found in bars:
        low, high = found.spread
        label = f"{work} {connections:,} × {pipeline}"
        groups.setdefault(label, []).append((name, found.middle, low, high, marks[found.verdict]))
    return plots.bars(title, subtitle, list(groups.items()))


# ---- Latencies ---------------------------------------------------------------------------------------------

SHOWN = ["p50", "p99", "p99.9"]


def latencies(data, pictures):
    cells = group(data.get("latencies", []), "server", "connections")
    if not cells:
        return None
    rows, verdicts = [], {quantile: [] for quantile in SHOWN}
    for (key, connections), theirs in cells.items():
        name, work = split(key)
        mine = cells.get((f"{OURS}/{AGAINST[work]}", connections), [])
        if name == OURS or not mine:
            continue
        found = {quantile: ratio(mine, theirs, quantile, False) for quantile in SHOWN}
        if not all(found.values()):
            continue
        for quantile, one in found.items():
            verdicts[quantile].append((f"{name}, {connections:,} connections", one))
        both = " / ".join("{} · {}".format(*(short(median(list(by_round(s, q).values()))) for s in (mine, theirs)))
                          for q in SHOWN)
        rows.append([SCENES[work], name, f"{connections:,}", f"{theirs[0]['schedule'] / 1000:g} k/s",
                     *(found[quantile].text() for quantile in SHOWN), both])
    pictures_of_latency(cells, pictures)
    shown = ["## Latency", "Open loop: requests have a schedule, and latency counts from when each was *due*, so a stall is "
             "charged for all it held up. The schedule is the same for all that do the same work: half of what the slowest "
             "of them could do in the closed loop. The generator waits for the time of a request without sleeping "
             "(`--spin`), so what waking it up takes is not in the figures.",
             "\n".join("- " + verdict_sentence(verdicts[quantile], quantile) for quantile in SHOWN),
             table(["work", "against", "connections", "schedule", *(f"{quantile}, ratio" for quantile in SHOWN),
                    "µs, linger · other: " + " / ".join(SHOWN)], rows)]
    if "latency.svg" in pictures:
        shown.append("![Latency over percentiles at 1,000 connections](plots/latency.svg)")
    return "\n\n".join(shown)


def pictures_of_latency(cells, pictures):
    panels = {}
    for (key, connections), samples in cells.items():
        if connections == 1000:
            name, work = split(key)
            found = {quantile: median(list(by_round(samples, quantile).values())) for quantile, _ in plots.QUANTILES}
            label = f"{SCENES[work].replace('`', '')}, {samples[0]['schedule'] / 1000:g} k/s"
            panels.setdefault(label, {})[name] = found
    picture = plots.curves("Latency at 1,000 connections, open loop",
                           "from when a request was due to its answer; medians of the rounds; both scales logarithmic",
                           list(panels.items()))
    if picture:
        pictures["latency.svg"] = picture


# ---- Lives -------------------------------------------------------------------------------------------------


def churn(data, _pictures):
    cells = group(data.get("churn", []), "server", "first")
    if not cells:
        return None
    rows, by_rate, by_cpu = [], [], []
    for (key, first), samples in cells.items():
        name, work = split(key)
        mine = cells.get((f"{OURS}/{AGAINST[work]}", first), [])
        ratios = ["–", "–"]
        if name != OURS and mine:
            rate, cpu = ratio(mine, samples, "rate", True), ratio(mine, samples, "server_us", False)
            where = f"{name}, {first} ends it"
            by_rate.append((where, rate))
            by_cpu.append((where, cpu))
            ratios = [rate.text(), cpu.text()]
        lives = sum(sample["lives"] for sample in samples)
        left = (f"{1000 * sum(sample[side] for sample in samples) / lives:,.0f}" for side in ("on_server", "on_clients"))
        rows.append([SCENES[work], name, first, *ratios, short(median([s["rate"] for s in samples]) / 1000),
                     short(median([s["server_us"] for s in samples])), *left])
    return "\n\n".join([
        "## Lives: connect, one exchange, close",
        "50 at a time, each server in a network namespace of its own. *Client*: the client closes after its answer. "
        "*Server*: it is asked to (`Connection: close`, `QUIT`, DISCONNECT). After `QUIT` the client closes when it has the "
        "`+OK`; linger waits half a second for that, and Redis closes first. The side that closes first "
        "keeps the TIME_WAIT for a minute; linger's HTTP closes first and keeps none (`TCP_LINGER2 = -1`), and its clients are "
        "not left with one either.",
        "- " + verdict_sentence(by_rate, "Lives a second") + "\n- " + verdict_sentence(by_cpu, "Server CPU per life")
        + "\n- " + waits_sentence(cells),
        table(["work", "server", "closes first", "lives a second, ratio", "server CPU per life, ratio", "k lives/s",
               "µs", "TIME_WAIT on the server, of 1,000", "on the clients"], rows),
    ])


def waits_sentence(cells):
    def left(ours):
        return sum(s["on_server"] for (key, _), samples in cells.items() for s in samples if (split(key)[0] == OURS) == ours)

    lives = sum(s["lives"] for (key, _), samples in cells.items() for s in samples if split(key)[0] == OURS)
    leavers = sorted({split(key)[0] for (key, _), samples in cells.items()
                      if split(key)[0] != OURS and sum(s["on_server"] for s in samples)})
    others = f"{left(False):,} were left on {', '.join(leavers)}" if leavers else "none was left on the others either"
    return f"TIME_WAIT on the server: {left(True):,} after {lives:,} lives on linger; {others}."


# ---- Memory and counts ---------------------------------------------------------------------------------------


def memory(data, pictures):
    cells = {sample["server"]: sample for sample in data.get("memory", [])}
    if not cells:
        return None
    rows, verdicts, bars = [], [], []
    for key, sample in cells.items():
        name, work = split(key)
        ours, found = cells.get(f"{OURS}/{AGAINST[work]}"), None
        if name != OURS and ours:
            found = Ratio([ours["bytes"]], [sample["bytes"]], False)
            verdicts.append((name, found))
        text = "–" if found is None else found.text() if found else "**loses**: the other keeps nothing"
        rows.append([SCENES[work], name, f"{sample['bytes']:,.0f}", text, f"{sample['started_kb'] / 1024:.1f}",
                     f"{sample['full_kb'] / 1024:.1f}"])
        kilobytes = sample["bytes"] / 1024
        bars.append((f"{name}, {work}", [(name, kilobytes, kilobytes, kilobytes, "")]))
    pictures["memory.svg"] = plots.bars("Resident memory of an idle connection",
                                        f"after one exchange; {next(iter(cells.values()))['count']:,} connections",
                                        bars, " kB")
    count = next(iter(cells.values()))["count"]
    return "\n\n".join([
        "## Memory of an idle connection",
        f"Growth of the resident set by {count:,} connections, each of which has had one exchange, divided by their number; "
        "and the whole resident set, which also has what a server sets aside at its start (nginx: its table of "
        "connections). The kernel's own memory for a socket is the same for all and not counted.",
        "- " + memory_sentence(verdicts),
        table(["work", "server", "bytes per connection", "ratio", "RSS at the start, MB", f"with {count:,}, MB"], rows),
        "![Memory per idle connection](plots/memory.svg)",
    ])


def memory_sentence(verdicts):
    words = []
    for name, found in verdicts:
        if not found:
            words.append(f"{name} keeps nothing, so linger loses")
        elif found.factor >= 1:
            words.append(f"{name} takes {found.factor:.1f} times as much as linger")
        else:
            words.append(f"linger takes {1 / found.factor:.1f} times as much as {name}, and loses")
    return "; ".join(words) + "." if words else "Nothing to compare."


def counts(data, _pictures):
    cells = group(data.get("counts", []), "kind", "what", "server")
    if not cells:
        return None
    names = {"strace": "System calls", "callgrind": "User-space instructions"}
    whats = {"request": "per request", "client": "per life that the client ends", "server": "per life that the server ends"}
    rows, sentences = [], []
    for kind, title in names.items():
        for what, of in whats.items():
            verdicts = []
            for (_, _, key), samples in ((k, v) for k, v in cells.items() if k[:2] == (kind, what)):
                name, work = split(key)
                ours = cells.get((kind, what, f"{OURS}/{AGAINST[work]}"))
                each = samples[0]["each"]
                found = Ratio([ours[0]["each"]], [each], False) if ours and name != OURS and each > 0 else None
                if found:
                    verdicts.append((name, found))
                rows.append([f"{title.lower()} {of}", SCENES[work], name,
                             f"{each:.2f}" if kind == "strace" else f"{each:,.0f}", found.text() if found else "–"])
            if verdicts:
                sentences.append("- " + verdict_sentence(verdicts, f"{title} {of}"))
    return "\n\n".join([
        "## Counts: system calls and instructions",
        "50 connections, pipeline 1. Differences between a short and a long run under `strace -f -c` and `valgrind "
        "--tool=callgrind`, so that start-up cancels. They do not depend on how busy the machine is, but a little on how "
        "many events come with each wait.",
        "\n".join(sentences),
        table(["what", "work", "server", "each", "ratio"], rows),
    ])


# ---- Doubts ------------------------------------------------------------------------------------------------


def doubts(data):
    lines = []
    for skipped in data.get("skipped", []):
        lines.append(f"- left out: {skipped['why']}")
    seen = group(data.get("failures", []), "part", "server", "why")
    for (part, server, why), times in seen.items():
        lines.append(f"- {part}, {server}: could not be measured {len(times)} times: {why}")
    if not data.get("network"):
        lines.append("- no network namespace of its own was permitted: TIME_WAIT of other programs may be counted")
    timed = [s for part in ("rates", "latencies", "churn", "fanout") for s in data.get(part, [])]
    rough = sum(s["disturbed"] > DISTURBED for s in timed)
    if rough:
        lines.append(f"- in {rough} of {len(timed)} timed runs another process held a cpu for over {DISTURBED:.0%} of the time")
    lagging = [s for s in data.get("latencies", []) if s["lag_us"] and s["lag_us"] > 2000]
    if lagging:
        lines.append(f"- in {len(lagging)} of {len(data['latencies'])} latency runs the generator itself was over 2 ms late "
                     "(p99), which is in their latencies")
    settings = data["settings"]
    lines.append(f"- client and server share a machine, and the loopback device; over a network, what a request costs "
                 f"in the kernel is different. A run of {settings['seconds']:g} s says nothing about hours.")
    return DOUBTS + "\n\n" + "\n".join(lines)
