"""The crates that a program of ours contains, each with its licence and the notices that its licence asks to pass on.

usage: notices.py, from the root of the repository
"""

import json
import pathlib
import re
import subprocess

FILES = re.compile(r"(licen[cs]e|copying|notice|copyright|unlicense)", re.I)


def contained(metadata):
    """The packages that are linked into the program: what it and they depend on, but for tests, builds and macros."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    packages = {package["id"]: package for package in metadata["packages"]}
    found, todo = set(), [metadata["resolve"]["root"]]
    while todo:
        of = todo.pop()
        if of in found or any("proc-macro" in target["kind"] for target in packages[of]["targets"]):
            continue
        found.add(of)
        for dependency in nodes[of]["deps"]:
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                todo.append(dependency["pkg"])
    found.discard(metadata["resolve"]["root"])
    return sorted((packages[of] for of in found), key=lambda package: (package["name"], package["version"]))


def main():
    host = re.search(r"^host: (.*)$", subprocess.check_output(["rustc", "-vV"], text=True), re.M)[1]
    metadata = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", host]
    packages = contained(json.loads(subprocess.check_output(metadata)))
    texts = {}
    print("This program contains these crates, each under the licence that stands behind it, and the standard library of")
    print("Rust (MIT OR Apache-2.0, The Rust Project Developers). The texts that come with them follow.\n")
    for package in packages:
        print(f"{package['name']} {package['version']}: {package['license'] or 'see its text'}")
        root = pathlib.Path(package["manifest_path"]).parent
        for path in sorted(root.iterdir()):
            if path.is_file() and FILES.match(path.name):
                text = path.read_text(encoding="utf-8", errors="replace").strip()
                texts.setdefault(text, []).append(f"{package['name']} {package['version']}: {path.name}")
    for text, of in texts.items():
        print("\n" + "=" * 80 + "\n" + "\n".join(of) + "\n" + "-" * 80 + "\n" + text)


main()
