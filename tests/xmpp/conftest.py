"""A connection to a real Prosody, and an ear on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tenacity.wait import wait_base

from tests.servers.prosody import Prosody
from tests.xmpp.ear import Ear
from ucvm_agent.network.retry import waits
from ucvm_agent.settings import Xmpp
from ucvm_agent.xmpp.client import Connection

MACHINE = "0123456789abcdef"
PASSWORD = "agent-secret"
QUICK = waits(0.05, 0.2)


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
    async def open_connection(away: wait_base = QUICK, **changes: Any) -> AsyncIterator[tuple[Connection, Ear]]:
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
        connection, ear = Connection(settings, MACHINE, controllers=settings.controllers, away=away), Ear()
        connection.listen(ear)
        task = asyncio.create_task(connection.run())
        try:
            yield connection, ear
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    return open_connection
