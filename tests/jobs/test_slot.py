"""A slot between having no job and asking for one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ucvm_agent.jobs.slot import Slot
from ucvm_agent.jobs.workshop import Workshop
from ucvm_agent.settings import Jobs, Transfer
from ucvm_agent.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store without jobs."""
    with closing(Store(tmp_path / "state.db", "boot")) as store:
        yield store


class Desk:
    """Notes what a slot wants of it; a job never comes."""

    def __init__(self) -> None:
        self.wanted: asyncio.Queue[str] = asyncio.Queue()

    async def settle(self, slot: int) -> None:
        self.wanted.put_nowait("settle")

    async def fetch(self, slot: int) -> None:
        self.wanted.put_nowait("fetch")
        await asyncio.get_running_loop().create_future()


async def test_a_drain_just_before_the_question(store: Store, tmp_path: Path) -> None:
    """No job is asked for, although there was no question yet that could have been stopped."""
    gate = asyncio.Event()
    gate.set()

    class Drained(Workshop):
        def check(self, slot: int) -> None:
            gate.clear()

    desk, settings = Desk(), Jobs()
    workshop = Drained(settings, tmp_path / "work", Transfer())
    slot = Slot(
        1,
        cast("Any", SimpleNamespace(settings=settings)),
        cast("Any", desk),
        cast("Any", None),
        store,
        workshop,
        lambda: None,
    )
    running = asyncio.create_task(slot.run(gate))
    async with asyncio.timeout(30):
        assert [await desk.wanted.get(), await desk.wanted.get()] == ["settle", "settle"]
    running.cancel()
    await asyncio.wait([running])
