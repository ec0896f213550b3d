"""When something is tried again, and how long the waits are."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from ucvm_agent.errors import SourceRefused, SourceUnavailable
from ucvm_agent.network.retry import retry


async def test_success_ends_the_tries_and_each_wait_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log gives the reason of an error of ours, and only the kind of any other."""
    errors: list[Exception] = [SourceUnavailable("not yet", where="here"), OSError("password")]

    async def call() -> str:
        if errors:
            raise errors.pop(0)
        return "done"

    monkeypatch.setattr("ucvm_agent.network.retry.FIRST_WAIT", 0.0)
    with capture_logs() as logs:
        assert await retry(call, on=(SourceUnavailable, OSError)) == "done"
    assert [(line["reason"], line["tries"]) for line in logs] == [("here: not yet", 1), ("OSError", 2)]


async def test_other_errors_are_raised_at_once_and_lasting_ones_after_all_tries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The last error is raised as it is."""
    calls = 0

    async def call() -> None:
        nonlocal calls
        calls += 1
        raise SourceRefused("no")

    monkeypatch.setattr("ucvm_agent.network.retry.FIRST_WAIT", 0.0)
    with pytest.raises(SourceRefused):
        await retry(call, on=SourceUnavailable)
    assert calls == 1
    with pytest.raises(SourceRefused):
        await retry(call, on=SourceRefused, tries=4)
    assert calls == 5


async def test_waits_grow_to_five_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most 1, 2, 4, 5, 5 … seconds, and at least the half of it."""
    waits: list[float] = []

    async def note(seconds: float) -> None:
        waits.append(seconds)

    async def call() -> None:
        raise SourceUnavailable("no")

    monkeypatch.setattr(asyncio, "sleep", note)
    with pytest.raises(SourceUnavailable):
        await retry(call, on=SourceUnavailable, tries=6)
    assert all(most / 2 <= wait <= most for most, wait in zip((1, 2, 4, 5, 5), waits, strict=True))
