"""Attacks a server of linger in every way that once held up others, and measures what others see meanwhile.

Each attack is played against a fresh `linger serve` in a network of its own, beside a prober that says PING every
20 ms (quick: 10) and healthy clients that must come to no harm; then all of them together. All is bounded in count and
in time.
"""

import argparse
import json
import os
import pathlib
import resource
import signal
import subprocess
import sys
from dataclasses import asdict

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Processes and networks are handled as they are there.
sys.path.append(str(ROOT / "benches/compare"))

import report
from attacks import ATTACKS
from play import play
from procs import say

ALL = "all"
TRIES_MAX = 3


def arguments():
    listed = "\n".join(f"  {name:<12} {attack.__doc__}" for name, attack in ATTACKS.items())
    parser = argparse.ArgumentParser(
        prog="benches/attack", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"attacks:\n{listed}\n  {ALL:<12} every one of them at once\n\nbars:\n{report.BARS}")
    add = parser.add_argument
    add("--attack", metavar="NAME,...", default=",".join([*ATTACKS, ALL]), help="these (default: every one)")
    add("--linger", metavar="FILE", type=pathlib.Path, default=ROOT / "target/release/linger",
        help="the program to attack (target/release/linger)")
    add("--quick", action="store_true", help="2 s each instead of 10")
    add("--seconds", metavar="T", type=float, help="how long each attack lasts")
    add("--cpus", metavar="LOAD,SERVER", help="where the load and the server run (0,1)")
    add("--json", metavar="FILE", type=pathlib.Path, help="keep what was seen there")
    found = parser.parse_args()
    found.attacks = found.attack.split(",")
    for name in found.attacks:
        if name not in ATTACKS and name != ALL:
            parser.error(f"there is no attack {name!r}; see --help")
    if not os.access(found.linger, os.X_OK):
        parser.error(f"{found.linger} is not built; cargo build --release does that")
    return found


def complete(settings):
    """Fills in what follows from what was asked."""
    settings.seconds = settings.seconds or (2 if settings.quick else 10)
    # Few seconds have more samples each, or their p99 would be the longest of all.
    settings.interval_ms = 10 if settings.quick else 20
    settings.quiet_seconds = 1 if settings.quick else 2
    ours = sorted(os.sched_getaffinity(0))
    load, server = map(int, settings.cpus.split(",")) if settings.cpus else (ours[0], ours[-1])
    if load == server:
        say("warning: load and server share a cpu: what the load takes is charged to the server")
    settings.load_cpu, settings.server_cpu = load, server
    settings.prober, settings.arrivals = built("prober"), built("arrivals")


def built(name):
    """A program of ours in C."""
    program = ROOT / "target/bench" / name
    program.parent.mkdir(parents=True, exist_ok=True)
    source = pathlib.Path(__file__).with_name(f"{name}.c")
    subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-o", program, source], check=True)
    return program


def tried(name, settings):
    """Plays it until it holds the bars, or breaks them while the machine is quiet."""
    attacks = list(ATTACKS) if name == ALL else [name]
    for number in range(1, TRIES_MAX + 1):
        outcome = play(name, attacks, settings)
        if not report.broken(outcome) or not report.explained(outcome):
            break
        say(f"{name}: try {number} of {TRIES_MAX} is in doubt: {'; '.join(report.doubts(outcome))}")
    return outcome


def main():
    settings = arguments()
    complete(settings)
    for number in signal.SIGTERM, signal.SIGHUP:
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    outcomes = []
    for name in settings.attacks:
        outcomes.append(tried(name, settings))
        say(report.line(outcomes[-1]))
    print(report.table(outcomes))
    if settings.json:
        settings.json.write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=1) + "\n")
    return 1 if any(report.verdict(outcome) == report.BROKEN for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
