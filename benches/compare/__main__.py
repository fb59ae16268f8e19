"""Measures linger beside the C baseline, Redis, nginx, HAProxy and mosquitto, where they can do the same work, and
writes a page with ratios and plots.

Everybody has one thread, on one cpu; the generator has the other. Timed figures are taken in rounds, one server right
after the other, and divided within the round: a ratio outlives the mood of a machine, a rate does not. Servers that
are not installed are left out, and the page says so.

parts:
  rates      requests a second and server CPU time for each, closed loop, by connections and pipelining
  latencies  percentiles in an open loop: the same schedule for all, half of what the slowest can do
  churn      lives of a connection that the client ends, and that the server ends; TIME_WAIT left on either side
  memory     resident memory of a connection that is idle
  fanout     messages from one publisher to many subscribers, beside Redis, with bars; alone it puts its section into
             the page and leaves the others as they are
  gateway    a gateway beside the C relay, HAProxy and nginx, with bars; alone as fan-out
  tls        the same over TLS, beside HAProxy and nginx, with bars: handshakes, bulk, memory; alone as fan-out
  counts     system calls (strace) and user-space instructions (callgrind) of a request and of a life

Exit status: 0 done, 1 something could not be measured (the page says what), 2 usage, 3 a bar was missed.
"""

import argparse
import datetime
import json
import os
import pathlib
import re
import signal
import sys

import fanout
import gateway
import gateway_page
import host
import measure
import page
import tls
import tls_page
from servers import BASELINE, LINGER, ROOT, SERVERS

PARTS = ["rates", "latencies", "churn", "memory", "fanout", "gateway", "tls", "counts"]
# These have bars, and a section that can be written alone: who measures, and who writes.
WITH_BARS = {"fanout": (fanout, fanout), "gateway": (gateway, gateway_page), "tls": (tls, tls_page)}


def list_of(names, what):
    def parse(text):
        for name in text.split(","):
            if name not in names:
                raise argparse.ArgumentTypeError(f"{name!r} is no {what}; they are {', '.join(names)}")
        return text.split(",")

    return parse


def number(low, high, kind):
    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {low} to {high}")
        return value

    return parse


