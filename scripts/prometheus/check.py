"""What Prometheus makes of linger: promtool takes the metrics, the alerts and every expression of the dashboard, and a Prometheus
that reads two servers for some seconds answers each of them.

usage: check.py LINGER DIRECTORY (for what is written; it is emptied)
"""

import hashlib
import json
import pathlib
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
RULES = HERE / "linger.rules.yml"
DASHBOARD = HERE.parent / "grafana" / "linger.json"
TOKEN = "a-token-that-is-long-enough-for-this"
# What is empty while all is well: only what happens is shown, or only what should not.
MAY_BE_EMPTY = re.compile(r"> 0|== 1$")

CONFIG = """
[admin]
address = "127.0.0.1:{admin}"
token_file = "{dir}/token"
[audit]
interval = "500ms"
[[listener]]
name = "resp"
protocol = "resp"
address = "127.0.0.1:{resp}"
users = "{dir}/users"
tls.certificate = "{dir}/own.pem"
[[listener]]
name = "gateway"
protocol = "tcp"
address = "127.0.0.1:{gateway}"
upstream = "app"
[upstream.app]
servers = "127.0.0.1:{resp}"
tls = {{ enabled = true, name = "app", verify = false, certificate = "{dir}/own.pem" }}
"""

PROMETHEUS = """
global: {{ scrape_interval: 1s, evaluation_interval: 1s }}
rule_files: ["{rules}"]
scrape_configs:
  - job_name: linger
    authorization: {{ credentials_file: "{dir}/token" }}
    static_configs: [{{ targets: {targets} }}]
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(what, condition, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.1)
    sys.exit(f"waited in vain for {what}")


def get(url):
    """What is answered; nothing, if nobody does."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {TOKEN}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.read().decode()
    except OSError:
        return ""


def promtool(*arguments, **more):
    done = subprocess.run(["promtool", *arguments], text=True, capture_output=True, check=False, **more)
    if done.returncode != 0:
        sys.exit(f"promtool {' '.join(arguments)}: {done.stdout}{done.stderr}")
    print(f"promtool {' '.join(arguments)}: accepted")


def expressions(value):
    """Every expression of the dashboard."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "expr":
                yield inner
            else:
                yield from expressions(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from expressions(inner)


def as_grafana_sends_it(expression):
    """With the variables of the dashboard filled in."""
    filled = expression.replace("$__rate_interval", "10s")
    for name, choice in (("job", "linger"), ("instance", ".*"), ("listener", "resp|gateway")):
        filled = filled.replace(f"${name}", choice)
    assert "$" not in filled, f"a variable that nobody fills in: {expression}"
    return filled


def talk(ports):
    """Clients that come, say something and go; one of them is refused."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for password in ("secret", "wrong"):
        with socket.create_connection(("127.0.0.1", ports["resp"])) as plain, context.wrap_socket(plain) as client:
            client.sendall(f"AUTH ops {password}\r\nIDENT dev1\r\nPING\r\n".encode())
            client.recv(100)
    with socket.create_connection(("127.0.0.1", ports["gateway"])) as client:
        client.sendall(b"AUTH ops secret\r\n")
        client.recv(100)


def start(program, directory, processes):
    """Two servers, one with workers; gives their ports."""
    (directory / "token").write_text(TOKEN)
    (directory / "token").chmod(0o600)
    secret = hashlib.sha256(b"secret").hexdigest()
    (directory / "users").write_text(f"user ops on #{secret} +@all allchannels allidentities\n")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=app",
         "-days", "365", "-keyout", directory / "key.pem", "-out", directory / "certificate.pem"],
        check=True, capture_output=True)
    (directory / "own.pem").write_text((directory / "certificate.pem").read_text() + (directory / "key.pem").read_text())
    (directory / "own.pem").chmod(0o600)
    servers = []
    for workers in (1, 2):
        ports = {name: free_port() for name in ("admin", "resp", "gateway")}
        config = directory / f"linger-{workers}.toml"
        config.write_text(CONFIG.format(dir=directory, **ports))
        log = open(directory / f"linger-{workers}.log", "w", encoding="utf-8")
        processes.append(subprocess.Popen([program, "serve", "--config", config, "--workers", str(workers)], stdout=log, stderr=log))
        servers.append(ports)
    return servers


def scrape(directory, servers, processes):
    """A Prometheus that reads them; gives its address."""
    port = free_port()
    targets = json.dumps([f"127.0.0.1:{ports['admin']}" for ports in servers])
    config = directory / "prometheus.yml"
    config.write_text(PROMETHEUS.format(rules=RULES, dir=directory, targets=targets))
    promtool("check", "config", str(config))
    log = open(directory / "prometheus.log", "w", encoding="utf-8")
    processes.append(subprocess.Popen(
        ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={directory}/tsdb",
         f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log))
    return f"http://127.0.0.1:{port}/api/v1"


def answered(api, expression):
    text = get(f"{api}/query?{urllib.parse.urlencode({'query': expression})}")
    # It says so in plain text while it starts.
    answer = json.loads(text) if text.startswith("{") else {}
    if answer.get("status") == "error":
        sys.exit(f"Prometheus: {answer['error']}: {expression}")
    return answer.get("data", {}).get("result", [])


def check(program, directory, processes):
    promtool("check", "rules", str(RULES))
    promtool("test", "rules", "linger.test.yml", cwd=HERE)
    dashboard = [as_grafana_sends_it(it) for it in expressions(json.loads(DASHBOARD.read_text()))]
    assert len(dashboard) > 60, f"{len(dashboard)} expressions"
    rules = [{"record": f"panel:{number}", "expr": it} for number, it in enumerate(dashboard)]
    # JSON is YAML.
    (directory / "dashboard.rules.yml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", str(directory / "dashboard.rules.yml"))

    servers = start(program, directory, processes)
    for ports in servers:
        admin = f"http://127.0.0.1:{ports['admin']}"
        wait_for(f"{admin} to be ready", lambda url=admin: get(f"{url}/readyz") == "ready\n")
        promtool("check", "metrics", input=get(f"{admin}/metrics"))
    api = scrape(directory, servers, processes)

    def read_often():
        for ports in servers:
            talk(ports)
        # A quantile is one of something, and a rate one of two readings.
        found = answered(api, 'count_over_time(up{job="linger"}[1m]) > 8')
        return len(found) == len(servers)

    wait_for("Prometheus to have read both servers", read_often)
    assert all(it["value"][1] == "1" for it in answered(api, 'up{job="linger"}')), "a server is down"
    filled = 0
    for expression in dashboard:
        if answered(api, expression):
            filled += 1
        elif not MAY_BE_EMPTY.search(expression):
            sys.exit(f"Prometheus has nothing to show for: {expression}")
    print(f"the dashboard: {len(dashboard)} expressions answered, {filled} of them with values")
    rules = [rule for group in json.loads(get(f"{api}/rules"))["data"]["groups"] for rule in group["rules"]]
    assert len(rules) > 15 and all(rule["health"] == "ok" for rule in rules), rules
    firing = [rule["name"] for rule in rules if rule["state"] == "firing"]
    assert not firing, f"alerts on servers that are well: {firing}"
    print(f"the alerts: {len(rules)} evaluated, none fires")


def main():
    program, directory = sys.argv[1], pathlib.Path(sys.argv[2]).resolve()
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    processes = []
    try:
        check(program, directory, processes)
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            process.wait()


main()
