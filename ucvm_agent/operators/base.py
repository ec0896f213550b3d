"""What operators can do with a machine, and who they are."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

import structlog

from ucvm_agent.errors import StoreError

log = structlog.get_logger()


class Machine(Protocol):
    """The machine, for its operators.

    Each call takes who wants it (a bare JID) and leaves an event that tells so, in the same transaction as what it
    does to the state. What it returns is for people to read.

    Raises:
        UcvmError: from each of them, mostly CommandRefused: it cannot be done; says why.
    """

    @property
    def takes_jobs(self) -> bool:
        """Whether it works for job managers at all."""

    @property
    def allows_shutdown(self) -> bool:
        """Whether operators may shut it down."""

    def job_ids(self) -> Sequence[str]:
        """Return the jobs that it has now."""

    async def status(self, who: str) -> str:
        """Tell the state and its reasons, as `ucvm-agent status` does."""

    async def jobs(self, who: str) -> str:
        """List the jobs that there are, and the last that there were."""

    async def tail(self, who: str, job_id: str, stream: str) -> str:
        """Return the end of what a job has written to `stdout` or `stderr`."""

    async def pause(self, who: str) -> str:
        """Take no more jobs until `resume`, or until the agent starts anew."""

    async def resume(self, who: str) -> str:
        """Take jobs again after `pause` or `drain`."""

    async def drain(self, who: str, reason: str) -> str:
        """Finish the jobs and take no more until `resume`, over restarts as well."""

    async def cancel(self, who: str, job_id: str) -> str:
        """End a job; its manager is told."""

    async def rehearse(self, who: str) -> str:
        """Look for user-data anew and return the plan that comes of it; nothing is changed."""

    async def recontextualize(self, who: str) -> str:
        """Carry out the plan that this operator was shown last."""

    async def shut_down(self, who: str) -> str:
        """Shut the machine down."""


class Accounts:
    """Who is an operator.

    Arguments:
        named: the accounts that the settings name, bare JIDs.
        controllers: who counts where they name none.
        must_sign: whether an account's word counts only with a signature, which no XMPP client can give: by such a
            controller's name an untrusted server could give orders that nobody has signed.
    """

    def __init__(self, named: Collection[str], controllers: Collection[str], must_sign: Callable[[str], bool]) -> None:
        self._named = frozenset(named)
        self._controllers = frozenset(controllers)
        self._must_sign = must_sign

    def allow(self, account: str) -> bool:
        """Return whether an account, a bare JID, is an operator's."""
        if self._named:
            return account in self._named
        try:
            return account in self._controllers and not self._must_sign(account)
        except StoreError as error:
            log.warning("an operator cannot be told from others", account=account, reason=str(error))
            return False
