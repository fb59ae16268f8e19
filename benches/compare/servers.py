"""Who is compared: how each server is started, in the best configuration that we found for the work, and what it is
asked. One thread each, no logs, nothing written to disk, accept queues of the same length, no bound on the number of
requests of a connection."""

import pathlib
import re
import shutil
import subprocess
from dataclasses import dataclass, field

ROOT = pathlib.Path(__file__).resolve().parents[2]
LINGER = ROOT / "target/release/linger"
BASELINE = ROOT / "target/bench/echo"
# Room for the largest cell and for what is still on its way out of the one before.
ROOM = 15_000
BACKLOG = 4096


@dataclass(frozen=True)
class Work:
    """What is asked of a server, by everybody who can do it."""

    name: str
    what: str
    # What `linger load` calls it; none: it does not speak it.
    scheme: str | None
    # One exchange after which the client closes, and one after which the server does; as the C generator takes them.
    ask: str
    ask_to_close: str | None = None
    # After `ask_to_close` the client waits for the server's end of file.
    awaits_end: bool = True
    path: str = ""


ECHO = Work("echo", "64 bytes and back", "echo", "x" * 63 + "\\n")
RESP = Work("resp", "Redis' PING", "resp", "*1\\r\\n$4\\r\\nPING\\r\\n", "*1\\r\\n$4\\r\\nQUIT\\r\\n", awaits_end=False)


def http(path):
    head = f"GET {path} HTTP/1.1\\r\\nHost: bench\\r\\n"
    return Work("http", "GET of `ok`", "http", head + "\\r\\n", head + "Connection: close\\r\\n\\r\\n", path=path)


# CONNECT as MQTT 3.1.1 has it: clean session, keep-alive of an hour, and an identity that the server chooses.
MQTT_CONNECT = "\\x10\\x0c\\x00\\x04MQTT\\x04\\x02\\x0e\\x10\\x00\\x00"
MQTT = Work("mqtt", "CONNECT of MQTT", None, MQTT_CONNECT, MQTT_CONNECT + "\\xe0\\x00")


@dataclass(frozen=True, eq=False)
class Server:
    """One of those compared. `command` and `files` know {port} and {directory}."""

    name: str
    work: Work
    command: list
    version: list
    files: dict = field(default_factory=dict)

    @property
    def key(self):
        return f"{self.name}/{self.work.name}"

    @property
    def program(self):
        return self.command[0]

    def is_here(self):
        return shutil.which(self.program) is not None

    def prepare(self, port, directory):
        """Writes its files; returns the command that starts it on `port`."""
        for name, text in self.files.items():
            (directory / name).write_text(text.replace("{port}", str(port)).replace("{directory}", str(directory)))
        fill = {"{port}": str(port), "{directory}": str(directory)}
        return [re.sub(r"\{\w+\}", lambda word: fill.get(word[0], word[0]), part) for part in self.command]

    def version_text(self):
        if not self.version:
            return "benches/baseline/echo.c"
        done = subprocess.run(self.version, capture_output=True, text=True, check=False)
        lines = [line for line in (done.stdout + done.stderr).splitlines() if re.search(r"\d+\.\d+", line)]
        found = re.search(r"\d+\.\d+[\w.+-]*", lines[0]) if lines else None
        return found[0] if found else "unknown version"


def linger(work, *arguments):
    command = [str(LINGER), "serve", "--log", "off", *arguments]
    return Server("linger", work, command, [str(LINGER), "--version"])


NGINX = f"""\
daemon off;
master_process off;
pid {{directory}}/nginx.pid;
error_log stderr crit;
worker_rlimit_nofile 20000;
events {{ worker_connections {ROOM}; multi_accept on; accept_mutex off; }}
http {{
    access_log off;
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
    client_body_temp_path {{directory}}/body;
    proxy_temp_path {{directory}}/proxy;
    fastcgi_temp_path {{directory}}/fastcgi;
    uwsgi_temp_path {{directory}}/uwsgi;
    scgi_temp_path {{directory}}/scgi;
    server {{
        listen 127.0.0.1:{{port}} backlog={BACKLOG};
        default_type text/plain;
        location / {{ return 200 "ok\\n"; }}
    }}
}}
"""

HAPROXY = f"""\
global
    nbthread 1
    # It would want two descriptors for each connection, and nobody is behind it here.
    no strict-limits
    maxconn {ROOM}
defaults
    mode http
    maxconn {ROOM}
    timeout client 1h
    timeout http-keep-alive 1h
    timeout http-request 1h
    timeout connect 1s
    timeout server 1h
frontend bench
    bind 127.0.0.1:{{port}} backlog {BACKLOG}
    http-request return status 200 content-type text/plain string "ok\\n"
"""

MOSQUITTO = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence false
log_dest none
connection_messages false
set_tcp_nodelay true
# Who started it: another could not write what callgrind counts.
user root
"""

# linger first in each work: it is what the others are divided by.
SERVERS = [
    linger(ECHO, "--listen", "echo://127.0.0.1:{port}", "--admin", "off"),
    Server("C", ECHO, [str(BASELINE), "127.0.0.1", "{port}"], []),
    linger(RESP, "--listen", "resp://127.0.0.1:{port}", "--admin", "off"),
    Server(
        "Redis",
        RESP,
        "redis-server --bind 127.0.0.1 --port {port} --protected-mode no --save  --appendonly no --io-threads 1"
        f" --maxclients {ROOM} --tcp-backlog {BACKLOG} --loglevel warning --dir {{directory}}".split(" "),
        ["redis-server", "--version"],
    ),
    # The admin interface of a server that listens for nobody else: the only HTTP that linger speaks.
    linger(http("/healthz"), "--listen", "echo://127.0.0.1:0", "--admin", "127.0.0.1:{port}",
           "--set", f"admin.max_connections={ROOM}"),
    Server("nginx", http("/"), ["nginx", "-p", "{directory}", "-e", "stderr", "-c", "{directory}/nginx.conf"],
           ["nginx", "-v"], {"nginx.conf": NGINX}),
    Server("HAProxy", http("/"), ["haproxy", "-db", "-f", "{directory}/haproxy.cfg"], ["haproxy", "-v"],
           {"haproxy.cfg": HAPROXY}),
    Server("mosquitto", MQTT, ["mosquitto", "-c", "{directory}/mosquitto.conf"], ["mosquitto", "-h"],
           {"mosquitto.conf": MOSQUITTO}),
]


def opponents(servers, work):
    """The servers of a kind of work, linger first; mosquitto is compared with linger's resp, if at all."""
    return [server for server in servers if server.work.name == work]
