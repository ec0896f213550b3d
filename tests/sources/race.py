"""Finds a source in the network where it is run, and prints what came of it and how long it took, as JSON.

    python -m tests.sources.race DEADLINE ROUNDS ROOT [NAME=VALUE …]

ROOT holds the leases of DHCP, NAME=VALUE are signs of the machine in its firmware tables. `alone` is the time of the
winner when it is asked alone.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

import structlog

from ucvm_agent import sources
from ucvm_agent.errors import SourceError
from ucvm_agent.settings import CloudStack, Settings
from ucvm_agent.sources import cloudstack
from ucvm_agent.sources.base import Source
from ucvm_agent.sources.find import find, judge
from ucvm_agent.sources.machine import Machine


def everything(root: Path) -> list[Source]:
    """Return all sources with their defaults, except that the leases are those beneath `root`."""
    others = [source for source in sources.make_all(Settings()) if source.name != "cloudstack"]
    return [*others, cloudstack.Source(CloudStack(), root=root)]


async def race(deadline: float, root: Path, machine: Machine) -> dict[str, object]:
    """Find once among all sources, and then ask the winner alone."""
    started = time.monotonic()
    try:
        found = await find(everything(root), machine, deadline)
    except SourceError as error:
        return {"source": "", "seconds": time.monotonic() - started, "reason": str(error)}
    seconds = time.monotonic() - started
    winner = next(each for each in judge(everything(root), machine) if each.source.name == found.source)
    started = time.monotonic()
    await winner.source.fetch()
    alone = time.monotonic() - started
    return {"source": found.source, "seconds": seconds, "alone": alone, "instance_id": found.metadata.instance_id}


async def main() -> None:
    """Read the command line and race."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    deadline, rounds, root, *signs = sys.argv[1:]
    machine = Machine(dict(sign.split("=", 1) for sign in signs))
    await race(0.05, Path(root), machine)  # what is imported when it is first used does not count
    print(json.dumps([await race(float(deadline), Path(root), machine) for _ in range(int(rounds))]))


if __name__ == "__main__":
    asyncio.run(main())
