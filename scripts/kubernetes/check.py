"""Whether linger.yaml is what Kubernetes takes, agrees with itself and with the image, and holds a configuration whose probes a
server answers as the kubelet asks.

usage: check.py LINGER DIRECTORY (for what is written), in a network of its own, where the host `app` is known: the configuration
has its ports and names it. Wants PyYAML; with kubernetes-validate there, the schemas of Kubernetes are applied to the objects.
"""

import importlib.util
import pathlib
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request

import yaml

HERE = pathlib.Path(__file__).resolve().parent
TOKEN = "a-token-that-is-long-enough-for-this"


def seconds(text):
    """Of a duration as the configuration has it."""
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h)", text).groups()
    return int(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit]


def validate(objects):
    if importlib.util.find_spec("kubernetes_validate") is None:
        print("skipped: kubernetes-validate is not there; the rest is looked at")
        return
    import kubernetes_validate

    for value in objects:
        kubernetes_validate.validate(value, kubernetes_validate.latest_version(), strict=True)
        print(f"{value['kind']} {value['metadata']['name']}: as its schema has it")


def agree(objects, config):
    """What stands in two places says the same."""
    deployment, service = objects["Deployment"]["spec"], objects["Service"]["spec"]
    pod = deployment["template"]["spec"]
    [container] = pod["containers"]
    labels = deployment["template"]["metadata"]["labels"].items()
    for selector in (service["selector"], deployment["selector"]["matchLabels"],
                     objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"]):
        assert selector.items() <= labels, f"{selector} selects no pod"
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert all(port["targetPort"] in ports for port in service["ports"]), "the service has a port that no container has"
    listening = {int(port) for port in re.findall(r'^address = "0\.0\.0\.0:(\d+)"', config, re.M)}
    assert listening == set(ports.values()), f"the configuration listens on {listening}, the container has {ports}"
    volumes = {volume["name"] for volume in pod["volumes"]}
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert volumes == {mount["name"] for mount in mounts.values()}, "a volume is not mounted, or not there"
    assert mounts[container["args"][2]]["subPath"] in objects["ConfigMap"]["data"], "the configuration is not where linger reads it"
    drain = {key: seconds(value) for key, value in re.findall(r'^(delay|spread|timeout) = "(\w+)"', config, re.M)}
    grace, ready = pod["terminationGracePeriodSeconds"], container["readinessProbe"]
    assert grace > drain["delay"] + drain["timeout"], f"{grace} s are too few for a drain of {drain}"
    assert drain["delay"] > 2 * ready["periodSeconds"] * ready["failureThreshold"], "nobody has seen that it is not ready"
    image = (HERE.parent / "container" / "Containerfile").read_text()
    user = pod["securityContext"]["runAsUser"]
    assert f"\nUSER {user}:{pod['securityContext']['runAsGroup']}\n" in image, f"the image has another user than {user}"
    return {name: (probe["httpGet"]["path"], ports[probe["httpGet"]["port"]])
            for name, probe in container.items() if name.endswith("Probe")}


def asked(path, port):
    """The status that the kubelet sees, which asks with no token, and names the address of the pod."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Host": f"10.244.1.7:{port}", "User-Agent": "kube-probe/1.33"})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def until(what, condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)


def serve(program, directory, config, probes):
    token = directory / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    path = directory / "linger.toml"
    path.write_text(config.replace("/etc/linger/admin/token", str(token)))
    with open(directory / "linger.log", "w", encoding="utf-8") as log:
        server = subprocess.Popen([program, "serve", "--config", path], stdout=log, stderr=log)
        try:
            for name, where in probes.items():
                until(f"the {name}", lambda where=where: asked(*where) == 200)
            server.terminate()
            until("it to be no longer ready", lambda: asked(*probes["readinessProbe"]) == 503)
            assert asked(*probes["livenessProbe"]) == 200, "a server that drains is taken for dead"
            server.terminate()
            assert server.wait(timeout=60) == 0, "it has not ended in order"
        finally:
            server.kill()
    print(f"the probes: answered as they are to be ({', '.join(path for path, _ in probes.values())})")


def main():
    program, directory = sys.argv[1], pathlib.Path(sys.argv[2])
    directory.mkdir(parents=True, exist_ok=True)
    objects = list(yaml.safe_load_all((HERE / "linger.yaml").read_text()))
    validate(objects)
    objects = {value["kind"]: value for value in objects}
    config = objects["ConfigMap"]["data"]["linger.toml"]
    probes = agree(objects, config)
    serve(program, directory, config, probes)


main()
