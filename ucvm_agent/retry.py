"""How long the agent waits before it tries something again; one policy for everything that leaves the machine.

The numbers are those of references/clouds.md ("Ours, unless a source says otherwise"): 1, 2, 4, 5, 5 … seconds,
with jitter, so that a fleet that was started by one command does not ask in step.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import structlog

from ucvm_agent.errors import UcvmError

if TYPE_CHECKING:
    from stamina.instrumentation import RetryDetails

log = structlog.get_logger()

T = TypeVar("T")

TRIES = 10
"""Most tries of one request."""
FIRST_WAIT = 1.0
"""Seconds before the second try; each later wait is twice as long."""
LONGEST_WAIT = 5.0
"""Seconds that no wait exceeds, jitter included."""
JITTER = 0.5
"""Most seconds that are added by chance."""


async def retry(
    call: Callable[[], Awaitable[T]], *, on: type[Exception] | tuple[type[Exception], ...], tries: int | None = TRIES
) -> T:
    """Return what `call` returns; if it raises an error of `on`, wait and call it again.

    Arguments:
        on: errors after which trying again may help; any other is raised at once.
        tries: after so many the last error is raised; None tries until the caller's deadline cancels it.
    """
    import stamina

    # stamina's own hook logs a warning with the arguments of the call, secrets among them.
    stamina.instrumentation.set_on_retry_hooks([_log_retry])
    caller = stamina.AsyncRetryingCaller(
        attempts=tries, timeout=None, wait_initial=FIRST_WAIT, wait_max=LONGEST_WAIT, wait_jitter=JITTER
    )
    return await caller(on, call)


def _log_retry(details: RetryDetails) -> None:
    cause = details.caused_by
    reason = str(cause) if isinstance(cause, UcvmError) else type(cause).__name__
    log.debug("trying again", reason=reason, tries=details.retry_num, seconds=round(details.wait_for, 2))
