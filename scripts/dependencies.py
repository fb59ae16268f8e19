"""Licences of all dependencies against the list of deny.toml, and the Rust they need against ours.

usage: dependencies.py DENY_TOML METADATA_JSON (of `cargo metadata --format-version 1`)
"""

import json
import re
import sys


def allowed(expression, allow):
    """Whether an SPDX expression can be satisfied with licences of `allow`; `/` is an old way to write OR."""
    tokens = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))

    def either():
        value = both()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            value = both() or value
        return value

    def both():
        value = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            value = one() and value
        return value

    def one():
        token = tokens.pop(0)
        if token == "(":
            value = either()
            tokens.pop(0)
            return value
        if tokens and tokens[0] == "WITH":
            tokens.pop(0)
            token += " WITH " + tokens.pop(0)
        return token in allow

    return either()


def version(text):
    return tuple(int(part) for part in (text.split("-")[0].split(".") + ["0", "0"])[:3])


def main():
    deny = open(sys.argv[1]).read()
    allow = set(re.findall(r'"([^"]+)"', re.search(r"^allow = \[(.*?)\]", deny, re.M | re.S).group(1)))
    packages = json.load(open(sys.argv[2]))["packages"]
    ours = next(package for package in packages if package["source"] is None)
    mistakes = []
    for package in packages:
        name = f"{package['name']} {package['version']}"
        licence = package["license"]
        if licence is None or not allowed(licence, allow):
            mistakes.append(f"{name}: licence {licence} is not in {sys.argv[1]}")
        needs = package["rust_version"]
        if needs and version(needs) > version(ours["rust_version"]):
            mistakes.append(f"{name}: needs Rust {needs}, and we promise {ours['rust_version']}")
        if package["source"] not in (None, "registry+https://github.com/rust-lang/crates.io-index"):
            mistakes.append(f"{name}: comes from {package['source']}")
    for mistake in mistakes:
        print(mistake)
    unsaid = sum(package["rust_version"] is None for package in packages)
    print(f"{len(packages)} packages, {len(mistakes)} mistakes; {unsaid} do not say which Rust they need")
    return len(mistakes) > 0


if __name__ == "__main__":
    sys.exit(main())
