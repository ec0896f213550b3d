"""The controllers as a source; tests/assignment/test_controllers.py asks real ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from ucvm_agent.errors import SourceAbsent, SourceUnavailable
from ucvm_agent.sources.asker import Assignment
from ucvm_agent.sources.machine import Machine
from ucvm_agent.sources.xmpp import Source


class Silent:
    """Controllers that have nothing."""

    async def ask(self) -> Assignment:
        raise SourceUnavailable("no controller offers a context")

    async def news(self) -> None:
        await asyncio.Event().wait()

    async def pushes(self) -> AsyncIterator[Assignment]:
        nothing: tuple[Assignment, ...] = ()
        for assignment in nothing:
            yield assignment


async def test_without_controllers_there_is_nobody_to_ask() -> None:
    """The hint says what to set."""
    source = Source()
    assert source.candidate(Machine()).likely is False
    with pytest.raises(SourceAbsent, match=r"set xmpp[.]jid and xmpp[.]controllers"):
        await source.fetch()


async def test_silent_controllers_are_waited_for_only_if_the_source_is_named() -> None:
    """Controllers that are there for reports only must not hold up a boot."""
    source = Source()
    source.asker = Silent()
    assert source.candidate(Machine()).likely is None
    with pytest.raises(SourceAbsent):
        await source.fetch()
    source.detected = True
    with pytest.raises(SourceUnavailable):
        await source.fetch()
