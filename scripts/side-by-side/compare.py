#!/usr/bin/env python3
"""The rows of `linger lab` for other people's servers beside ours, each in its best configuration for connections
that stay, looked at from outside only: when a server lets its socket go, what it says of it, and what is left.

usage: scripts/side-by-side/compare.py [--into src/guide/detection.md] [--json FILE] [--only NAME]... [--details]

Needs what `linger lab` needs, and target/release/linger. A server that is not installed is left out, and said so.
A client that is well says something twice a second, in all of them, and has 3 s before that is missed: who has no
heartbeat of its own has a bound on idle time instead. Each gets 10 s to notice.
"""

import argparse
import json
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
LINGER = HERE.parent.parent / "target/release/linger"
PATIENCE_S = 10
# More than all buffers on the way take: what is sent to a client that does not read stays with the server.
BIG_BYTES = 1_000_000
# Between these the table stands in a page.
BEGIN, END = "<!-- others -->\n", "<!-- /others -->"
CASES = {
    "close": "closes",
    "half-close": "half-closes, reads on",
    "reset": "resets",
    "kill": "killed",
    "kill-unread": "killed, unread data",
    "freeze": "frozen, idle",
    "freeze-flight": "frozen, does not read",
    "cable": "cable pulled, idle",
    "cable-flight": "cable pulled, data in flight",
    "drop-both": "firewall drops all",
    "nat-reset": "NAT forgot, resets",
    "vanish": "gone without a packet",
    "reboot": "rebooted, comes back",
}
HTTP = r"GET / HTTP/1.1\r\nHost: lab\r\n\r\n"
HTTP_BIG = r"GET /big/file HTTP/1.1\r\nHost: lab\r\n\r\n" * 8


def mqtt(kind, *parts):
    """An MQTT 3.1.1 control packet, as the lab takes bytes."""
    body = b"".join(parts)
    length, rest = b"", len(body)
    while True:
        length += bytes([rest % 128 | (128 if rest > 127 else 0)])
        rest //= 128
        if not rest:
            break
    packet = bytes([kind]) + length + body
    return "".join(chr(byte) if chr(byte).isalnum() and byte < 128 else f"\\x{byte:02x}" for byte in packet)


def text(word):
    return len(word).to_bytes(2, "big") + word


def connect(name, keep_alive_s):
    return mqtt(0x10, text(b"MQTT"), b"\x04\x02", keep_alive_s.to_bytes(2, "big"), text(name))


def servers(directory):
    """Name, program, where its log says why, and how the lab is to start it and talk to it."""
    big = "x" * 60_000

    def configured(name):
        source = (HERE / name).read_text()
        source = source.replace("@directory@", str(directory))
        # The lab fills in the address, so the file is finished when the server starts.
        (directory / name).write_text(source)
        target = directory / f"{{case}}-{name}"
        return f"sed 's/@address@/{{address}}/; s/@port@/{{port}}/' {directory / name} > {target} && exec", target

    make, nginx = configured("nginx.conf")
    yield "nginx", "nginx", r"(closed keepalive connection \(.*?\)|closed keepalive connection|timed out|\([0-9]+: .*?\))", [
        "--port", "80", "--greet", HTTP, "--beat", HTTP, "--provoke", HTTP_BIG,
        "--server", f"mkdir {directory}/{{case}} && {make} nginx -p {directory}/{{case}} -c {nginx}",
    ]
    make, haproxy = configured("haproxy.cfg")
    echo = f"{shlex.quote(str(LINGER))} serve --admin off --log off --listen echo://127.0.0.1:7007 >/dev/null 2>&1 &"
    yield "HAProxy", "haproxy", r" ([a-zA-Z-]{2}) [0-9]+/[0-9]+/", [
        "--port", "80", "--greet", "hello", "--beat", "still here", "--provoke", "x" * 120_000,
        "--server", f"cd {directory}; {echo} {make} haproxy -db -f {haproxy}",
    ]
    make, mosquitto = configured("mosquitto.conf")
    publish = mqtt(0x30, text(b"t"), b"x" * 60_000)
    yield "mosquitto", "mosquitto", r"device (closed its connection|has exceeded timeout|already connected)", [
        "--port", "1883", "--beat", mqtt(0xC0), "--goodbye", mqtt(0xE0),
        "--greet", connect(b"device", 2) + mqtt(0x82, b"\x00\x01", text(b"t"), b"\x00"),
        "--helper-greet", connect(b"helper", 0), "--helper-provoke", publish,
        "--server", f"{make} mosquitto -c {mosquitto}",
    ]
    # Subscribers are who Redis can send to; its `timeout` leaves them alone, so keepalive is what there is.
    yield "Redis", "redis-server", r"(Client closed connection|Connection reset by peer|Connection timed out)", [
        "--port", "6379", "--greet", r"SUBSCRIBE t\r\n", "--beat", r"PING\r\n",
        "--helper-greet", r"PING\r\n",
        "--helper-provoke", rf"*3\r\n$7\r\nPUBLISH\r\n$1\r\nt\r\n$60000\r\n{big}\r\n",
        "--server", "exec redis-server --bind {address} --port {port} --protected-mode no --save '' "
        "--tcp-keepalive 1 --loglevel verbose --client-output-buffer-limit 'pubsub 8mb 1mb 3'",
    ]
    listener = "resp://{address}:{port}?protected_mode=false&keepalive.idle=1s&keepalive.interval=1s&keepalive.count=3&user_timeout=3s"
    yield "linger", str(LINGER), r"reason=([a-z_.]+)", [
        "--port", "7000", "--greet", r"IDENT device BEAT 2\r\n", "--beat", r"BEAT\r\n", "--goodbye", r"QUIT\r\n",
        "--helper-greet", r"PING\r\n", "--helper-provoke", rf"*3\r\n$4\r\nSEND\r\n$6\r\ndevice\r\n$60000\r\n{big}\r\n",
        "--server", f"exec {shlex.quote(str(LINGER))} serve --admin off --log linger=debug "
        f"--listen '{listener}&heartbeat.grace=1s'",
    ]


