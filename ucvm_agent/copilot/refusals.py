"""The accounts whose orders are refused for what only a person can mend: their key is another one now, or their clock.

A log alone would not tell anybody who looks at a machine why it does nothing that it is told.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ucvm_agent.errors import MessageRefused, StoreError

if TYPE_CHECKING:
    from ucvm_agent.copilot.memory import Memory


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Why the last order of an account was refused, and what was remembered of the account then."""

    reason: str
    known: tuple[str, float]


class Refusals:
    """Those of one `Verifier`.

    Arguments:
        memory: what it goes by.

    Attributes:
        changed: called when `reason` is another one.
    """

    def __init__(self, memory: Memory) -> None:
        self.changed: Callable[[], None] = lambda: None
        self._memory = memory
        self._refusals: dict[str, _Refusal] = {}

    @property
    def reason(self) -> str:
        """Whose orders are refused, and what to do about it, for people; empty if there is nobody."""
        return "; ".join(refusal.reason for refusal in self._refusals.values())

    def note(self, account: str, error: MessageRefused) -> None:
        """Take note of an order that was refused; it counts if the error says what a person can do.

        Raises:
            StoreError: it cannot be found out what is remembered of the account.
        """
        if error.hint:
            reason = f"an order of {account} is refused: {error.message} ({error.hint})"
            self._replace(self._refusals | {account: _Refusal(reason, self._known(account))})

    def settle(self, account: str) -> None:
        """Take note of an order that counts."""
        self._replace({other: refusal for other, refusal in self._refusals.items() if other != account})

    def look(self) -> None:
        """See whether a key was forgotten meanwhile, which another process does; if nobody can tell, it was not."""
        with suppress(StoreError):
            left = {one: refusal for one, refusal in self._refusals.items() if refusal.known == self._known(one)}
            self._replace(left)

    def _known(self, account: str) -> tuple[str, float]:
        return self._memory.key(account), self._memory.newest(account)

    def _replace(self, refusals: dict[str, _Refusal]) -> None:
        before = self.reason
        self._refusals = refusals
        if self.reason != before:
            self.changed()
