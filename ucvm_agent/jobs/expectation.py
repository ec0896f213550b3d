"""What is waited for in a conversation with managers, and from whom."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from ucvm_agent.copilot.messages import Message
from ucvm_agent.copilot.stanza import bare

M = TypeVar("M", bound=Message)

MOST_ANSWERS = 32
"""Answers that are kept until they are looked at; whoever floods us has the rest dropped."""


def fits(sender: str, expected: str) -> bool:
    """Return whether a sender is who was asked: this full JID, or any resource of this bare one."""
    return expected in ("", sender, bare(sender))


@dataclass(slots=True)
class Expectation(Generic[M]):
    """Answers of one kind.

    Arguments:
        sender: who was asked, a full or a bare JID; empty = anybody who may answer.
    """

    kind: type[M]
    sender: str = ""
    _answers: asyncio.Queue[tuple[str, M] | None] = field(default_factory=lambda: asyncio.Queue(MOST_ANSWERS))

    async def answer(self) -> tuple[str, M] | None:
        """Return the next answer and who gave it; None when a manager has ended the conversation."""
        return await self._answers.get()

    def take(self, sender: str, message: Message) -> bool:
        """Take an answer that is waited for; False if it is another one's."""
        if not isinstance(message, self.kind) or not fits(sender, self.sender) or self._answers.full():
            return False
        self._answers.put_nowait((sender, message))
        return True

    def end(self) -> None:
        """End the conversation."""
        if not self._answers.full():
            self._answers.put_nowait(None)


class Expectations:
    """All that is waited for now."""

    def __init__(self) -> None:
        self._each: list[Expectation[Message]] = []

    @contextmanager
    def expect(self, kind: type[M], sender: str = "") -> Iterator[Expectation[M]]:
        """Take answers of this kind until the block is left."""
        expectation = Expectation(kind, sender)
        self._each.append(expectation)  # type: ignore[arg-type]  # it only takes what is of its kind
        try:
            yield expectation
        finally:
            self._each.remove(expectation)  # type: ignore[arg-type]  # the same

    def take(self, sender: str, message: Message) -> bool:
        """Give an answer to who waits for it; False if nobody does."""
        return any(expectation.take(sender, message) for expectation in self._each)

    def end(self, sender: str = "", kind: type[Message] = Message) -> None:
        """End the waiting for answers of a kind that this sender may give; without one, that anybody may give."""
        for expectation in self._each:
            if issubclass(expectation.kind, kind) and (not sender or fits(sender, expectation.sender)):
                expectation.end()

    def redirect(self, sender: str, referral: str) -> None:
        """Wait for another one's answer where this sender's was waited for."""
        for expectation in self._each:
            if expectation.sender and fits(sender, expectation.sender):
                expectation.sender = referral
