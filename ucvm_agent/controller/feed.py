"""What changes, told live to whoever looks on: the page and the followers of the command line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import structlog

from ucvm_agent.controller.ledger.base import Kind, Ledger, Notice
from ucvm_agent.controller.model import Entry, Job, Machine
from ucvm_agent.errors import LedgerError

log = structlog.get_logger()

BACKLOG = 1000
"""Most changes that wait for a slow subscriber; after that it is told that it has missed some."""


@dataclass(frozen=True, slots=True)
class Gone:
    """A machine that is not known any more, nor are its events."""

    machine_id: str


@dataclass(frozen=True, slots=True)
class Missed:
    """More has changed than was told: read everything anew."""


Change: TypeAlias = Job | Machine | Gone | Entry | Missed
"""A job or a machine as it is now, one that is gone, a new event, or a gap."""


class Feed:
    """Distributes the changes of a ledger.

    Several changes of one thing that come faster than they are told are one.

    Arguments:
        ledger: tells of changes by `on_notice`, and what they are is read from it.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._subscribers: set[asyncio.Queue[Change]] = set()
        self._watchers: list[Callable[[Notice], None]] = []
        self._pending: dict[Notice, None] = {}
        self._wake = asyncio.Event()
        self._overrun = False
        ledger.on_notice = self._note

    def watch(self, call: Callable[[Notice], None]) -> None:
        """Tell at once, on the loop, that something has changed, but not what it is now: that costs nothing."""
        self._watchers.append(call)

    @contextmanager
    def subscribe(self) -> Iterator[AsyncIterator[Change]]:
        """Yield what changes from now on, until the block ends."""
        queue: asyncio.Queue[Change] = asyncio.Queue(BACKLOG)
        self._subscribers.add(queue)
        try:
            yield _taken(queue)
        finally:
            self._subscribers.discard(queue)

    async def run(self) -> None:
        """Distribute until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._overrun:
                self._overrun = False
                self._tell(Missed())
            while self._pending:
                notice = next(iter(self._pending))
                del self._pending[notice]
                try:
                    change = await self._read(notice)
                except LedgerError as error:
                    log.warning("a change cannot be told", kind=notice.kind, id=notice.id, reason=str(error))
                    change = Missed()
                if change is not None:
                    self._tell(change)

    def _note(self, notice: Notice) -> None:
        for call in self._watchers:
            call(notice)
        if not self._subscribers:
            return
        if len(self._pending) >= BACKLOG:
            self._pending.clear()
            self._overrun = True
        self._pending[notice] = None
        self._wake.set()

    async def _read(self, notice: Notice) -> Change | None:
        match notice.kind:
            case Kind.JOB:
                return await self._ledger.job(notice.id)
            case Kind.MACHINE:
                return await self._ledger.machine(notice.id) or Gone(notice.id)
            case Kind.EVENT:
                found = await self._ledger.events(after=int(notice.id) - 1, limit=1)
                return found[0] if found else None

    def _tell(self, change: Change) -> None:
        for queue in self._subscribers:
            if queue.full():
                while not queue.empty():
                    queue.get_nowait()
                queue.put_nowait(Missed())
            else:
                queue.put_nowait(change)


async def _taken(queue: asyncio.Queue[Change]) -> AsyncIterator[Change]:
    while True:
        yield await queue.get()
