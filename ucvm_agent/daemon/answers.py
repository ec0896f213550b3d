"""What the sources say to the daemon: the first answer, and each newer one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from ucvm_agent.errors import SourceError
from ucvm_agent.events import Note, State
from ucvm_agent.stages.discovery import discover, fall_back, follow

if TYPE_CHECKING:
    from ucvm_agent.process.notify import Notify
    from ucvm_agent.settings import Settings
    from ucvm_agent.sources.asker import Asker
    from ucvm_agent.sources.base import Found
    from ucvm_agent.store.store import Store


class Answers:
    """The answers of the source that wins.

    Arguments:
        asker: how to ask the controllers.
        enter: enters a state of the VM for a reason.

    Attributes:
        followed: the answer that is watched for a newer one; None as long as no source has answered.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        notify: Notify,
        asker: Asker | None,
        enter: Callable[[State, str], object],
    ) -> None:
        self._settings = settings
        self._store = store
        self._notify = notify
        self._asker = asker
        self._enter = enter
        self.followed: Found | None = None

    async def each(self, known: Found | None = None) -> AsyncIterator[Found]:
        """Yield what the source says, now and whenever it says something new.

        Where no source answers, begin with what there is without them, and keep looking.

        Arguments:
            known: an answer that has been followed before; only what is newer is yielded.
        """
        if known is None:
            self._enter(State.DISCOVERING, "")
            try:
                known = await discover(self._settings, self._waiting(), self._asker)
            except SourceError as error:
                remembered = await asyncio.to_thread(self._store.last_context)
                if instead := await fall_back(self._settings, remembered):
                    whose = "of an earlier boot" if instead is remembered else f"that {instead.source} has"
                    self._store.events.emit(Note(message=f"going by the user-data {whose}: {error}"))
                    yield instead
                else:
                    self._enter(State.DEGRADED, f"no user-data: {error}")
                    self._notify.ready()
                known = await self._search()
            self.followed = known
            yield known
        self.followed = known
        async for newer in follow(known, self._settings, self._asker):
            self._store.events.emit(Note(message=f"there is other user-data: {newer.source} {newer.origin}"))
            self.followed = newer
            yield newer

    def _waiting(self) -> Callable[[str], None]:
        """Return what tells systemd and, once for each reason, the controllers what is waited for."""
        told: set[str] = set()

        def tell(reason: str) -> None:
            self._notify.status(f"{State.DISCOVERING}: {reason}")
            if reason not in told:
                told.add(reason)
                self._store.events.emit(Note(message=f"still looking for user-data: {reason}"))

        return tell

    async def _search(self) -> Found:
        while True:
            await self._pause()
            with suppress(SourceError):
                return await discover(self._settings, asker=self._asker)

    async def _pause(self) -> None:
        """Wait until it is worth a try: after some time, or at the word of a controller."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.sources.search_pause):
                await (self._asker.news() if self._asker is not None else asyncio.Event().wait())