def cpus(text):
    if not re.fullmatch(r"\d+,\d+", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not LOAD,SERVER, as 0,1")
    pair = [int(cpu) for cpu in text.split(",")]
    for cpu in pair:
        if cpu not in os.sched_getaffinity(0):
            raise argparse.ArgumentTypeError(f"there is no cpu {cpu} here for us")
    return pair


def arguments():
    names = sorted({server.name for server in SERVERS})
    parser = argparse.ArgumentParser(
        prog="benches/compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--quick", action="store_true", help="few and short rounds: minutes instead of twenty; figures are rougher")
    add("--only", metavar="PART,...", type=list_of(PARTS, "part"), default=PARTS, help="these parts")
    add("--servers", metavar="NAME,...", type=list_of(names, "server"), default=names,
        help=f"these, of {', '.join(names)}; linger is always among them")
    add("--rounds", metavar="N", type=number(1, 99, int), help="rounds of what is timed (5; quick 3)")
    add("--seconds", metavar="T", type=number(0.1, 60, float), help="length of one timed run (1; quick 0.3)")
    add("--cpus", metavar="LOAD,SERVER", type=cpus, help="where the generator and the servers run (0,1)")
    add("--page", metavar="FILE", type=pathlib.Path,
        help="what to write, with plots/ beside it (benches/RESULTS.md; quick, or not all: target/bench/RESULTS.md)")
    add("--json", metavar="FILE", type=pathlib.Path, help="keep all samples there")
    add("--from", dest="samples", metavar="FILE", type=pathlib.Path,
        help="measure nothing: write the page from what --json kept")
    found = parser.parse_args()
    if found.samples and not found.samples.is_file():
        parser.error(f"--from: there is no file {found.samples}")
    for option, file in ("--page", found.page), ("--json", found.json):
        if file and not file.resolve().parent.is_dir():
            parser.error(f"{option}: there is no directory {file.resolve().parent}")
    return found


def complete(settings):
    """Fills in what follows from what was asked."""
    quick = settings.quick
    settings.rounds = settings.rounds or (3 if quick else 5)
    settings.seconds = settings.seconds or (0.3 if quick else 1.0)
    settings.connections = [50, 1000] if quick else [50, 1000, 10_000]
    settings.pipelines = [1, 16]
    settings.held = 2000 if quick else 10_000
    settings.count_seconds = (0.2, 0.7) if quick else (0.5, 2.0)
    settings.count_lives = (100, 600) if quick else (500, 3000)
    everything = not quick and settings.only == PARTS and len(settings.servers) == len({s.name for s in SERVERS})
    opponents = {"fanout": {"Redis"}, "gateway": {"C", "HAProxy", "nginx"}, "tls": {"HAProxy", "nginx"}}
    section_alone = not quick and alone(settings) and opponents[alone(settings)] <= set(settings.servers)
    settings.page = settings.page or (
        ROOT / ("benches" if everything or section_alone else "target/bench") / "RESULTS.md")
    load, server = settings.cpus or choose_cpus()
    settings.load_cpu, settings.server_cpu = load, server


def alone(settings):
    """The part with bars that is asked for and nothing else, if so."""
    return settings.only[0] if len(settings.only) == 1 and settings.only[0] in WITH_BARS else None


def choose_cpus():
    ours = sorted(os.sched_getaffinity(0))
    if len(ours) < 2:
        host.say("warning: one cpu for generator and server: timed figures will be worth little")
        return None, None
    return ours[0], ours[1]


def again(settings):
    """The command that measures the same again."""
    words = ["--quick"] if settings.quick else []
    words += ["--rounds", str(settings.rounds), "--seconds", f"{settings.seconds:g}"]
    if settings.cpus:
        words += ["--cpus", ",".join(map(str, settings.cpus))]
    if alone(settings):
        return " ".join([f"scripts/bench.sh --only {alone(settings)}", *words])
    program = "scripts/bench.sh --only others"
    # These the script does not pass on.
    for name, all_of in ("only", PARTS), ("servers", sorted({server.name for server in SERVERS})):
        if getattr(settings, name) != all_of:
            program = "python3 benches/compare"
            words += [f"--{name}", ",".join(getattr(settings, name))]
    return " ".join([program, *words])


def measured(settings):
    for program in LINGER, BASELINE, measure.C_LOAD:
        if not program.exists():
            host.say(f"{program.relative_to(ROOT)} is not built; scripts/bench.sh --only others does that first")
            sys.exit(2)
    wanted = [server for server in SERVERS if server.name in [*settings.servers, "linger"]]
    here = [server for server in wanted if server.is_here()]
    data = {
        "date": datetime.date.today().isoformat(),
        "command": again(settings),
        "settings": {name: value for name, value in vars(settings).items()
                     if isinstance(value, (int, float, list, tuple, str, bool))},
        "machine": host.describe(),
        "versions": {server.name: server.version_text() for server in here},
        "skipped": [{"part": "all", "why": f"{server.name}: {server.program} is not installed"}
                    for server in wanted if not server.is_here()],
    }
    host.raise_descriptors()
    data["network"] = host.fresh_network()
    if not data["network"]:
        host.say("no network namespace of its own can be had: running in the host's")
    bench = measure.Bench(settings, here, data)
    for part in PARTS:
        if part in settings.only:
            host.say(f"part: {part}")
            measuring = WITH_BARS[part][0] if part in WITH_BARS else measure
            getattr(measuring, part)(bench)
    return data


def main():
    settings = arguments()
    complete(settings)
    for number_of in signal.SIGTERM, signal.SIGHUP:
        signal.signal(number_of, lambda number_of, _: sys.exit(128 + number_of))
    try:
        data = json.loads(settings.samples.read_text()) if settings.samples else measured(settings)
    except KeyboardInterrupt:
        host.say("interrupted; nothing is written")
        return 130
    finally:
        host.stop_all()
    if settings.json:
        settings.json.write_text(json.dumps(data, indent=1) + "\n")
    if alone(settings) and settings.page.exists():
        page.put(WITH_BARS[alone(settings)][1].section(data), settings.page)
    else:
        page.write(data, settings.page, *(writer.section for _, writer in WITH_BARS.values()))
    host.say(f"written: {settings.page}")
    missed = [f"{part}: missed: {bar}" for part, (_, writer) in WITH_BARS.items() for bar in writer.missed(data)]
    for bar in missed:
        host.say(bar)
    return 1 if data.get("failures") else 3 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
