"""Trying again after a fault that may pass: the policies of everything that leaves the machine.

The numbers are those of references/clouds.md ("Ours, unless a source says otherwise"): at most 1, 2, 4, 5, 5 …
seconds between requests, and up to 5 minutes while a controller is away.

Importing it loads tenacity, so import it where something may fail, not where it has not failed yet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from operator import not_
from typing import TypeVar

import structlog
import tenacity

from ucvm_agent.errors import UcvmError

log = structlog.get_logger()

T = TypeVar("T")

TRIES = 10
"""Most tries of one request."""
FIRST_WAIT = 1.0
"""Longest wait before the second try, in seconds; that before each later one is twice as long, …"""
LONGEST_WAIT = 5.0
"""… but no longer than so many seconds between requests, …"""
LONGEST_ABSENCE = 300.0
"""… and than so many where a controller or its server is away."""


def waits(first: float, longest: float) -> tenacity.wait.wait_base:
    """Return waiting times that double from try to try, each drawn from the upper half of its range.

    The jitter keeps a fleet that was started, or lost its controller, at one moment from asking in step.

    Arguments:
        first: longest wait after the first failure, in seconds.
        longest: longest wait ever, in seconds.
    """
    return tenacity.wait_exponential(first / 2, longest / 2) + tenacity.wait_random_exponential(first / 2, longest / 2)


AWAY = waits(FIRST_WAIT, LONGEST_ABSENCE)
"""Waiting times while a controller or its server is away."""


async def retry(
    call: Callable[[], Awaitable[T]], *, on: type[Exception] | tuple[type[Exception], ...], tries: int = TRIES
) -> T:
    """Return what `call` returns; if it raises an error of `on`, wait and call it again.

    Arguments:
        on: errors after which trying again may help; any other is raised at once.
        tries: after so many the last error is raised.
    """

    async def attempt() -> T:
        return await call()

    return await tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type(on),
        stop=tenacity.stop_after_attempt(tries),
        wait=waits(FIRST_WAIT, LONGEST_WAIT),
        before_sleep=_log_wait,
        reraise=True,
    )(attempt)


async def keep_trying(call: Callable[[], Coroutine[object, object, bool]]) -> None:
    """Wait and then call, again and again, until the call returns True: what goes on after a first failure."""
    wait = waits(FIRST_WAIT, LONGEST_WAIT)

    async def pause(state: tenacity.RetryCallState) -> None:
        await asyncio.sleep(wait(state))

    await tenacity.AsyncRetrying(retry=tenacity.retry_if_result(not_), before=pause)(call)


def _log_wait(state: tenacity.RetryCallState) -> None:
    error = state.outcome and state.outcome.exception()
    # The text of an error that is not ours may quote a secret.
    reason = str(error) if isinstance(error, UcvmError) else type(error).__name__
    log.debug("trying again", reason=reason, tries=state.attempt_number, seconds=round(state.upcoming_sleep, 2))
