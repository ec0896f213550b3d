"""Trying a request again after a fault that may pass; one policy for everything that leaves the machine.

The numbers are those of references/clouds.md ("Ours, unless a source says otherwise"): at most 1, 2, 4, 5, 5 …
seconds, with jitter, so that a fleet that was started by one command does not ask in step.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from ucvm_agent.backoff import Backoff
from ucvm_agent.errors import UcvmError

log = structlog.get_logger()

T = TypeVar("T")

TRIES = 10
"""Most tries of one request."""
FIRST_WAIT = 1.0
"""Longest wait before the second try, in seconds; that before each later one is twice as long."""
LONGEST_WAIT = 5.0
"""Seconds that no wait exceeds."""


def waits() -> Backoff:
    """Return the waiting times between the tries of one request."""
    return Backoff(first=FIRST_WAIT, limit=LONGEST_WAIT)


async def retry(
    call: Callable[[], Awaitable[T]], *, on: type[Exception] | tuple[type[Exception], ...], tries: int = TRIES
) -> T:
    """Return what `call` returns; if it raises an error of `on`, wait and call it again.

    Arguments:
        on: errors after which trying again may help; any other is raised at once.
        tries: after so many the last error is raised.
    """
    backoff = waits()
    while True:
        try:
            return await call()
        except on as error:
            if backoff.failures + 1 >= tries:
                raise
            # The text of an error that is not ours may quote a secret.
            reason = str(error) if isinstance(error, UcvmError) else type(error).__name__
        seconds = backoff.next()
        log.debug("trying again", reason=reason, tries=backoff.failures, seconds=round(seconds, 2))
        await asyncio.sleep(seconds)
