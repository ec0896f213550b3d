"""Ledgers of both kinds, and controllers on a real Prosody."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from tests.controller.peer import account
from tests.controller.running import running
from tests.servers.prosody import Prosody
from tests.servers.redis import RedisServer
from ucvm_agent.controller.controller import Controller
from ucvm_agent.controller.ledger.base import Ledger
from ucvm_agent.controller.ledger.redis_ledger import RedisLedger
from ucvm_agent.controller.ledger.sqlite_ledger import SQLiteLedger


@pytest.fixture
async def redis_server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    """A Redis of the test's own."""
    folder = tmp_path / "redis"
    folder.mkdir()
    async with RedisServer(folder) as server:
        yield server


@pytest.fixture(params=["sqlite", "redis"])
async def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Ledger]:
    """Each ledger in turn, open and empty."""
    if request.param == "sqlite":
        made: Ledger = SQLiteLedger(tmp_path / "ledger.db")
        await made.open()
        yield made
        await made.close()
        return
    folder = tmp_path / "redis"
    folder.mkdir()
    async with RedisServer(folder) as server:
        made = RedisLedger(SecretStr(server.url))
        await made.open()
        yield made
        await made.close()


Make = Callable[..., AbstractAsyncContextManager[Controller]]


@pytest.fixture
async def prosody(tmp_path: Path) -> AsyncIterator[Prosody]:
    """A server with a job manager, a monitor and agents."""
    folder = tmp_path / "prosody"
    folder.mkdir()
    users = ("jm", "mon", *(f"agent{number}" for number in range(1, 9)))
    async with Prosody(folder, dict.fromkeys(users, "pw")) as server:
        yield server


@pytest.fixture
def run_controller(prosody: Prosody, tmp_path: Path) -> Make:
    """Run controllers in this process; arguments are settings that differ."""

    @asynccontextmanager
    async def run(**changes: Any) -> AsyncIterator[Controller]:
        name = changes.setdefault("instance", "alpha")
        given = {"state_dir": tmp_path / name, "xmpp": account(prosody, "jm"), "http": {"listen": ""}} | changes
        async with running(given) as controller:
            yield controller

    return run
