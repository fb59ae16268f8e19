"""One attack: who takes part, in which order, and what came of it."""

import contextlib
import os
import pathlib
import subprocess
import time
from dataclasses import dataclass, field

from attacks import ATTACKS, SET_UP_LAST, Target
from healthy import healthy
from host import Failed, die_with_parent, fresh_network
from procs import Child, run_at_once
from server import Server, false_verdicts

SETUP_SECONDS_MAX = 90
# After its time an attack may still wait for an answer that does not come.
PATIENCE = 1
# Of the connections of each, when they are played together: as many as the server has descriptors for.
SHARE_OF_MANY = 0.5
# Everybody leaves at once when an attack is over.
AFTERMATH = 0.5


@dataclass
class Outcome:
    """What was seen of one attack."""

    name: str
    quiet: dict = field(default_factory=dict)
    attacked: dict = field(default_factory=dict)
    aftermath: dict = field(default_factory=dict)
    # Of the server: resident bytes before, at most, and when the attackers had left; the documented bound on buffers.
    before: int = 0
    peak: int = 0
    after: int = 0
    bound: int = 0
    endings: list = field(default_factory=list)
    newcomer_max: float = 0
    server_waited: float = 0
    # Seconds that the machine below this one took of its cpu.
    stolen: float = 0
    # By the kernel, for want of room between the ends: each costs somebody a retransmission, 200 ms.
    dropped: int = 0
    seconds: float = 0
    server_busy: float = 0
    told: list = field(default_factory=list)
    failure: str = ""


def packets_dropped():
    """Of all cpus: the second of the hexadecimal columns."""
    try:
        rows = pathlib.Path("/proc/net/softnet_stat").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(row.split()[1], 16) for row in rows)


def stolen(cpu):
    """Seconds that a virtual machine did not get of a cpu."""
    for row in pathlib.Path("/proc/stat").read_text().splitlines():
        words = row.split()
        if words[0] == ("cpu" if cpu is None else f"cpu{cpu}") and len(words) > 8:
            return int(words[8]) / os.sysconf("SC_CLK_TCK")
    return 0


class Prober:
    """The prober's process, whose answers are of the time since the last question."""

    def __init__(self, program, port, interval, cpu):
        def settle():
            die_with_parent()
            if cpu is not None:
                os.sched_setaffinity(0, {cpu})
            run_at_once()

        self.process = subprocess.Popen(
            [program, str(port), str(interval)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=settle)

    def ask(self):
        try:
            self.process.stdin.write("\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise Failed("the prober has ended")
        return {key: int(value) for key, _, value in (word.partition("=") for word in line.split())}

    def stop(self):
        self.process.kill()
        self.process.wait()
        for pipe in self.process.stdin, self.process.stdout:
            with contextlib.suppress(OSError):
                pipe.close()


def play(name, attacks, settings):
    """Plays them, all at once if there are several, against a fresh server."""
    outcome = Outcome(name)
    fresh_network()
    try:
        with Server(settings.linger, settings.server_cpu) as server, contextlib.ExitStack() as stack:
            try:
                act(server, attacks, settings, outcome, stack)
            except Failed as why:
                outcome.failure = str(why) if server.alive() else f"the server ended: {server.said().strip()[-200:]}"
    except Failed as why:
        outcome.failure = str(why)
    return outcome


def act(server, attacks, settings, outcome, stack):
    def child(function, *arguments, settle=None):
        started = Child(function, *arguments, cpu=settings.load_cpu, settle=settle)
        stack.callback(started.stop)
        return started

    share = 1 if len(attacks) == 1 else SHARE_OF_MANY
    target = Target(server.port, server.limited, server.admin, settings.seconds, settings.arrivals, share)
    attackers = []
    for name in sorted(attacks, key=lambda name: SET_UP_LAST.index(name) if name in SET_UP_LAST else -1):
        attackers.append(child(ATTACKS[name], target))
        attackers[-1].await_ready(SETUP_SECONDS_MAX)
    neighbours = child(healthy, server.port, settle=run_at_once)
    neighbours.await_ready(20)
    neighbours.go()
    prober = Prober(settings.prober, server.port, settings.interval_ms, settings.load_cpu)
    stack.callback(prober.stop)
    time.sleep(0.2)
    prober.ask()
    time.sleep(settings.quiet_seconds)
    outcome.quiet = prober.ask()
    outcome.before = server.memory("VmRSS")
    server.forget_peak()
    ran, waited = server.cpu_ns()
    dropped, taken = packets_dropped(), stolen(settings.server_cpu)
    began = time.monotonic()
    for attacker in attackers:
        attacker.go()
    for attacker in attackers:
        left = began + settings.seconds + PATIENCE - time.monotonic()
        result = attacker.result(max(left, 0.05)) or {"told": "not done in time"}
        outcome.told.append(result.get("told", ""))
        outcome.endings += result.get("endings", [])
    outcome.attacked = prober.ask()
    now_ran, now_waited = server.cpu_ns()
    outcome.seconds = time.monotonic() - began
    outcome.server_busy, outcome.server_waited = (
        (now - then) / 1e9 / outcome.seconds for now, then in ((now_ran, ran), (now_waited, waited)))
    outcome.dropped, outcome.stolen = packets_dropped() - dropped, stolen(settings.server_cpu) - taken
    for attacker in attackers:
        attacker.stop()
    aftermath(server, neighbours, prober, outcome)


def aftermath(server, neighbours, prober, outcome):
    time.sleep(AFTERMATH)
    outcome.aftermath = prober.ask()
    outcome.bound = server.bound
    outcome.peak, outcome.after = server.memory("VmHWM"), server.memory("VmRSS")
    neighbours.go()
    told = neighbours.result(5)
    if told is None:
        outcome.endings.append("the healthy clients did not come to their end")
    else:
        outcome.endings += told["endings"]
        outcome.newcomer_max = told["wait_max"]
    metrics = server.metrics()
    if metrics is None:
        outcome.endings.append("/metrics did not answer")
    else:
        outcome.endings += false_verdicts(metrics)
    if outcome.attacked["gone"] or outcome.aftermath["gone"]:
        outcome.endings.append("the prober was ended")
    if not server.alive():
        raise Failed("it died")
