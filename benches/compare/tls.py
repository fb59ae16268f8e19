"""A gateway that speaks TLS to its clients, and none to the server behind it. Linger beside HAProxy and nginx, all with one
certificate (ECDSA on P-256), TLS 1.3 and the cipher suite that the generator prefers. Figures, bars and verdicts are in
tls_page.py."""

import contextlib
import shutil
import subprocess
import time

from gateway import all_up, each, idle_count, round_trips
from host import Failed, Running, fresh_network, pinned, prefer, say, start, stop
from relays import BOTH, CERTIFICATE, KEY, echo_on, relays, tls_echo, wanted, why_missing
from servers import BASELINE, LINGER

# Its certificate is signed by nobody, and for a name.
TRUST = ["--insecure", "--sni", "localhost"]
# Handshakes a second: half of what the slowest does with a cpu of its own, or less.
RATE = 800
IN_FLIGHT = 50
# Connections, and messages under way on each.
BULK = [(1, 16), (50, 4)]
MESSAGE_BYTES = 16_384


def tls(bench):
    for program, is_here in ("openssl", shutil.which("openssl")), ("benches/baseline/echo.c", BASELINE.exists()):
        if not is_here:
            bench.add("skipped", part="tls", why=f"tls: there is no {program}")
            return
    certify()
    bench.data["tls_idle"] = idle_count(bench)
    bench.data["tls_versions"] = versions()
    for relay in relays("127.0.0.1:1", tls=True):
        if why := why_missing(relay):
            bench.add("skipped", part="tls", why=f"tls: {why}")
    bench.preferred = True
    for measured in timed, memory:
        measured(bench)
        say(f"tls: {measured.__name__}: done")
    bench.preferred = False


def certify():
    BOTH.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                    "-keyout", KEY, "-out", CERTIFICATE, "-subj", "/CN=localhost", "-addext",
                    "subjectAltName=DNS:localhost"], check=True, stderr=subprocess.DEVNULL)
    BOTH.write_text(CERTIFICATE.read_text() + KEY.read_text())


def versions():
    said = subprocess.run(["openssl", "version"], capture_output=True, text=True, check=False).stdout.split()
    found = {relay.name: relay.version_text() for relay in relays("127.0.0.1:1", tls=True) if not why_missing(relay)}
    return {**found, "OpenSSL": said[1] if len(said) > 1 else "unknown"}


# ---- CPU time: all relays stay up, idle while another is measured ---------------------------------------------


def timed(bench):
    fresh_network()
    with Running(echo_on(), bench.settings.load_cpu) as echo:
        prefer(echo.pid)
        with all_up(bench, wanted(bench, f"127.0.0.1:{echo.port}", tls=True), "tls") as up:
            for running in up.values():
                bench.load(running, 200, *TRUST, seconds=0.3)
            for number in range(bench.settings.rounds):
                round_of(bench, up, number)
                say(f"tls: round {number + 1} of {bench.settings.rounds}")


def round_of(bench, up, number):
    for what, resumes in ("full", False), ("resumed", True):
        each(bench, up, number, what, handshakes, resumes, part="tls")
    for pairs, pipeline in BULK:
        each(bench, up, number, f"bulk {pairs}", bulk, pairs, pipeline, part="tls")
    each(bench, up, number, "round trip", round_trips, IN_FLIGHT, 1, *TRUST, part="tls")


def handshakes(bench, running, resumes):
    """Lives of connections that bring nothing but their handshake."""
    before, began = running.cpu_ns(), time.monotonic()
    how = [*TRUST, "--rate", "0", "--churn", RATE, *([] if resumes else ["--no-resumption"])]
    connections = bench.load(running, IN_FLIGHT, *how, seconds=bench.settings.seconds)["connections"]
    running.await_quiet()
    after, waited = running.cpu_ns()
    opened, resumed = connections["opened"], connections["resumed"]
    # The first of a generator have nothing to resume.
    if resumed > 0 and not resumes or resumed < opened - 2 * IN_FLIGHT and resumes:
        raise Failed(f"{resumed} of {opened} sessions were resumed")
    return (after - before[0]) / opened / 1000, (waited - before[1]) / 1e9 / (time.monotonic() - began)


def bulk(bench, running, pairs, pipeline):
    """CPU time of a gigabyte that comes and goes."""
    how = [*TRUST, "--size", MESSAGE_BYTES, "--pipeline", pipeline]
    result = bench.load(running, pairs, *how, seconds=bench.settings.seconds)
    return result["server_us_per_request"] / (2 * MESSAGE_BYTES / 1e9), result["server_waited"]


# ---- Memory ------------------------------------------------------------------------------------------------


def memory(bench):
    for what, servers, descriptors in ("idle pair", lambda upstream: wanted(bench, upstream, tls=True), 2), \
            ("idle echo", lambda _: [tls_echo()], 1):
        fresh_network()
        with Running(echo_on(), bench.settings.load_cpu) as echo:
            for server in servers(f"127.0.0.1:{echo.port}"):
                try:
                    bench.add("tls", server=server.name, what=what, each=growth(bench, server, descriptors))
                except Failed as why:
                    bench.failed("tls", server, why, what=what)


def growth(bench, server, descriptors):
    """Resident memory of a connection that had an exchange and is idle."""
    count = idle_count(bench)
    with Running(server, bench.settings.server_cpu) as running:
        # The code and the tables that the first connections touch are paid once, not per connection.
        bench.load(running, 64, *TRUST, seconds=0.3)
        running.await_quiet()
        before = running.rss_kb()
        with held(bench, running, count, descriptors):
            return 1024 * (running.rss_kb() - before) / count


@contextlib.contextmanager
def held(bench, running, count, descriptors):
    """So many connections, each of which has sent a message and got it back."""
    wanted_descriptors = running.descriptors() + count * descriptors
    command = pinned(bench.settings.load_cpu) + [
        str(LINGER), "load", running.url, *TRUST, "-c", str(count), "--rate", str(count // 2), "-d", "60s", "--json"]
    process = start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        await_that("all connections", lambda: running.descriptors() >= wanted_descriptors)
        # Each is sent to in its turn, in the two seconds that follow.
        time.sleep(4)
        if process.poll() is not None:
            raise Failed(f"{count} connections could not be held: {process.stderr.read().strip()}")
        yield
    finally:
        stop(process)
        for pipe in process.stdout, process.stderr:
            pipe.close()


def await_that(what, holds):
    until = time.monotonic() + 60
    while not holds():
        if time.monotonic() > until:
            raise Failed(f"{what}: not within a minute")
        time.sleep(0.1)
