"""Finding the source that answers: the machine's signs narrow the choice, a race decides.

References/clouds.md, section 1: what the settings or the kernel command line name beats all signs; a detected
platform is the only one that is asked, unless it has nothing; where nothing is detected, all are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from operator import attrgetter

import structlog

from ucvm_agent.errors import SourceAbsent, SourceError, SourceRefused, SourceUnavailable
from ucvm_agent.sources.base import Candidate, Found, Source
from ucvm_agent.sources.machine import Machine
from ucvm_agent.sources.race import Race, crashed

log = structlog.get_logger()

LOCAL_SECONDS = 5.0
"""How long `find_local` waits: the boot waits for it."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A source, and what the machine says of it."""

    source: Source
    candidate: Candidate


async def find(
    sources: Sequence[Source],
    machine: Machine,
    deadline: float,
    on_wait: Callable[[str], None] | None = None,
    *,
    chosen: bool = False,
) -> Found:
    """Return the best answer of the first tier that has one; see `tiers` and `Race`.

    Arguments:
        deadline: seconds from now.
        on_wait: told the reason each time that a source has to be asked again.
        chosen: a person chose the sources, so all are asked, in the order given.

    Raises:
        SourceAbsent, SourceRefused: no source will ever answer; raised without waiting for the deadline.
        SourceUnavailable: none answered in time; names each source with its reason.
    """
    clock = asyncio.get_running_loop().time
    ends = clock() + deadline
    try:
        # In a thread and with a bound, since a sign may be on a medium that spins up.
        async with asyncio.timeout(deadline):
            contenders = await asyncio.to_thread(judge, sources, machine, chosen=chosen)
    except TimeoutError:
        raise SourceUnavailable(f"the machine's signs could not be read within {deadline:g} s") from None
    races: list[Race] = []
    for tier in tiers(contenders):
        races.append(Race([contender.source for contender in tier], on_wait))
        if found := await races[-1].run(ends - clock()):
            return found
        if not races[-1].over:
            raise SourceUnavailable(
                f"no source gave user-data within {deadline:g} s: {_reasons(races)}",
                hint="`ucvm-agent sources` shows each of them",
            )
    raise _none_at_all(races)


async def find_local(sources: Sequence[Source], machine: Machine, *, chosen: bool = False) -> Found | None:
    """Return what `find` would return whatever a network brings; None if that does not show without one.

    Asked are the sources that need no network, up to the first that needs one.

    Arguments:
        chosen: as for `find`.
    """
    for tier in tiers(await asyncio.to_thread(judge, sources, machine, chosen=chosen)):
        local = list(takewhile(attrgetter("local"), (contender.source for contender in tier)))
        race = Race(local)
        if found := await race.run(LOCAL_SECONDS):
            return found
        if not race.over or len(local) < len(tier):
            break
    return None


def judge(sources: Sequence[Source], machine: Machine, *, chosen: bool = False) -> list[Contender]:
    """Return all sources with what the machine, or the person who chose them, says; the most promising first.

    Each source is told whether it is `detected`.
    """
    named = machine.named_source if not chosen else ""
    if named not in {source.name for source in sources}:
        named = ""
    contenders = []
    for source in sources:
        candidate = _candidate(source, machine)
        if chosen:
            candidate = Candidate(True, f"it is named; {candidate.why}" if candidate.why else "it is named")
        elif named:
            candidate = Candidate(source.name == named, f"the kernel command line names {named}")
        source.detected = candidate.likely is True
        log.debug("a source was judged", source=source.name, likely=candidate.likely, why=candidate.why)
        contenders.append(Contender(source, candidate))
    if chosen:
        return contenders
    order = (True, None, False)
    return sorted(contenders, key=lambda each: (order.index(each.candidate.likely), each.source.rank))


def tiers(contenders: Sequence[Contender]) -> list[list[Contender]]:
    """Return the sources to ask, in groups: first those that the machine speaks for, then those it is silent about.

    Those that it speaks against are in none.
    """
    groups = [[each for each in contenders if each.candidate.likely is likely] for likely in (True, None)]
    return [group for group in groups if group]


def _candidate(source: Source, machine: Machine) -> Candidate:
    try:
        return source.candidate(machine)
    except Exception as error:  # a third party's code runs here, and must not take the other sources with it
        return Candidate(None, crashed(source, error).message)


def _none_at_all(races: Sequence[Race]) -> SourceError:
    failures = [failure for race in races for failure in race.failures.values()]
    if not failures:
        return SourceAbsent("there is no source to ask", hint="name one in sources.names, or use --user-data FILE")
    if len(failures) == 1:
        return failures[0]
    refused = any(isinstance(failure, SourceRefused) for failure in failures)
    kind = SourceRefused if refused else SourceAbsent
    return kind(f"no source has user-data: {_reasons(races)}")


def _reasons(races: Sequence[Race]) -> str:
    return "; ".join(reason for race in races for reason in race.reasons)
