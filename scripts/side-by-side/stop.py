#!/usr/bin/env python3
"""How servers stop: 40 idle connections to each, then the gentlest stop that it knows, with ten seconds for it. Counts, from
the clients' side, how many connections are closed in the busiest second, and then what is left on the server's port.

usage: scripts/side-by-side/stop.py [--into src/guide/closing.md] [--json FILE] [--only NAME]...

Runs in a network namespace of its own, which it makes, and needs target/release/linger. A server that is not installed is left
out, and said so. Fails if linger does not spread its endings, or keeps a TIME_WAIT.
"""

import argparse
import json
import os
import pathlib
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
LINGER = HERE.parent.parent / "target/release/linger"
CONNECTIONS = 40
STOP_S = 10
# Longer than any of them may take.
PATIENCE_S = STOP_S + 20
BEGIN, END = "<!-- stops -->\n", "<!-- /stops -->"

# Debian has it in a package of its own.
STREAM = pathlib.Path("/usr/lib/nginx/modules/ngx_stream_module.so")
NGINX = f"""user root; daemon off; pid nginx.pid; error_log stderr; worker_processes 1; worker_shutdown_timeout {STOP_S}s;
load_module {STREAM}; events {{ }}
stream {{ server {{ listen 127.0.0.1:7001; proxy_pass 127.0.0.1:7007; }} }}
"""
HAPROXY = f"""global
    hard-stop-after {STOP_S}s
    close-spread-time {STOP_S}s
defaults
    mode tcp
    timeout connect 3s
    timeout client 1h
    timeout server 1h
frontend f
    bind 127.0.0.1:7002
    default_backend b
backend b
    server s 127.0.0.1:7007
"""
MOSQUITTO = "user root\nlistener 7003 127.0.0.1\nallow_anonymous true\n"


def mqtt_connect(at):
    """CONNECT of MQTT 3.1.1, without a keep-alive, under a name of its own: a second one of that name would replace it."""
    return b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x00\x00\x02" + b"%02d" % at


def servers(directory):
    """Name, program, its arguments, its port, the signal of its gentlest stop, and what a client says first."""
    for name, text in {"nginx.conf": NGINX, "haproxy.cfg": HAPROXY, "mosquitto.conf": MOSQUITTO}.items():
        (directory / name).write_text(text)
    quit_gently = f"SIGQUIT, worker_shutdown_timeout {STOP_S}s"
    # Without it, nginx does not relay TCP: the file is what is looked for.
    nginx = "nginx" if STREAM.exists() else str(STREAM)
    yield "nginx stream", nginx, ["-p", directory, "-c", directory / "nginx.conf"], 7001, signal.SIGQUIT, quit_gently, b"a"
    soft = f"SIGUSR1, hard-stop-after {STOP_S}s, close-spread-time {STOP_S}s"
    yield "HAProxy", "haproxy", ["-db", "-f", directory / "haproxy.cfg"], 7002, signal.SIGUSR1, soft, b"a"
    yield "mosquitto", "mosquitto", ["-c", directory / "mosquitto.conf"], 7003, signal.SIGTERM, "SIGTERM", mqtt_connect
    redis = ["--bind", "127.0.0.1", "--port", "7004", "--save", ""]
    yield "Redis", "redis-server", redis, 7004, signal.SIGTERM, "SIGTERM", b"PING\r\n"
    arguments = ["serve", "--admin", "off", "--log", "off", "--listen", "resp://127.0.0.1:7005"]
    arguments += ["--set", f"drain.spread={STOP_S}s", "--set", f"drain.timeout={STOP_S + 5}s"]
    yield "linger", LINGER, arguments, 7005, signal.SIGTERM, f"SIGTERM, drain.spread {STOP_S}s", b"PING\r\n"


