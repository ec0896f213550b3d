"""What each source says when all of them are asked, for a person who wants to know why one was chosen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ucvm_agent.errors import SourceError
from ucvm_agent.sources.base import Candidate, Found, Source
from ucvm_agent.sources.find import Contender, judge
from ucvm_agent.sources.machine import Machine
from ucvm_agent.sources.race import ask, end

LIMIT = 15.0
"""Seconds that a person waits for the slowest source."""


@dataclass(frozen=True, slots=True)
class Surveyed:
    """A source and what came of asking it.

    Arguments:
        candidate: what the machine says of it.
        reached: whether the other end showed itself to be this platform.
        seconds: that the answer took; None if it was not asked.
        found: the answer, if it has one.
        reason: why there is none, if it was asked.
        wins: whether this is the answer that the daemon would take.
    """

    source: str
    candidate: Candidate
    reached: bool = False
    seconds: float | None = None
    found: Found | None = None
    reason: str = ""
    wins: bool = False


async def survey(
    sources: Sequence[Source], machine: Machine, *, chosen: bool = False, limit: float = LIMIT
) -> list[Surveyed]:
    """Ask each candidate once, all at the same time; the most preferred one comes first.

    Arguments:
        chosen: a person chose the sources; see `find`.
        limit: seconds that each may take.
    """
    contenders = await asyncio.to_thread(judge, sources, machine, chosen=chosen)
    tasks = {
        each.source.name: asyncio.create_task(_timed(each.source), name=each.source.name)
        for each in contenders
        if each.candidate.likely is not False
    }
    try:
        if tasks:
            await asyncio.wait(tasks.values(), timeout=limit)
    finally:
        await end(tasks.values())
    rows = [_row(each, tasks.get(each.source.name), limit) for each in contenders]
    winner = next((row for row in rows if row.found), None)
    return [replace(row, wins=row is winner) for row in rows]


async def _timed(source: Source) -> tuple[Found | SourceError, float]:
    started = time.monotonic()
    return await ask(source), time.monotonic() - started


def _row(each: Contender, task: asyncio.Task[tuple[Found | SourceError, float]] | None, limit: float) -> Surveyed:
    name = each.source.name
    if task is None:
        return Surveyed(name, each.candidate)
    if not task.done() or task.cancelled():
        reason = f"no answer within {limit:g} s"
        return Surveyed(name, each.candidate, reached=each.source.reached, seconds=limit, reason=reason)
    outcome, seconds = task.result()
    if isinstance(outcome, Found):
        return Surveyed(name, each.candidate, reached=True, seconds=seconds, found=outcome)
    return Surveyed(name, each.candidate, reached=each.source.reached, seconds=seconds, reason=str(outcome))
