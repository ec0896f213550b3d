"""A connection to the controllers of its own, for a command that asks them once.

It may run beside the daemon, so it logs in under another resource and never shows itself as present: what is sent
to the account goes to the daemon.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ucvm_agent.errors import StoreError

if TYPE_CHECKING:
    from ucvm_agent.settings import Xmpp
    from ucvm_agent.sources.asker import Assignment


class Visit:
    """An `Asker` that connects when it asks, and goes again.

    Arguments:
        state_file: of the daemon, which tells who this machine is; there may be none yet.
    """

    def __init__(self, settings: Xmpp, state_file: Path) -> None:
        self._settings = settings
        self._state_file = state_file

    async def ask(self) -> Assignment:
        """Ask the controllers; see `Asker.ask`."""
        # Loaded only now: whether controllers are named is known without, and a dry run has to start fast.
        from ucvm_agent.assignment.controllers import Controllers, read_card
        from ucvm_agent.xmpp.client import Connection

        card = await asyncio.to_thread(read_card, *await asyncio.to_thread(self._identity))
        settings = self._settings.model_copy(update={"jid": self._settings.jid.partition("/")[0]})
        connection = Connection(settings, uuid.uuid4().hex, present=False)
        controllers = Controllers(connection, settings, card)
        running = asyncio.create_task(connection.run())
        try:
            return await controllers.ask()
        finally:
            running.cancel()
            await asyncio.wait({running})

    async def pushes(self) -> AsyncIterator[Assignment]:
        """Yield nothing: a command does not wait."""
        nothing: tuple[Assignment, ...] = ()
        for assignment in nothing:
            yield assignment

    def _identity(self) -> tuple[str, str]:
        from ucvm_agent.store.status import read

        with suppress(StoreError):
            status = read(self._state_file)
            return status.machine_id, status.instance_id
        return "", ""
