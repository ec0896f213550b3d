"""How long it takes to find user-data, beside cloud-init's data sources of the Debian package in the same network.

    python -m tests.benchmarks.find [--rounds 10]

In network namespaces of its own, as root: a metadata service at 169.254.169.254 that answers, and nothing but black
holes elsewhere. Ours is told nothing and asks all sources; cloud-init is told which data source it is. Each run is a
process from its start to its user-data; `find` is the part of it that comes after the imports.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

from tests.benchmarks.installation import PYTHON, cloud_init, installed_agent, without_caches
from tests.network import LINK_LOCAL, Network

OURS = """
import asyncio, json, sys, time
from ucvm_agent import sources
from ucvm_agent.contextualization import discover
from ucvm_agent.settings import Settings
sources.make_all(Settings())  # imports them, as those of cloud-init are imported above
started = time.monotonic()
found = asyncio.run(discover(Settings()))
print(json.dumps([time.monotonic() - started, found.source, len(found.user_data)]))
"""

THEIRS = """
import json, sys, time
from cloudinit import helpers
from cloudinit.distros.debian import Distro
from cloudinit.sources.{module} import {module}
paths = helpers.Paths({{"cloud_dir": "/nowhere", "run_dir": "/nowhere"}})
source = {module}({{}}, Distro("debian", {{}}, paths), paths)
source._cloud_name = "aws"  # or the EC2 one asks for no token; the other one does not read it
started = time.monotonic()
crawled = source.{crawl}()
print(json.dumps([time.monotonic() - started, "{module}", len(crawled["{key}"])]))
"""

LOOPBACK = "127.0.0.1"
"""Name server that says at once that it is none; cloud-init asks one for names even where it is given addresses."""

CLOUDS = {
    "EC2": (("tests.servers.imds", "--user-data", "LICENSE"), ("DataSourceEc2", "crawl_metadata", "user-data")),
    "OpenStack": (("tests.servers.metadata", "openstack"), ("DataSourceOpenStack", "_crawl_metadata", "userdata")),
}


def measure(network: Network, python: str, script: str) -> tuple[float, float, str]:
    """Return the milliseconds of the process and of its search, and the source that it found."""
    started = time.perf_counter()
    output = network.run(python, "-c", script, environment=without_caches())
    wall = time.perf_counter() - started
    seconds, source, size = json.loads(output.splitlines()[-1])
    assert size > 0
    return wall * 1000, seconds * 1000, source


def compare(python: Path, cloud: str, rounds: int) -> None:
    """Measure both in turns, and print a row of the table for each."""
    (module, *arguments), (theirs, crawl, key) = CLOUDS[cloud]
    scripts = {str(python): OURS, PYTHON: THEIRS.format(module=theirs, crawl=crawl, key=key)}
    runs: dict[str, list[tuple[float, float, str]]] = {name: [] for name in scripts}
    with Network(nameserver=LOOPBACK) as network:
        network.serve(LINK_LOCAL, module, *arguments)
        for _ in range(rounds + 1):  # the first one fills the caches
            for name, script in scripts.items():
                runs[name].append(measure(network, name, script))
    for measured in runs.values():
        walls, searches, sources = zip(*measured[1:], strict=True)
        print(f"| {cloud} | {sources[0]} | {statistics.median(searches):.0f} | {statistics.median(walls):.0f} |")


def main() -> None:
    """Read the command line, measure, report."""
    parser = argparse.ArgumentParser(description="Compare finding user-data with cloud-init.")
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    if not Network.possible():
        sys.exit("this needs root and network namespaces")
    cloud_init()
    print(f"medians of {rounds}\n\n| cloud | source | find, ms | process, ms |\n| --- | --- | --- | --- |")
    with installed_agent() as agent:
        for cloud in CLOUDS:
            compare(agent.with_name("python"), cloud, rounds)


if __name__ == "__main__":
    main()