def play(name, says, arguments):
    command = [LINGER, "lab", "--format", "json", "--name", name, "--patience", f"{PATIENCE_S}s"]
    for case in CASES:
        command += ["--case", case]
    done = subprocess.run(command + arguments, stdout=subprocess.PIPE, check=False)
    if not done.stdout:
        sys.exit(f"compare: the lab did not run with {name}")
    result = json.loads(done.stdout)
    for row in result["rows"]:
        found = re.findall(says, "\n".join(row["log"]))
        row["says"] = found[-1] if found else None
    return result


def cell(row):
    """How long it took, and what is left on the server."""
    left = f" · {row['left']['server']}" if row["left"]["server"] not in (None, "ESTABLISHED") else ""
    seconds = row["after_s"]
    if row["verdict"] == "held_on":
        return "never" + left
    if row["verdict"] != "let_go":
        return row["verdict"].replace("_", " ")
    said = f"*{row['says']}*" if row["says"] else "says nothing"
    return ("at once" if seconds < 0.5 else f"{seconds:.0f} s") + f"{left}<br>{said}"


def markdown(results):
    names = [result["server"] for result in results]
    lines = ["| the client | " + " | ".join(names) + " |", "| --- " * (len(names) + 1) + "|"]
    for case, title in CASES.items():
        rows = [next(row for row in result["rows"] if row["case"] == case) for result in results]
        lines.append(f"| {title} | " + " | ".join(cell(row) for row in rows) + " |")
    return "\n".join(lines)


def details(results):
    for result in results:
        print(f"\n{result['server']}")
        for row in result["rows"]:
            if row["case"] in CASES:
                print(f"  {row['case']}: {cell(row).replace('<br>', ', ')}")
                for line in row["log"] or [row["why"] or "its log says nothing"]:
                    print(f"    {line}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", metavar="FILE", help="a page with the lines <!-- others --> and <!-- /others -->")
    parser.add_argument("--json", metavar="FILE", help="everything")
    parser.add_argument("--only", metavar="NAME", action="append", help="only this server (repeatable)")
    parser.add_argument("--details", action="store_true", help="what each server's log said")
    arguments = parser.parse_args()
    # Before the minutes that it takes.
    page = pathlib.Path(arguments.into).read_text() if arguments.into else f"{BEGIN}{END}"
    if BEGIN not in page or END not in page.split(BEGIN, 1)[1]:
        sys.exit(f"compare: {arguments.into} has no lines {BEGIN.strip()} and {END}")
    results = []
    with tempfile.TemporaryDirectory() as directory:
        directory = pathlib.Path(directory)
        (directory / "file").write_bytes(b"x" * BIG_BYTES)
        for name, program, says, how in servers(directory):
            if arguments.only and name.lower() not in [only.lower() for only in arguments.only]:
                continue
            if not shutil.which(program):
                print(f"skipped: {name}: {program} is not installed", file=sys.stderr)
                continue
            results.append(play(name, says, how))
    if not results:
        sys.exit("compare: no server to look at")
    table = markdown(results)
    print(table)
    if arguments.details:
        details(results)
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(results, indent=1) + "\n")
    if arguments.into:
        before, rest = page.split(BEGIN, 1)
        _, after = rest.split(END, 1)
        pathlib.Path(arguments.into).write_text(f"{before}{BEGIN}\n{table}\n\n{END}{after}")
    # A row that could not be played shows nothing.
    return any(row["verdict"] == "failed" for result in results for row in result["rows"])


if __name__ == "__main__":
    sys.exit(main())