def connect(port, greet):
    """Idle connections, each of which has said something and got what there is to get."""
    clients = []
    for at in range(CONNECTIONS):
        client = socket.create_connection(("127.0.0.1", port), 10)
        client.sendall(greet(at) if callable(greet) else greet)
        client.recv(1000)
        clients.append(client)
    return clients


def watch(clients, since):
    """When each was closed, in seconds: a client closes as soon as the server has, or has said goodbye, as only linger does."""
    closed = []
    poller = select.poll()
    by_fd = {client.fileno(): client for client in clients}
    for fd in by_fd:
        poller.register(fd, select.POLLIN)
    while by_fd and time.monotonic() < since + PATIENCE_S:
        for fd, _ in poller.poll(200):
            poller.unregister(fd)
            client = by_fd.pop(fd)
            try:
                client.recv(4096)
            except ConnectionError:
                pass
            client.close()
            closed.append(time.monotonic() - since)
    return closed


def left(port):
    """Sockets in TIME_WAIT on the server's side."""
    out = subprocess.run(["ss", "-Htan", "state", "time-wait", f"sport = :{port}"], capture_output=True, text=True, check=True)
    return len(out.stdout.splitlines())


def play(program, arguments, port, gently, greet):
    log = tempfile.TemporaryFile()
    process = subprocess.Popen([program, *arguments], stdout=log, stderr=log)
    try:
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.1)
        else:
            log.seek(0)
            sys.exit(f"{program} does not start:\n{log.read().decode()}")
        clients = connect(port, greet)
        time.sleep(0.5)
        begun = time.monotonic()
        process.send_signal(gently)
        closed = watch(clients, begun)
        process.wait(PATIENCE_S)
        time.sleep(0.2)
        busiest = max(sum(at <= one < at + 1 for one in closed) for at in closed)
        return {"closed": len(closed), "first_s": min(closed), "last_s": max(closed), "busiest_second": busiest,
                "time_wait": left(port)}
    finally:
        process.kill()
        process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", metavar="FILE", help="put the table into this page")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--only", metavar="NAME", action="append")
    options = parser.parse_args()
    if os.environ.get("LINGER_STOPS") != "inside":
        os.environ["LINGER_STOPS"] = "inside"
        os.execvp("unshare", ["unshare", "-rn", sys.executable, __file__, *sys.argv[1:]])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    results = {}
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        directory.chmod(0o755)
        echo = [LINGER, "serve", "--admin", "off", "--log", "off", "--listen", "echo://127.0.0.1:7007"]
        backend = subprocess.Popen(echo, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            for server, program, arguments, port, gently, how, greet in servers(directory):
                if options.only and server not in options.only:
                    continue
                if not shutil.which(str(program), path=os.environ["PATH"] + ":/usr/sbin"):
                    print(f"not installed: {program}", file=sys.stderr)
                    continue
                results[server] = play(program, arguments, port, gently, greet) | {"how": how}
        finally:
            backend.kill()
            backend.wait()
    lines = ["| server | how it is stopped | first and last close | closes in the busiest second | TIME_WAIT left on it |",
             "| --- | --- | --- | --- | --- |"]
    for server, one in results.items():
        when = f"{one['first_s']:.1f} s, {one['last_s']:.1f} s"
        busiest = f"{one['busiest_second']} of {CONNECTIONS}"
        lines.append(f"| {server} | {one['how']} | {when} | {busiest} | {one['time_wait']} |")
    table = "\n".join(lines) + "\n"
    print(table, end="")
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(results, indent=1) + "\n")
    if options.into:
        page = pathlib.Path(options.into)
        text = page.read_text()
        before, rest = text.split(BEGIN)
        page.write_text(before + BEGIN + table + END + rest.split(END)[1])
    own = results.get("linger")
    if own and (own["closed"], own["time_wait"]) != (CONNECTIONS, 0) or own and own["busiest_second"] > CONNECTIONS / 4:
        sys.exit("linger did not spread its closes, or kept a TIME_WAIT")


if __name__ == "__main__":
    main()
