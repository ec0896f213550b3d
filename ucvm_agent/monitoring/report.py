"""Telling a Co-Pilot monitor the figures (references/copilot-protocol.md, sections 2.13 and 7).

What happens (states, actions, jobs) is told to controllers as events; a monitor that is to count them is one of those.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from ucvm_agent.copilot.messages import ReportValue
from ucvm_agent.errors import DeliveryError

if TYPE_CHECKING:
    from ucvm_agent.copilot.post import Post
    from ucvm_agent.monitoring.figures import Figures

log = structlog.get_logger()

COMPONENT = "agent"

MEGABYTE = 1024**2


async def report(post: Post, monitor: str, interval: float, folders: Sequence[Path]) -> None:
    """Tell the monitor the figures, at once and at each interval, until cancelled.

    Arguments:
        monitor: JID.
        interval: seconds.
        folders: whose disks are told of.
    """
    from ucvm_agent.monitoring.figures import read

    while True:
        try:
            figures = await read(folders)
            for event, value in values(figures):
                post.send(monitor, ReportValue(component=COMPONENT, event=event, value=value), noack=True)
        except DeliveryError as error:
            log.debug("the monitor was not told", monitor=monitor, reason=error.message)
        except (OSError, TimeoutError) as error:
            log.warning("the figures of the machine cannot be read", reason=str(error) or "not in time")
        await asyncio.sleep(interval)


def values(figures: Figures) -> Iterator[tuple[str, str]]:
    """Yield the name and the value of each figure; sizes are in MB, those of the network since its start."""
    for minutes, load in zip((1, 5, 15), figures.load, strict=True):
        yield f"system.load.{minutes}min", f"{load:.2f}"
    for disk in figures.disks:
        yield f"system.disk.available.{_word(disk.name)}", _megabytes(disk.space.available)
        yield f"system.disk.used.{_word(disk.name)}", _megabytes(disk.space.used)
    for interface in figures.interfaces:
        yield f"system.net.in.{_word(interface.name)}", _megabytes(interface.received)
        yield f"system.net.out.{_word(interface.name)}", _megabytes(interface.sent)
    for name, space in (("mem", figures.memory), ("swap", figures.swap)):
        yield f"system.ram.used.{name}", _megabytes(space.used)
        yield f"system.ram.available.{name}", _megabytes(space.available)


def _megabytes(size: int) -> str:
    return str(size // MEGABYTE)


def _word(name: str) -> str:
    """Return a name as one part of a path: full stops separate the parts."""
    return re.sub("[^A-Za-z0-9_-]", "_", name)
