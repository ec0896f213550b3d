"""A store with an outbox, a Prosody with a controller, and a controller by HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.servers.prosody import Prosody
from ucvm_agent.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """The state of a VM."""
    store = Store(tmp_path / "state.db", "boot-1")
    yield store
    store.close()


@pytest.fixture
async def prosody(tmp_path: Path) -> AsyncIterator[Prosody]:
    """A server with an agent, a job manager and a monitor."""
    folder = tmp_path / "prosody"
    folder.mkdir()
    async with Prosody(folder, {"agent": "pw", "jm": "pw", "mon": "pw"}) as server:
        yield server
