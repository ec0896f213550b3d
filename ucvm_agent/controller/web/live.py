"""Streams of server-sent events: what changes is told at once, silence is filled, and an end is an end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog
from aiohttp import web
from pydantic import BaseModel

from ucvm_agent.errors import LedgerError

log = structlog.get_logger()

SILENCE_SECONDS = 10.0
"""Between two signs of life: whoever hears nothing for much longer knows that the connection is dead."""

WRITE_SECONDS = 30.0
"""For a reader to take what it was sent."""

MEDIA = "text/event-stream"


class Stream:
    """One reader."""

    def __init__(self, response: web.StreamResponse) -> None:
        self.response = response

    async def send(self, event: str, data: BaseModel, *, id: int | None = None) -> None:  # noqa: A002 - as the field is called
        """Send an event.

        Arguments:
            id: from which the reader may go on later.

        Raises:
            ConnectionError: the reader has gone; TimeoutError: it does not read.
        """
        number = "" if id is None else f"id: {id}\n"
        await self._write(f"{number}event: {event}\ndata: {data.model_dump_json()}\n\n")

    async def breathe(self) -> None:
        """Give signs of life until the reader has gone."""
        with suppress(ConnectionError, TimeoutError):
            while True:
                await self._write(":\n\n")
                await asyncio.sleep(SILENCE_SECONDS)

    async def _write(self, text: str) -> None:
        async with asyncio.timeout(WRITE_SECONDS):
            await self.response.write(text.encode())


class Streams:
    """All readers, who are let go when the site closes."""

    def __init__(self) -> None:
        self._closing = asyncio.Event()

    async def close(self, _: web.Application) -> None:
        """End all streams, in order."""
        self._closing.set()

    @asynccontextmanager
    async def open(self, request: web.Request) -> AsyncIterator[Stream]:
        """Yield a stream to send to; the block is left early if its reader has gone or the site closes."""
        stream = Stream(web.StreamResponse(headers={"Content-Type": MEDIA, "X-Accel-Buffering": "no"}))
        await stream.response.prepare(request)
        scope = asyncio.timeout(None)
        watch = asyncio.create_task(self._watch(stream, scope))
        try:
            async with scope:
                yield stream
        except (ConnectionError, TimeoutError, LedgerError) as error:
            log.debug("a stream has ended", path=request.path, reason=type(error).__name__)
        finally:
            watch.cancel()

    async def _watch(self, stream: Stream, scope: asyncio.Timeout) -> None:
        ends = {asyncio.create_task(self._closing.wait()), asyncio.create_task(stream.breathe())}
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            scope.reschedule(asyncio.get_running_loop().time())
        finally:
            for task in ends:
                task.cancel()
