"""Ledgers of both kinds, and controllers on a real Prosody."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.servers.redis import RedisServer
from ucvm_agent.controller.base import Ledger
from ucvm_agent.controller.redis_ledger import RedisLedger
from ucvm_agent.controller.sqlite_ledger import SQLiteLedger


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
