"""Stands between a client and a server, and holds an answer in its middle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

_CHUNK = 64 * 1024


@dataclass
class Relay:
    """A running relay.

    Arguments:
        behind: port of the server.
        hold_after: bytes of an answer after which nothing goes on until `release` is set.
        held: set when that has come.
    """

    behind: int
    hold_after: int
    port: int = 0
    held: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    _served: dict[asyncio.Task[None], asyncio.StreamWriter] = field(default_factory=dict)

    def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection in a task of its own."""
        self._served[asyncio.create_task(self.answer(reader, writer))] = writer

    async def close(self) -> None:
        """Break all connections."""
        self.release.set()
        for writer in self._served.values():
            writer.transport.abort()
        await asyncio.gather(*self._served)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        with suppress(OSError):
            answers, questions = await asyncio.open_connection("127.0.0.1", self.behind)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass_on(reader, questions, hold=False))
                both.create_task(self._pass_on(answers, writer, hold=True))
        writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, hold: bool) -> None:
        passed = 0
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                writer.write(data)
                await writer.drain()
                passed += len(data)
                if hold and passed > self.hold_after and not self.release.is_set():
                    self.held.set()
                    await self.release.wait()
        writer.close()


@asynccontextmanager
async def relay(behind: int, hold_after: int) -> AsyncIterator[Relay]:
    """Relay on loopback to a port."""
    running = Relay(behind, hold_after)
    server = await asyncio.start_server(running.serve, "127.0.0.1", 0)
    running.port = server.sockets[0].getsockname()[1]
    try:
        async with asyncio.timeout(60):
            yield running
    finally:
        server.close()
        await running.close()
