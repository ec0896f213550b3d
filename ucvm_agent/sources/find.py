"""Finding the source that answers, whatever the others do."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import structlog

from ucvm_agent.errors import SourceAbsent, SourceError, SourceRefused, SourceUnavailable, UcvmError
from ucvm_agent.sources.base import Candidate, Found, Source
from ucvm_agent.sources.machine import Machine

log = structlog.get_logger()

WINDOW = 0.1
"""Seconds that a better source gets after the first answer."""

Outcomes = asyncio.Queue[tuple[int, Found | SourceError]]
"""What each source answered; sources are numbered in the order of preference."""


async def find(
    sources: Sequence[Source],
    machine: Machine,
    deadline: float,
    on_wait: Callable[[str], None] | None = None,
) -> Found:
    """Ask all sources at the same time and return the best answer.

    The best is that of the source which comes first in `worth_asking`, of those that answer within `WINDOW`
    of each other. A source that is absent or unavailable is asked again until the deadline, one that refused is not.

    Arguments:
        deadline: seconds from now.
        on_wait: told the reason each time that a source has to be asked again.

    Raises:
        SourceAbsent, SourceRefused: no source will ever answer; raised without waiting for the deadline.
        SourceUnavailable: none answered in time; names each source with its reason.
    """
    asked = worth_asking(sources, machine)
    if not asked:
        raise SourceAbsent("there is no source to ask", hint="name one in sources.names, or use --user-data FILE")
    outcomes: Outcomes = asyncio.Queue()
    answers: dict[int, Found] = {}
    failures: dict[int, SourceError] = {}
    try:
        async with asyncio.timeout(deadline), asyncio.TaskGroup() as group:
            tasks = [group.create_task(_keep_asking(number, source, outcomes)) for number, source in enumerate(asked)]
            await _first_answer(asked, outcomes, answers, failures, on_wait)
            await _better_answers(outcomes, answers, failures)
            for task in tasks:
                task.cancel()
    except TimeoutError:
        if not answers:
            raise _none_in_time(asked, failures, deadline) from None
    if not answers:
        raise _none_at_all(asked, failures)
    return answers[min(answers)]


def worth_asking(sources: Sequence[Source], machine: Machine) -> list[Source]:
    """Return the sources that the machine does not speak against, the most promising first.

    Those that it speaks for come first, and then by rank. If it speaks against all, all are asked: its signs
    may be wrong, and there is nothing else to do.
    """
    candidates = [(_candidate(source, machine), source) for source in sources]
    for candidate, source in candidates:
        log.debug("a source was judged", source=source.name, likely=candidate.likely, why=candidate.why)
    worth = [(candidate, source) for candidate, source in candidates if candidate.likely is not False] or candidates
    return [source for _, source in sorted(worth, key=lambda pair: (pair[0].likely is not True, pair[1].rank))]


async def _first_answer(
    asked: Sequence[Source],
    outcomes: Outcomes,
    answers: dict[int, Found],
    failures: dict[int, SourceError],
    on_wait: Callable[[str], None] | None,
) -> None:
    """Wait until a source has answered, or all have said that they never will."""
    while not answers:
        number, outcome = await outcomes.get()
        if isinstance(outcome, Found):
            answers[number] = outcome
            return
        failures[number] = outcome
        log.debug("a source gave nothing", source=asked[number].name, reason=str(outcome))
        if len(failures) == len(asked) and not any(isinstance(e, SourceUnavailable) for e in failures.values()):
            return
        if on_wait and not isinstance(outcome, SourceRefused):
            on_wait(f"{asked[number].name}: {outcome}")


async def _better_answers(outcomes: Outcomes, answers: dict[int, Found], failures: Mapping[int, SourceError]) -> None:
    """Give those that would be preferred and have not failed yet a last chance."""
    pending = set(range(min(answers, default=0))) - set(failures)
    try:
        async with asyncio.timeout(WINDOW):
            while pending:
                number, outcome = await outcomes.get()
                pending.discard(number)
                if isinstance(outcome, Found):
                    answers[number] = outcome
                    pending = {better for better in pending if better < number}
    except TimeoutError:
        return


async def _keep_asking(number: int, source: Source, outcomes: Outcomes) -> None:
    async def ask() -> bool:
        outcome = await _ask(source)
        outcomes.put_nowait((number, outcome))
        return isinstance(outcome, Found | SourceRefused)

    if not await ask():
        # Loaded only now: a dry run of a local file has to start fast.
        from ucvm_agent.retry import keep_trying

        await keep_trying(ask)


async def _ask(source: Source) -> Found | SourceError:
    try:
        return await source.fetch()
    except SourceError as error:
        return error
    except UcvmError as error:
        return SourceRefused(error.message, where=error.where, hint=error.hint)
    except Exception as error:  # a third party's code runs here, and must not take the other sources with it
        return _crashed(source, error)


def _candidate(source: Source, machine: Machine) -> Candidate:
    try:
        return source.candidate(machine)
    except Exception as error:  # as above
        return Candidate(None, _crashed(source, error).message)


def _crashed(source: Source, error: Exception) -> SourceRefused:
    # Neither the error's text nor its traceback is logged: both may hold user-data or credentials.
    kind, frame = type(error).__name__, traceback.extract_tb(error.__traceback__)[-1]
    log.error("a source crashed", source=source.name, error=kind, at=f"{Path(frame.filename).name}:{frame.lineno}")
    return SourceRefused(f"it crashed with {kind}", hint="this is a bug of the source; please report it")


def _none_in_time(asked: Sequence[Source], failures: Mapping[int, SourceError], deadline: float) -> SourceUnavailable:
    reasons = _reasons(asked, failures)
    return SourceUnavailable(
        f"no source gave user-data within {deadline:g} s: {reasons}", hint="--log-level debug shows each request"
    )


def _none_at_all(asked: Sequence[Source], failures: Mapping[int, SourceError]) -> SourceError:
    if len(asked) == 1:
        return failures[0]
    refused = any(isinstance(failure, SourceRefused) for failure in failures.values())
    kind = SourceRefused if refused else SourceAbsent
    return kind(f"no source has user-data: {_reasons(asked, failures)}")


def _reasons(asked: Sequence[Source], failures: Mapping[int, SourceError]) -> str:
    return "; ".join(f"{source.name}: {failures.get(i, 'no answer yet')}" for i, source in enumerate(asked))
