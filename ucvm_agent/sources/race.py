"""Sources that are asked at the same time: the best of those that answer wins, whatever the others do."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from ucvm_agent.errors import SourceError, SourceRefused, SourceUnavailable, UcvmError
from ucvm_agent.sources.base import Found, Source

log = structlog.get_logger()

WINDOW = 0.05
"""Seconds that a better source gets after the first answer, …"""
REACHED_WINDOW = 2.0
"""… and that one gets which has been reached and is only slower; one cloud often speaks two dialects, and which of
them wins must not change from boot to boot, since it decides about the instance-id."""
GRACE = 0.03
"""Seconds that a cancelled source gets to clean up before it is left to itself."""

_stragglers: set[asyncio.Task[Any]] = set()


class Race:
    """One search among some sources.

    Arguments:
        sources: the most preferred one first.
        on_wait: told the reason each time that a source has to be asked again.

    Attributes:
        failures: what each source said last, by its place in `sources`.
    """

    def __init__(self, sources: Sequence[Source], on_wait: Callable[[str], None] | None = None) -> None:
        self.sources = sources
        self.failures: dict[int, SourceError] = {}
        self._on_wait = on_wait
        self._answers: dict[int, Found] = {}
        self._tasks: list[asyncio.Task[Any]] = []
        self._being_asked: set[int] = set()
        self._outcomes: asyncio.Queue[tuple[int, Found | SourceError]] = asyncio.Queue()

    async def run(self, seconds: float) -> Found | None:
        """Return the best answer, or None: either nobody will ever answer, or nobody did in so many seconds.

        A source that is absent or unavailable is asked again until the end, one that refused is not.
        """
        self._tasks = [
            asyncio.create_task(self._keep_asking(number), name=source.name)
            for number, source in enumerate(self.sources)
        ]
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._first_answer()
                    await self._better_answers()
        finally:
            await end(self._tasks)
        return self._answers[min(self._answers)] if self._answers else None

    @property
    def over(self) -> bool:
        """Whether each source has said that it will never answer."""
        errors = self.failures.values()
        return len(errors) == len(self.sources) and not any(isinstance(error, SourceUnavailable) for error in errors)

    @property
    def reasons(self) -> list[str]:
        """Each source with what it said last."""
        return [f"{source.name}: {self.failures.get(i, 'no answer yet')}" for i, source in enumerate(self.sources)]

    async def _first_answer(self) -> None:
        while not self._answers and not self.over:
            number = await self._next()
            error = self.failures.get(number)
            if error and self._on_wait and not self.over and not isinstance(error, SourceRefused):
                self._on_wait(f"{self.sources[number].name}: {error}")

    async def _better_answers(self) -> None:
        # An answer to one tells that the network is up: those that sleep after a failure get a last try.
        for number in self._pending() - self._being_asked:
            self._tasks[number].cancel()
            self._tasks[number] = asyncio.create_task(self._ask(number), name=self.sources[number].name)
        with suppress(TimeoutError):
            async with asyncio.timeout(WINDOW):
                while self._pending():
                    await self._next()
        with suppress(TimeoutError):
            async with asyncio.timeout(REACHED_WINDOW):
                while any(self.sources[number].reached for number in self._pending()):
                    await self._next()

    def _pending(self) -> set[int]:
        """Return the sources that would be preferred to the best answer, and may still answer."""
        return {number for number in range(min(self._answers, default=0)) if not self._tasks[number].done()}

    async def _next(self) -> int:
        number, outcome = await self._outcomes.get()
        if isinstance(outcome, Found):
            self._answers[number] = outcome
            self.failures.pop(number, None)
        else:
            self.failures[number] = outcome
            log.debug("a source gave nothing", source=self.sources[number].name, reason=str(outcome))
        return number

    async def _keep_asking(self, number: int) -> None:
        if not await self._ask(number):
            # Loaded only now: a dry run of a local file has to start fast.
            from ucvm_agent.network.retry import keep_trying

            await keep_trying(partial(self._ask, number))

    async def _ask(self, number: int) -> bool:
        """Ask once, and return whether that was the last word."""
        self._being_asked.add(number)
        try:
            outcome = await ask(self.sources[number])
        finally:
            self._being_asked.discard(number)
        self._outcomes.put_nowait((number, outcome))
        return isinstance(outcome, Found | SourceRefused)


async def ask(source: Source) -> Found | SourceError:
    """Return what the source answers, or why it does not; nothing that it does is raised."""
    try:
        return await source.fetch()
    except SourceError as error:
        return error
    except UcvmError as error:
        return SourceRefused(error.message, where=error.where, hint=error.hint)
    except Exception as error:  # a third party's code runs here, and must not take the other sources with it
        return crashed(source, error)


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks and let them clean up, but wait for none that ignores it."""
    running = {task for task in tasks if not task.done()}
    for task in running:
        task.cancel()
    if not running:
        return
    _, stubborn = await asyncio.wait(running, timeout=GRACE)
    for task in stubborn:
        log.warning("a source does not end when it is cancelled", task=task.get_name())
        _stragglers.add(task)  # the loop itself keeps no hold on it
        task.add_done_callback(_stragglers.discard)


def crashed(source: Source, error: Exception) -> SourceRefused:
    """Return what a bug of a source counts as, and log where it is.

    Neither the error's text nor its traceback is told: both may hold user-data or credentials.
    """
    kind, frame = type(error).__name__, traceback.extract_tb(error.__traceback__)[-1]
    log.error("a source crashed", source=source.name, error=kind, at=f"{Path(frame.filename).name}:{frame.lineno}")
    return SourceRefused(f"it crashed with {kind}", hint="this is a bug of the source; please report it")
