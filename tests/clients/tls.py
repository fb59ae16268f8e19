"""Clients that none of us wrote, over TLS: openssl, redis-cli, curl, redis-py where it is there, and sslscan, which tries every
version and cipher. LINGER names the binary. The authority and its certificates are made here, and gone afterwards."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time

LINGER = os.environ["LINGER"]
DEADLINE = 20
DIRECTORY = pathlib.Path(tempfile.mkdtemp(prefix="linger-tls-"))


def run(*command, text=""):
    """What a command says, and whether it went well."""
    done = subprocess.run([*map(str, command)], input=text, capture_output=True, text=True, timeout=DEADLINE, cwd=DIRECTORY,
                          check=False)
    return done.returncode, done.stdout + done.stderr


def openssl(*arguments):
    status, said = run("openssl", *arguments)
    assert status == 0, said


def make_certificates():
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=house", "-days", "2")
    for name in "localhost", "dev1":
        openssl("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}",
                "-addext", f"subjectAltName=DNS:{name},IP:127.0.0.1")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
                "-copy_extensions", "copy", "-out", f"{name}.pem")
    openssl("genrsa", "-out", "rsa.key", "2048")
    openssl("req", "-new", "-key", "rsa.key", "-out", "rsa.csr", "-subj", "/CN=localhost", "-addext",
            "subjectAltName=DNS:localhost,IP:127.0.0.1")
    openssl("x509", "-req", "-in", "rsa.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "2", "-copy_extensions", "copy",
            "-out", "rsa.pem")


@contextlib.contextmanager
def serving():
    """A server, and the ports of its listeners by name."""
    both = "tls.certificate=localhost.pem,rsa.pem&tls.key=localhost.key,rsa.key"
    asks = "tls.client_certificate=required&tls.client_ca=ca.pem&tls.identity=cn"
    command = [LINGER, "serve", "--log-format", "json", "--admin", "127.0.0.1:0"]
    for key, value in ("certificate", "localhost.pem"), ("key", "localhost.key"):
        command += ["--set", f"admin.tls.{key}={DIRECTORY / value}"]
    for url in f"resps://127.0.0.1:0?{both}", f"resps://127.0.0.1:0?name=asks&{both}&{asks}":
        command += ["--listen", url]
    with open(DIRECTORY / "log", "wb") as log:
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log, cwd=DIRECTORY)
    try:
        ports, end = {}, time.monotonic() + DEADLINE
        while "admin" not in ports and time.monotonic() < end:
            time.sleep(0.05)
            for event in events("listening"):
                ports[event["listener"]] = int(event["address"].rsplit(":", 1)[1])
        yield ports
    finally:
        server.terminate()
        server.wait(DEADLINE)


def events(name):
    lines = (DIRECTORY / "log").read_text(errors="replace").splitlines()
    found = [json.loads(line) for line in lines if line.startswith("{")]
    return [event for event in found if event.get("event") == name]


# ---- The clients ----------------------------------------------------------------------------------------------


def openssl_of_both_versions_and_both_keys(ports):
    for version in "-tls1_2", "-tls1_3":
        for kind, schemes in ("ECDSA", "ECDSA+SHA256"), ("RSA", "RSA-PSS+SHA256"):
            with subprocess.Popen(
                    ["openssl", "s_client", version, "-sigalgs", schemes, "-verify_return_error", "-CAfile", "ca.pem",
                     "-connect", f"127.0.0.1:{ports['resp']}"],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=DIRECTORY) as client:
                client.stdin.write("PING\r\n")
                client.stdin.flush()
                said = ""
                while "+PONG" not in said and (line := client.stdout.readline()):
                    said += line
                client.stdin.close()
                client.kill()
            assert "+PONG" in said and "Verify return code: 0" in said or "Verification: OK" in said, said
            assert re.search(kind, said), f"{version}, {kind}: {said}"


def redis_cli(ports):
    status, said = run("redis-cli", "--tls", "--cacert", "ca.pem", "-h", "127.0.0.1", "-p", ports["resp"], "PING")
    assert (status, said.strip()) == (0, "PONG"), said
    who = ["--tls", "--cacert", "ca.pem", "--cert", "dev1.pem", "--key", "dev1.key", "-h", "127.0.0.1", "-p", ports["asks"]]
    status, said = run("redis-cli", *who, "STATE", "dev1")
    assert (status, said.strip()) == (0, "online"), said


def curl(ports):
    status, said = run("curl", "-sS", "--cacert", "ca.pem", f"https://127.0.0.1:{ports['admin']}/healthz")
    assert status == 0, said
    status, said = run("curl", "-sS", f"https://127.0.0.1:{ports['admin']}/healthz")
    assert status == 60, f"it does not trust us: {said}"


def redis_py(ports):
    try:
        import redis  # pylint: disable=import-outside-toplevel
    except ImportError:
        return "redis-py is not installed"
    with redis.Redis(host="127.0.0.1", port=ports["resp"], ssl=True, ssl_ca_certs=str(DIRECTORY / "ca.pem")) as client:
        assert client.ping()
        pipeline = client.pipeline(transaction=False)
        for _ in range(500):
            pipeline.ping()
        assert pipeline.execute() == [True] * 500
    return None


def python_resumes(ports):
    context = ssl.create_default_context(cafile=DIRECTORY / "ca.pem")
    session = None
    for resumed in False, True:
        with socket.create_connection(("127.0.0.1", ports["resp"]), DEADLINE) as plain:
            with context.wrap_socket(plain, server_hostname="localhost", session=session) as client:
                client.sendall(b"PING\r\n")
                assert client.recv(100) == b"+PONG\r\n"
                assert client.session_reused == resumed
                session = client.session


def sslscan_finds_nothing_old(ports):
    status, said = run("sslscan", "--no-colour", "--no-heartbleed", f"127.0.0.1:{ports['resp']}")
    assert status == 0, said
    for version, state in ("SSLv2", "disabled"), ("SSLv3", "disabled"), ("TLSv1.0", "disabled"), ("TLSv1.1", "disabled"), \
            ("TLSv1.2", "enabled"), ("TLSv1.3", "enabled"):
        assert re.search(rf"^{re.escape(version)}\s+{state}$", said, re.M), f"{version}: {said}"
    offered = re.findall(r"^(?:Preferred|Accepted)\s+TLSv1\.[23]\s+\d+ bits\s+(\S+)", said, re.M)
    assert offered, said
    weak = [cipher for cipher in offered if not re.search("GCM|CHACHA20", cipher)]
    assert not weak, weak
    assert "Session renegotiation not supported" in said, said


CLIENTS = [
    ("openssl", openssl_of_both_versions_and_both_keys), ("redis-cli", redis_cli), ("curl", curl), (None, redis_py),
    (None, python_resumes), ("sslscan", sslscan_finds_nothing_old),
]


def main():
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    if shutil.which("openssl") is None:
        print("openssl is not installed\n0 passed, 0 failed, 1 skipped")
        return 0
    make_certificates()
    with serving() as ports:
        for program, client in CLIENTS:
            why = f"{program} is not installed" if program and shutil.which(program) is None else None
            try:
                why = why or client(ports)
                outcome = "skipped" if why else "passed"
            except Exception as error:  # pylint: disable=broad-except
                outcome, why = "failed", error
            counts[outcome] += 1
            print("ok" if outcome == "passed" else outcome, client.__name__, why or "")
    stray = [line for line in (DIRECTORY / "log").read_text().splitlines() if "panic" in line]
    if stray:
        counts["failed"] += 1
        print("failed", stray)
    shutil.rmtree(DIRECTORY, ignore_errors=True)
    print(", ".join(f"{count} {outcome}" for outcome, count in counts.items()))
    return 1 if counts["failed"] else 0


sys.exit(main())
