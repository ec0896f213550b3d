"""How long it takes to find user-data, beside cloud-init's data sources of the Debian package in the same network.

    python -m tests.benchmarks.find [--rounds 10]

In network namespaces of its own, as root: one address that answers, and nothing but black holes elsewhere. At the
metadata service's, ours is told nothing and asks all sources, while cloud-init is told which data source it is. A
router of CloudStack and CernVM Online are found among all sources, beside asking the right one alone. Each run is a
process from its start to its user-data; `find` is the part of it that comes after the imports.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time

from tests.benchmarks.installation import PYTHON, cloud_init, installed_agent, without_caches
from tests.servers.online import CONTEXT_ID
from tests.sources.network import CLOUDSTACK, LINK_LOCAL, PIN_SERVICE, Network

OURS = """
import asyncio, json, sys, time
from ucvm_agent import sources
from ucvm_agent.stages.discovery import discover
from ucvm_agent.settings import Settings
settings = Settings.model_validate({{"sources": {sources}}})
sources.make_all(settings)  # imports them, as those of cloud-init are imported above
started = time.monotonic()
found = asyncio.run(discover(settings))
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

ELSEWHERE = {
    "cloudstack": (CLOUDSTACK, ("tests.servers.metadata", "cloudstack")),
    "cernvm_online": (PIN_SERVICE, ("tests.servers.online",)),
}
EVERYWHERE = ("cernvm_online", "ec2", "openstack", "gce", "azure", "cloudstack")


def measure(network: Network, python: str, script: str) -> tuple[float, float, str]:
    """Return the milliseconds of the process and of its search, and the source that it found."""
    started = time.perf_counter()
    output = network.run(python, "-c", script, environment=without_caches())
    wall = time.perf_counter() - started
    seconds, source, size = json.loads(output.splitlines()[-1])
    assert size > 0
    return wall * 1000, seconds * 1000, source


def compare(name: str, address: str, server: tuple[str, ...], scripts: list[tuple[str, str, str]], rounds: int) -> None:
    """Measure scripts (title, Python, text) in turns, with one server in the network, and print a row for each."""
    runs: list[list[tuple[float, float, str]]] = [[] for _ in scripts]
    with Network(nameserver=LOOPBACK) as network:
        network.serve(address, *server)
        for _ in range(rounds + 1):  # the first one fills the caches
            for measured, (_, python, script) in zip(runs, scripts, strict=True):
                measured.append(measure(network, python, script))
    for measured, (title, *_) in zip(runs, scripts, strict=True):
        walls, searches, sources = zip(*measured[1:], strict=True)
        medians = f"{statistics.median(searches):.0f} | {statistics.median(walls):.0f}"
        print(f"| {name} | {title} | {sources[0]} | {medians} |")


def compare_cloud(python: str, cloud: str, rounds: int) -> None:
    """Measure ours, told nothing, and cloud-init's data source."""
    server, (module, crawl, key) = CLOUDS[cloud]
    theirs = THEIRS.format(module=module, crawl=crawl, key=key)
    scripts = [("agent", python, OURS.format(sources={})), ("cloud-init", PYTHON, theirs)]
    compare(cloud, LINK_LOCAL, server, scripts, rounds)


def compare_alone(python: str, source: str, rounds: int) -> None:
    """Measure finding a source among all, and asking it alone."""
    address, server = ELSEWHERE[source]
    online = {"url": f"http://{PIN_SERVICE}", "insecure": True, "key": CONTEXT_ID}
    scripts = [
        (title, python, OURS.format(sources={"names": names, "cernvm_online": online}))
        for title, names in (("agent", EVERYWHERE), ("the source alone", (source,)))
    ]
    compare(source, address, server, scripts, rounds)


def main() -> None:
    """Read the command line, measure, report."""
    parser = argparse.ArgumentParser(description="Compare finding user-data with cloud-init.")
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    if not Network.possible():
        sys.exit("this needs root and network namespaces")
    cloud_init()
    print(f"medians of {rounds}\n\n| at | searched by | found | find, ms | process, ms |\n{'| --- ' * 5}|")
    with installed_agent() as agent:
        python = str(agent.with_name("python"))
        for cloud in CLOUDS:
            compare_cloud(python, cloud, rounds)
        for source in ELSEWHERE:
            compare_alone(python, source, rounds)


if __name__ == "__main__":
    main()
