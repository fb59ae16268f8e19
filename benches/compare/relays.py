"""Who is compared as a gateway: relays of a TCP connection to one server behind them, each in the best configuration that
we found. One thread each, no logs, accept queues of the same length."""

import pathlib
import re
import shutil
import subprocess

from servers import BACKLOG, BASELINE as ECHO, LINGER, ROOT, Server, Work

BASELINE = ROOT / "target/bench/relay"
# What is relayed: the server behind them echoes.
PAIRS = Work("pairs", "64 bytes through a relay and back", "echo", "x" * 63 + "\\n")
# The same over TLS, and with nothing behind.
TLS_PAIRS = Work("TLS pairs", "bytes through a relay that speaks TLS, and back", "echos", "")
TLS_ECHO = Work("TLS echo", "bytes over TLS and back", "echos", "")
# Made by tls.py.
CERTIFICATE = ROOT / "target/bench/tls/certificate.pem"
KEY = ROOT / "target/bench/tls/key.pem"
BOTH = ROOT / "target/bench/tls/both.pem"
# Room for the largest cell, at two descriptors a pair, and for what is still on its way out of the one before.
ROOM = 9_800
DRAIN_S = 5
# What the others read at once.
BUFFER_BYTES = 65536

HAPROXY = """\
global
    nbthread 1
    no strict-limits
    maxconn {room}
    hard-stop-after {drain}s
    # Bulk takes half as much again with the 16 KiB of the default. Splicing takes more, too.
    tune.bufsize {buffer}
defaults
    mode tcp
    maxconn {room}
    timeout client 1h
    timeout connect 1s
    timeout server 1h
frontend bench
    bind {address}:{{port}} backlog {backlog}{ssl}
    default_backend echo
backend echo
    server echo {upstream}
"""

NGINX = """\
{module}
daemon off;
{process}
worker_processes 1;
user root;
pid {{directory}}/nginx.pid;
error_log stderr crit;
worker_rlimit_nofile 20000;
worker_shutdown_timeout {drain}s;
events {{ worker_connections 19800; multi_accept on; accept_mutex off; }}
stream {{
    access_log off;
    server {{
        listen {address}:{{port}} backlog={backlog}{ssl};
        proxy_pass {upstream};
        proxy_connect_timeout 1s;
        proxy_timeout 1h;
        proxy_buffer_size {buffer};
    }}
}}
"""

# Its defaults for streams are TLS 1.0 to 1.2.
NGINX_SSL = f""" ssl;
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_certificate {CERTIFICATE};
        ssl_certificate_key {KEY}"""
SERVE = [str(LINGER), "serve", "--log", "off", "--admin", "off", "--listen"]
TLS_URL = f"&tls.certificate={CERTIFICATE}&tls.key={KEY}"


def relays(upstream, address="127.0.0.1", supervised=False, tls=False):
    """Relays that listen on `address` and connect to `upstream`. linger first: it is what the others are divided by.
    `supervised`: nginx with a master process, without which it does not drain."""
    url = f"{'tls' if tls else 'tcp'}://{address}:{{port}}?upstream={upstream}&half_close=end" + tls * TLS_URL
    work = TLS_PAIRS if tls else PAIRS
    fill = {"address": address, "upstream": upstream, "backlog": BACKLOG, "room": ROOM, "drain": DRAIN_S,
            "buffer": BUFFER_BYTES}
    process = "" if supervised else "master_process off;"
    host, port = upstream.split(":")
    drain = ["--set", f"drain.spread={DRAIN_S}s", "--set", f"drain.timeout={2 * DRAIN_S}s"]
    yield Server("linger", work, [*SERVE, url, *drain], [str(LINGER), "--version"])
    if not tls:
        yield Server("C", work, [str(BASELINE), address, "{port}", host, port], [])
    haproxy = HAPROXY.format(ssl=f" ssl crt {BOTH}" if tls else "", **fill)
    yield Server("HAProxy", work, ["haproxy", "-db", "-f", "{directory}/haproxy.cfg"], ["haproxy", "-v"],
                 {"haproxy.cfg": haproxy})
    nginx = NGINX.format(module=load_stream_module() or "", process=process, ssl=NGINX_SSL if tls else "", **fill)
    yield Server("nginx", work, ["nginx", "-p", "{directory}", "-e", "stderr", "-c", "{directory}/nginx.conf"],
                 ["nginx", "-v"], {"nginx.conf": nginx})


def tls_echo():
    """linger without a server behind it."""
    return Server("linger", TLS_ECHO, [*SERVE, "echos://127.0.0.1:{port}?" + TLS_URL[1:]], [])


def echo_on(address="127.0.0.1"):
    """The server behind them."""
    return Server("echo", PAIRS, [str(ECHO), address, "{port}"], [])


def wanted(bench, upstream, **how):
    """The relays that were asked for and are here."""
    names = {*bench.settings.servers, "linger"}
    return [relay for relay in relays(upstream, **how) if relay.name in names and not why_missing(relay)]


def why_missing(server):
    """Why a relay cannot be measured here, if so."""
    if not server.is_here():
        return f"{server.program} is not installed"
    if server.name == "nginx" and load_stream_module() is None:
        return "nginx has no stream module (libnginx-mod-stream)"
    return None


def load_stream_module():
    """The line that makes nginx a relay: empty where it is one already, None where the module is not there."""
    if shutil.which("nginx") is None:
        return None
    said = subprocess.run(["nginx", "-V"], capture_output=True, text=True, check=False).stderr
    if re.search(r"--with-stream(\s|$)", said):
        return ""
    directory = re.search(r"--modules-path=(\S+)", said)
    module = pathlib.Path(directory[1] if directory else "modules") / "ngx_stream_module.so"
    return f"load_module {module};" if module.is_file() else None
