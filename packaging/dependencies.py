"""The crates that are compiled into the broker, from `cargo metadata` and Cargo.lock. For `sbom` and `licenses`."""

import json
import os
import subprocess
import tomllib

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# The JavaScript libraries of the page that the binary serves.
VENDORED = os.path.join(ROOT, "src", "admin", "page", "vendored")


def metadata(target):
    """The dependency graph of the workspace on one target."""
    cargo = os.environ.get("CARGO", "cargo")
    command = [cargo, "metadata", "--format-version", "1", "--locked", "--filter-platform", target]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)


def linked(graph, target):
    """The root package, the crates of the binary without it, and for each package what it depends on.

    `cargo tree` tells which crates there are: unlike the metadata, it leaves out what only tests or other packages of the workspace
    enable. Crates that only build scripts need do not get into the binary; procedural macros are listed, because they write code of it."""
    packages = {package["id"]: package for package in graph["packages"]}
    nodes = {node["id"]: node for node in graph["resolve"]["nodes"]}
    root = next(package["id"] for package in graph["packages"] if package["name"] == "oncemq")
    names = tree(target)
    edges, waiting = {}, [root]
    while waiting:
        package = waiting.pop()
        if package not in edges:
            others = normal(nodes[package], root)
            edges[package] = [other for other in others if (packages[other]["name"], packages[other]["version"]) in names]
            waiting.extend(edges[package])
    crates = [packages[package] for package in edges if package != root]
    crates.sort(key=lambda crate: (crate["name"], crate["version"]))
    return packages[root], crates, edges


def tree(target):
    """Names and versions of the crates that the package `oncemq` needs at run time."""
    cargo = os.environ.get("CARGO", "cargo")
    command = [cargo, "tree", "--locked", "--package", "oncemq", "--edges", "normal", "--target", target]
    command += ["--prefix", "none", "--format", "{p}"]
    lines = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    return {(line.split(" ")[0], line.split(" ")[1].removeprefix("v")) for line in lines if line}


def normal(node, root):
    """What a package needs at run time. The root package names itself for its tests."""
    kinds = ((dep["pkg"], [kind["kind"] for kind in dep["dep_kinds"]]) for dep in node["deps"])
    return sorted(package for package, names in kinds if None in names and package != root)


def checksums():
    """SHA-256 of the crates of the registry, by name and version."""
    with open(os.path.join(ROOT, "Cargo.lock"), "rb") as file:
        packages = tomllib.load(file)["package"]
    return {(package["name"], package["version"]): package.get("checksum") for package in packages}


def libraries():
    """The JavaScript libraries of the page: name, version, license, url, and the name of the file with their licences."""
    with open(os.path.join(VENDORED, "libraries.json"), encoding="utf-8") as file:
        return json.load(file)
