"""Finds a source in the network where it is run, and prints what came of it and how long it took, as JSON.

    python -m tests.sources.race DEADLINE ROUNDS ROOT SETTINGS

ROOT holds the leases of DHCP, SETTINGS are those of `[sources]` as JSON. `alone` is the time of the winner when it is
asked alone.
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


def rivals(root: Path, settings: Settings) -> list[Source]:
    """Return the sources, except that the leases are those beneath `root`."""
    made = [source for source in sources.make_all(settings) if not source.adds]
    return [cloudstack.Source(CloudStack(), root=root) if each.name == "cloudstack" else each for each in made]


async def race(deadline: float, root: Path, settings: Settings) -> dict[str, object]:
    """Find once among the sources, and then ask the winner alone."""
    chosen = sources.chosen(settings)
    started = time.monotonic()
    try:
        found = await find(rivals(root, settings), Machine(), deadline, chosen=chosen)
    except SourceError as error:
        return {"source": "", "seconds": time.monotonic() - started, "reason": str(error)}
    seconds = time.monotonic() - started
    contenders = judge(rivals(root, settings), Machine(), chosen=chosen)
    winner = next(each for each in contenders if each.source.name == found.source)
    started = time.monotonic()
    await winner.source.fetch()
    alone = time.monotonic() - started
    return {"source": found.source, "seconds": seconds, "alone": alone, "instance_id": found.metadata.instance_id}


async def main() -> None:
    """Read the command line and race."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    deadline, rounds, root, text = sys.argv[1:]
    settings = Settings.model_validate({"sources": json.loads(text)})
    await race(0.05, Path(root), settings)  # what is imported when it is first used does not count
    print(json.dumps([await race(float(deadline), Path(root), settings) for _ in range(int(rounds))]))


if __name__ == "__main__":
    asyncio.run(main())
