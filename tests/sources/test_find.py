"""Which source wins, and what is said when none does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import pytest
from structlog.testing import capture_logs

from ucvm_agent.errors import SourceAbsent, SourceError, SourceRefused, SourceUnavailable
from ucvm_agent.sources.base import Candidate, Found, Source
from ucvm_agent.sources.find import find, find_local, judge, tiers
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
    monkeypatch.setattr("ucvm_agent.sources.race.WINDOW", 30.0)  # a busy test machine must not decide
    for better in (silent("better", rank=1), silent("better", rank=99, likely=True)):
        worse = Site("worse", rank=50)
        assert better.wait is not None
        asyncio.get_running_loop().call_later(0.02, better.wait.set)
        assert (await find([worse, better], MACHINE, 60)).source == "better"


async def test_failed_better_source_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing to be hoped from it, however long the window is."""
    monkeypatch.setattr("ucvm_agent.sources.race.WINDOW", 600.0)
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


def names(sources: list[Site], machine: Machine = MACHINE, *, chosen: bool = False) -> list[list[str]]:
    """Return the names of the sources that are asked, tier by tier."""
    return [[each.source.name for each in tier] for tier in tiers(judge(sources, machine, chosen=chosen))]


def sites() -> list[Site]:
    return [Site("low", 9), Site("high", 1), Site("likely", 50, True), Site("unlikely", 0, False)]


def test_machine_orders_and_excludes_sources() -> None:
    """Likely ones before all others, then by rank, unlikely ones not at all."""
    sources = sites()
    assert names(sources) == [["likely"], ["high", "low"]]
    assert [source.name for source in sources if source.detected] == ["likely"]
    assert names([Site("unlikely", 0, False)]) == []


def test_chosen_sources_are_asked_as_they_are_given() -> None:
    """Whatever the machine says, and in that order; all are waited for."""
    sources = sites()
    assert names(sources, chosen=True) == [["low", "high", "likely", "unlikely"]]
    assert all(source.detected for source in sources)


@pytest.mark.parametrize("parameter", ["ds=unlikely", "quiet ci.ds=Unlikely;s=x", "ignition.platform.id=unlikely"])
def test_the_kernel_command_line_beats_all_signs(parameter: str) -> None:
    """Only the source that it names is asked; one that does not exist is no reason to ask nobody."""
    machine = Machine(kernel_command_line=parameter)
    assert names(sites(), machine) == [["unlikely"]]
    assert names(sites(), Machine(kernel_command_line="ds=None")) == names(sites())
    assert names(sites(), machine, chosen=True) == names(sites(), chosen=True)


@pytest.mark.parametrize(("platform", "source"), [("aws", "ec2"), ("gcp", "gce"), ("vmware", "vsphere")])
def test_the_names_that_others_have_for_a_platform_are_understood(platform: str, source: str) -> None:
    """Those of Ignition and Afterburn."""
    assert Machine(kernel_command_line=f"ignition.platform.id={platform}").named_source == source


async def test_the_undetected_are_asked_if_the_detected_has_nothing() -> None:
    """A firmware that says VMware may belong to a cloud that says no more than that."""
    empty, other = failing("empty", SourceAbsent("nothing set")), Site("other")
    empty.likely = True
    assert (await find([empty, other], MACHINE, 60)).source == "other"
    assert empty.asked == 1


async def test_the_undetected_are_left_alone_while_the_detected_may_still_answer() -> None:
    """However long that takes."""
    late, other = failing("late", SourceUnavailable("not yet"), times=5), Site("other")
    late.likely = True
    assert (await find([late, other], MACHINE, 60)).source == "late"
    assert other.asked == 0


async def test_source_that_has_been_reached_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """One cloud speaks two dialects: the better one wins although it takes longer, or the instance-id would change."""
    monkeypatch.setattr("ucvm_agent.sources.race.WINDOW", 0.01)
    slow, quick = silent("slow", rank=1), Site("quick", rank=50)
    slow.reached = True
    assert slow.wait is not None
    asyncio.get_running_loop().call_later(0.1, slow.wait.set)
    assert (await find([slow, quick], MACHINE, 60)).source == "slow"


async def test_better_source_that_failed_before_the_network_was_up_gets_its_chance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It does not sleep through the moment in which another one is answered."""
    monkeypatch.setattr("ucvm_agent.network.retry.FIRST_WAIT", 600.0)
    better, worse = failing("better", SourceUnavailable("no route"), times=1), silent("worse", rank=200)
    assert worse.wait is not None
    asyncio.get_running_loop().call_later(0.05, worse.wait.set)
    async with asyncio.timeout(30):
        assert (await find([better, worse], MACHINE, 600)).source == "better"


async def test_source_that_ignores_its_cancellation_holds_nobody_up() -> None:
    """Neither the winner nor the deadline; that it goes on is logged."""
    over = asyncio.Event()

    class Stubborn(Site):
        async def fetch(self) -> Found:
            while not over.is_set():
                with suppress(asyncio.CancelledError):
                    await over.wait()
            return await super().fetch()

    with capture_logs() as logs:
        async with asyncio.timeout(30):
            assert (await find([Stubborn("stubborn", 1), Site("winner", 50)], MACHINE, 600)).source == "winner"
            with pytest.raises(SourceUnavailable):
                await find([Stubborn("stubborn")], MACHINE, 0.1)
    assert [line["task"] for line in logs if line["log_level"] == "warning"] == ["stubborn", "stubborn"]
    over.set()
    await asyncio.sleep(0)


async def test_no_source_is_an_error_with_a_hint() -> None:
    """Settings may name none."""
    with pytest.raises(SourceAbsent) as absent:
        await find([], MACHINE, 60)
    assert absent.value.hint


def here(name: str, rank: int, likely: bool | None = None) -> Site:
    """Return a source that needs no network."""
    site = Site(name, rank, likely)
    site.local = True
    return site


def broken(site: Site, error: SourceError) -> Site:
    def fail() -> Found:
        raise error

    site.behave = fail
    return site


@pytest.mark.parametrize(
    ("contestants", "winner"),
    [
        ([here("disk", 20), Site("cloud", 50)], "disk"),
        ([Site("cloud", 10), here("disk", 20)], None),
        ([here("disk", 20), Site("cloud", 50, likely=True)], None),
        ([here("disk", 90, likely=True), Site("cloud", 10)], "disk"),
        ([broken(here("disk", 20), SourceAbsent("no")), Site("cloud", 50)], None),
        ([broken(here("disk", 20), SourceAbsent("no")), here("other", 30), Site("cloud", 50)], "other"),
        ([broken(here("disk", 20, likely=True), SourceAbsent("no")), here("other", 30)], "other"),
        ([broken(here("disk", 20, likely=True), SourceUnavailable("not yet")), here("other", 30)], None),
        ([broken(here("disk", 20), SourceRefused("no")), Site("cloud", 50)], None),
        ([], None),
    ],
)
async def test_without_a_network_only_a_sure_winner_is_taken(
    contestants: list[Source], winner: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the search with a network would prefer must not show later; the network is never asked."""
    monkeypatch.setattr("ucvm_agent.sources.find.LOCAL_SECONDS", 0.2)
    found = await find_local(contestants, MACHINE)
    assert (found.source if found else None) == winner
    assert not any(site.asked for site in contestants if isinstance(site, Site) and not site.local)
    if winner is not None:
        assert (await find(contestants, MACHINE, 60)).source == winner
