"""`/api/v1/events`, `/feed`, `/summary`, `/throughput`: what happens, and how much of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from aiohttp import web
from pydantic import BaseModel, Field

from ucvm_agent import __version__
from ucvm_agent.controller.feed import Change, Gone, Missed
from ucvm_agent.controller.model import Entry, Job, Machine, Record
from ucvm_agent.controller.web import bodies
from ucvm_agent.controller.web.bodies import Entries, Overview, Spans
from ucvm_agent.controller.web.live import MEDIA, Streams
from ucvm_agent.controller.web.operation import API, Asked, Content, Nothing, Operation

if TYPE_CHECKING:
    from ucvm_agent.controller.controller import Controller

PAGE = 500
"""Events that are read from the ledger at once."""


class EventQuery(Record):
    """Which events."""

    vm: str = ""
    limit: int = Field(100, ge=1, le=1000)
    after: int = Field(0, ge=0, description="number of an event; 0 = the last ones")


class FollowQuery(Record):
    """Which events to follow."""

    vm: str = ""
    after: int | None = Field(None, ge=0, description="number of the last event that is known; none = only new ones")


class SpanQuery(Record):
    """Which spans of time: so many, up to now."""

    seconds: int = Field(3600, ge=60, le=86400)
    count: int = Field(24, ge=1, le=500)


class FigureRoutes:
    """The operations that only look."""

    def __init__(self, controller: Controller, streams: Streams) -> None:
        self._controller = controller
        self._ledger = controller.ledger
        self._streams = streams

    def operations(self) -> list[Operation]:
        """All of them."""
        events = f"{API}/events"
        follow = Content(MEDIA, {"event": Entry})
        feed = Content(MEDIA, {"job": Job, "vm": Machine, "gone": bodies.Gone, "event": Entry, "missed": Nothing})
        return [
            Operation("GET", f"{API}/summary", "Count all", self.summary, Overview),
            Operation("GET", f"{API}/throughput", "Count what has ended", self.throughput, Spans, SpanQuery),
            Operation("GET", events, "List events", self.events, Entries, EventQuery),
            Operation("GET", f"{events}/follow", "Follow events", self.follow, follow, FollowQuery),
            Operation("GET", f"{API}/feed", "Follow whatever changes", self.feed, feed),
        ]

    async def summary(self, _: Asked[Nothing, Nothing]) -> Overview:
        """Return the figures."""
        summary = await self._ledger.summary()
        return Overview(
            **summary.model_dump(),
            controller=self._controller.settings.name,
            version=__version__,
            connected=self._controller.connected,
            time=datetime.now(UTC),
        )

    async def throughput(self, asked: Asked[SpanQuery, Nothing]) -> Spans:
        """Return what has ended in spans that begin at full hours, or full seconds of whatever they last."""
        now, seconds = datetime.now(UTC), asked.query.seconds
        last = int(now.timestamp()) // seconds * seconds
        since = datetime.fromtimestamp(last, UTC) - timedelta(seconds=seconds * (asked.query.count - 1))
        return Spans(spans=tuple(await self._ledger.throughput(since=since, now=now, seconds=seconds)))

    async def events(self, asked: Asked[EventQuery, Nothing]) -> Entries:
        """Return events."""
        query = asked.query
        found = await self._ledger.events(query.vm, limit=query.limit, after=query.after)
        return Entries(events=tuple(found))

    async def follow(self, asked: Asked[FollowQuery, Nothing]) -> web.StreamResponse:
        """Stream events: those after a number, and then those that come."""
        async with (
            self._streams.open(asked.request) as stream,
            aclosing(self._entries(asked.query.vm, asked.query.after)) as entries,
        ):
            async for entry in entries:
                await stream.send("event", entry, id=entry.number)
        return stream.response

    async def _entries(self, machine_id: str, after: int | None) -> AsyncGenerator[Entry]:
        """Yield events without a gap; the feed only tells when it is time to look."""
        with self._controller.feed.subscribe() as changes:
            if after is None:
                last = await self._ledger.events(limit=1)
                after = last[0].number if last else 0
            while True:
                found = await self._ledger.events(machine_id, limit=PAGE, after=after)
                for entry in found:
                    yield entry
                    after = entry.number
                if len(found) < PAGE:
                    await _news(changes, machine_id, after)

    async def feed(self, asked: Asked[Nothing, Nothing]) -> web.StreamResponse:
        """Stream whatever changes; what a reader asks for after the beginning of the stream lacks nothing."""
        with self._controller.feed.subscribe() as changes:
            async with self._streams.open(asked.request) as stream:
                async for change in changes:
                    await stream.send(*_told(change))
        return stream.response


def _told(change: Change) -> tuple[str, BaseModel]:
    match change:
        case Job():
            return "job", change
        case Machine():
            return "vm", change
        case Gone(machine_id):
            return "gone", bodies.Gone(machine_id=machine_id)
        case Entry():
            return "event", change
        case Missed():
            return "missed", Nothing()


async def _news(changes: AsyncIterator[Change], machine_id: str, after: int) -> None:
    """Return when there is an event behind a number."""
    async for change in changes:
        match change:
            case Missed():
                return
            case Entry(number=number, event=event) if number > after and machine_id in ("", event.machine_id):
                return
