"""A connection to a real Prosody, and an ear on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import pytest

from tests.servers.prosody import Prosody
from ucvm_agent.backoff import Backoff
from ucvm_agent.settings import Xmpp
from ucvm_agent.xmpp.client import Connection

MACHINE = "0123456789abcdef"
PASSWORD = "agent-secret"


class Ear:
    """Keeps what the connection tells, in order."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()

    def session_started(self, *, resumed: bool) -> None:
        self.heard.put_nowait(("started", resumed))

    def session_lost(self, reason: str) -> None:
        self.heard.put_nowait(("lost", reason))

    def received(self, message: Element) -> None:
        self.heard.put_nowait(("received", message))

    def acknowledged(self, id: str) -> None:  # noqa: A002 - as the attribute is called
        self.heard.put_nowait(("acknowledged", id))

    async def next(self, kind: str) -> Any:
        """Return what comes with the next news of this kind."""
        async with asyncio.timeout(20):
            while True:
                heard, what = await self.heard.get()
                if heard == kind:
                    return what


Connect = Callable[..., AbstractAsyncContextManager[tuple[Connection, Ear]]]


@pytest.fixture
async def prosody(tmp_path: Path) -> AsyncIterator[Prosody]:
    """A server with an agent and a controller."""
    async with Prosody(tmp_path, {"agent": PASSWORD, "jm": "pw"}) as server:
        yield server


@pytest.fixture
def connect(prosody: Prosody) -> Connect:
    """Open connections of the agent; arguments are settings that differ."""

    @asynccontextmanager
    async def open_connection(backoff: Backoff | None = None, **changes: Any) -> AsyncIterator[tuple[Connection, Ear]]:
        settings = Xmpp.model_validate(
            {
                "jid": prosody.jid("agent"),
                "password": PASSWORD,
                "host": prosody.host,
                "port": prosody.port,
                "ca_file": prosody.ca_file,
                "controllers": (prosody.jid("jm"),),
            }
            | changes
        )
        connection, ear = Connection(settings, MACHINE, backoff=backoff or Backoff(0.05, 0.2)), Ear()
        connection.listen(ear)
        task = asyncio.create_task(connection.run())
        try:
            yield connection, ear
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    return open_connection
