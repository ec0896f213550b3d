"""Sending again what has not been acknowledged yet (references/copilot-protocol.md, section 1.5)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import structlog

from ucvm_agent.copilot.stanza import bare
from ucvm_agent.errors import DeliveryDelayed, StoreError
from ucvm_agent.store.letters import AT_ONCE, Letter, LetterQueue

log = structlog.get_logger()

GRACE_SECONDS = 60.0
"""The schedule begins so long after a letter was written: …"""
UNIT_SECONDS = 10.0
"""… it is sent again after 1, 2, 4, 8, … times this, …"""
KEPT_SECONDS = 86_400.0
"""… and after so long no more."""

BATCH = 50
"""Letters that go out between two looks at what else there is to do."""

LONGEST_WAIT = 600.0
"""Seconds until the letters are looked at again whatever they say, since the clock may have been set."""

STORE_SECONDS = 60.0
"""Seconds until the next try after the store has failed: the disk may be full."""


class Resending:
    """What goes out of the letters, and when.

    A letter is given up only some time after a sending in the present session: not because the machine was away
    for a day, nor because its clock was set.

    Arguments:
        letters: where they are kept.
        transmit: sends one; raises DeliveryDelayed while there is no connection.
        clock: epoch seconds.
    """

    def __init__(self, letters: LetterQueue, transmit: Callable[[Letter], None], clock: Callable[[], float]) -> None:
        self._letters = letters
        self._transmit = transmit
        self._clock = clock
        self._news = asyncio.Event()
        self._rush = True
        self._online = True
        self._open: dict[str, str] = {}
        self._arrived: list[str] = []

    def put(self, letter: Letter) -> None:
        """Keep a letter; it goes out as soon as it is on the disk. May be called in any thread."""
        self._letters.put(letter)

    def session_started(self, *, resumed: bool) -> None:
        """Go on; what a lost session had in its hands goes out again."""
        self._rush = self._rush or not resumed
        self._online = True
        self._news.set()

    def session_lost(self) -> None:
        """Send nothing until there is a session."""
        self._online = False

    def acknowledged(self, id: str, account: str) -> None:  # noqa: A002 - as the attribute is called
        """Forget the letter of this id, if it was sent to this account."""
        if id in self._open and self._open[id] == account:
            del self._open[id]
            self._arrived.append(id)
            self._news.set()

    async def run(self) -> None:
        """Send what is due, until cancelled."""
        loop = asyncio.get_running_loop()

        def tell() -> None:
            loop.call_soon_threadsafe(self._news.set)

        self._letters.on_letter = tell
        try:
            while True:
                self._news.clear()
                wait = await self.send_due()
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._news.wait()
        finally:
            self._letters.on_letter = lambda: None

    async def send_due(self) -> float | None:
        """Send what is due now, once; return the seconds until this should be done again (None: when there is news)."""
        try:
            return await self._send_due()
        except StoreError as error:
            log.warning("unacknowledged messages cannot be kept in order", reason=str(error))
            return STORE_SECONDS

    async def _send_due(self) -> float | None:
        await self._forget_arrived()
        if not self._online:
            return None
        if self._rush:
            await asyncio.to_thread(self._letters.rush)
            self._open.clear()
            self._rush = False
        now = self._clock()
        letters = await asyncio.to_thread(self._letters.due, now, BATCH)
        for letter in letters:
            if _expired(letter, now):
                self._open.pop(letter.id, None)
                await asyncio.to_thread(self._letters.give_up, letter, "nobody has acknowledged it for a day")
        ready = [letter for letter in letters if not _expired(letter, now)]
        sent = self._send(ready)
        await asyncio.to_thread(self._letters.sent, [_again(letter, now) for letter in sent])
        if len(sent) < len(ready):
            return None
        due = await asyncio.to_thread(self._letters.next_due)
        return None if due is None else min(max(due - self._clock(), 0.0), LONGEST_WAIT)

    def _send(self, letters: list[Letter]) -> list[Letter]:
        sent = []
        for letter in letters:
            try:
                self._transmit(letter)
            except DeliveryDelayed:
                self._online = False
                break
            self._open[letter.id] = bare(letter.recipient)
            sent.append(letter)
        return sent

    async def _forget_arrived(self) -> None:
        arrived = self._arrived[:]
        if arrived:
            await asyncio.to_thread(self._letters.remove, arrived)
            del self._arrived[: len(arrived)]


def _expired(letter: Letter, now: float) -> bool:
    return letter.due != AT_ONCE and now - letter.since - GRACE_SECONDS > KEPT_SECONDS


def _again(letter: Letter, now: float) -> Letter:
    """Return a letter as it is after it was sent: a repetition doubles the pause, a new session does not."""
    since = min(letter.since, now)
    trial = max(letter.trial, 1) if letter.due == AT_ONCE else 2 * letter.trial
    due = max(since + GRACE_SECONDS + UNIT_SECONDS * trial, now + UNIT_SECONDS * trial / 2)
    return replace(letter, since=since, trial=trial, due=due)
