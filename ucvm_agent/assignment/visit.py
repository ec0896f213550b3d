"""A connection to the controllers of its own, for a command that asks them once.

It may run beside the daemon, so it logs in under another resource and never shows itself as present: what is sent
to the account goes to the daemon.
"""

from __future__ import annotations

import asyncio
import math
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
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
        from ucvm_agent.copilot.signature import Verifier
        from ucvm_agent.xmpp.client import Connection

        known = await asyncio.to_thread(self._known)
        card = await asyncio.to_thread(read_card, known.machine_id, known.instance_id)
        settings = self._settings.model_copy(update={"jid": self._settings.jid.partition("/")[0]})
        connection = Connection(settings, uuid.uuid4().hex, present=False)
        controllers = Controllers(connection, settings, card, Verifier(settings, connection.jid, known))
        running = asyncio.create_task(connection.run())
        try:
            return await controllers.ask()
        finally:
            running.cancel()
            await asyncio.wait({running})

    async def news(self) -> None:
        """Do not return: a command does not wait."""
        await asyncio.get_running_loop().create_future()

    async def pushes(self) -> AsyncIterator[Assignment]:
        """Yield nothing: a command does not wait."""
        nothing: tuple[Assignment, ...] = ()
        for assignment in nothing:
            yield assignment

    def _known(self) -> Known:
        from ucvm_agent.store.status import read

        with suppress(StoreError):
            status = read(self._state_file)
            return Known(status.machine_id, status.instance_id, {pin.account: pin.key for pin in status.pins})
        return Known()


@dataclass
class Known:
    """What the state says, and what signed messages leave behind while the visit lasts: a `copilot.signature.Memory`.

    Each answer to a visit repeats its question's id, which nobody knew before; so one from an earlier visit does no
    harm, and nothing has to last.
    """

    machine_id: str = ""
    instance_id: str = ""
    keys: dict[str, str] = field(default_factory=dict)
    times: dict[tuple[str, str], float] = field(default_factory=dict)

    def key(self, account: str) -> str:
        """Return the key of an account; empty if there is none."""
        return self.keys.get(account, "")

    def pin(self, account: str, key: str) -> None:
        """Take a key for that of an account."""
        self.keys[account] = key

    def seen(self, account: str, message_id: str) -> bool:
        """Return whether a message has come before."""
        return (account, message_id) in self.times

    def newest(self, account: str) -> float:
        """Return the latest time that an account has signed; minus infinity without one."""
        return max((time for (name, _), time in self.times.items() if name == account), default=-math.inf)

    def remember(self, account: str, message_id: str, time: float, kept: float) -> None:
        """Remember a message."""
        self.times[account, message_id] = time
