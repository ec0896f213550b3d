"""Which source wins, and what is said when none does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from ucvm_agent.errors import SourceAbsent, SourceError, SourceRefused, SourceUnavailable
from ucvm_agent.sources.base import Candidate, Found, Source
from ucvm_agent.sources.find import find, worth_asking
from ucvm_agent.sources.machine import Machine

MACHINE = Machine()


class Site(Source):
    """A site's own source, as far as `find` sees it."""

    def __init__(self, name: str, rank: int = 100, likely: bool | None = None) -> None:
        self.name = name  # type: ignore[misc]  # one class stands for several sources here
        self.rank = rank  # type: ignore[misc]
        self.likely = likely
        self.asked = 0
        self.cancelled = False
        self.behave: Callable[[], Found] = lambda: Found(name, "", b"")
        self.wait: asyncio.Event | None = None

    def candidate(self, machine: Machine) -> Candidate:
        return Candidate(self.likely, "")

    async def fetch(self) -> Found:
        self.asked += 1
        try:
            if self.wait:
                await self.wait.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return self.behave()


def failing(name: str, error: Exception, times: int = 1000) -> Site:
    site = Site(name)
    answer = site.behave

    def behave() -> Found:
        if site.asked <= times:
            raise error
        return answer()

    site.behave = behave
    return site


def silent(name: str, rank: int = 100, likely: bool | None = None) -> Site:
    site = Site(name, rank, likely)
    site.wait = asyncio.Event()
    return site


async def test_black_hole_does_not_hold_up_the_one_that_answers() -> None:
    """The winner waits a tenth of a second for a better one; the losers are cancelled."""
    better, worse, winner = silent("better", 1), silent("worse", 99), Site("winner", 50)
    tasks = asyncio.all_tasks()
    async with asyncio.timeout(30):
        found = await find([better, worse, winner], MACHINE, 600)
    assert found.source == "winner"
    assert (better.cancelled, worse.cancelled) == (True, True)
    assert asyncio.all_tasks() == tasks


async def test_better_source_wins_if_it_answers_a_moment_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is preferred by its rank, and more than that by what the machine says."""
    monkeypatch.setattr("ucvm_agent.sources.find.WINDOW", 30.0)  # a busy test machine must not decide
    for better in (silent("better", rank=1), silent("better", rank=99, likely=True)):
        worse = Site("worse", rank=50)
        assert better.wait is not None
        asyncio.get_running_loop().call_later(0.02, better.wait.set)
        assert (await find([worse, better], MACHINE, 60)).source == "better"


async def test_failed_better_source_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing to be hoped from it, however long the window is."""
    monkeypatch.setattr("ucvm_agent.sources.find.WINDOW", 600.0)
    failed = failing("failed", SourceRefused("no"))
    failed.rank = 1  # type: ignore[misc]
    async with asyncio.timeout(30):
        assert (await find([failed, Site("winner")], MACHINE, 600)).source == "winner"


async def test_source_that_recovers_is_found() -> None:
    """Absent and unavailable ones are asked again, and whoever waits is told why."""
    told: list[str] = []
    source = failing("late", SourceUnavailable("not yet"), times=3)
    found = await find([source, failing("gone", SourceAbsent("never"))], MACHINE, 60, told.append)
    assert found.source == "late"
    assert told.count("late: not yet") == 3


async def test_crash_of_one_source_harms_no_other_and_tells_no_secret() -> None:
    """It counts as a refusal; where it crashed is logged, its text is not."""
    crashing = failing("crashing", KeyError("password=secret"))
    with capture_logs() as logs:
        assert (await find([crashing, Site("sound")], MACHINE, 60)).source == "sound"
        with pytest.raises(SourceRefused, match="crashed with KeyError"):
            await find([crashing], MACHINE, 60)
    assert [line["at"].partition(":")[0] for line in logs if line["log_level"] == "error"] == ["test_find.py"] * 2
    assert "secret" not in repr(logs)


async def test_deadline_names_each_source_with_its_reason() -> None:
    """Also those that have not said anything."""
    silence, error = silent("silence"), SourceRefused("go away", where="here")
    with pytest.raises(SourceUnavailable) as failed:
        await find([silence, failing("closed", error)], MACHINE, 0.1)
    assert "silence: no answer yet; closed: here: go away" in failed.value.message
    assert silence.cancelled


@pytest.mark.parametrize("error", [SourceAbsent("not here", hint="there"), SourceRefused("no")])
async def test_final_answers_end_the_search_before_the_deadline(error: SourceError) -> None:
    """If nobody has user-data and nobody ever will, waiting is of no use; a single reason is told as it is."""
    with pytest.raises(type(error)) as failed:
        await find([failing("only", error)], MACHINE, 60)
    assert failed.value is error
    with pytest.raises(type(error), match=r"one: .*; two: "):
        await find([failing("one", error), failing("two", SourceAbsent("x"))], MACHINE, 60)


def test_machine_orders_and_excludes_sources() -> None:
    """Likely ones first, then by rank, unlikely ones not at all, unless there is nothing else."""
    low, high, likely, unlikely = Site("low", 9), Site("high", 1), Site("likely", 50, True), Site("unlikely", 0, False)
    assert worth_asking([low, high, likely, unlikely], MACHINE) == [likely, high, low]
    assert worth_asking([unlikely], MACHINE) == [unlikely]


async def test_no_source_is_an_error_with_a_hint() -> None:
    """Settings may name none."""
    with pytest.raises(SourceAbsent) as absent:
        await find([], MACHINE, 60)
    assert absent.value.hint
