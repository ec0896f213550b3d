"""CernVM Online as a source of user-data: a context that was paired with this VM, or one that the settings name.

Pairing by PIN is a person's business (`ucvm-agent pair`); what came of it is kept beside the state, and used at
every boot without asking again (references/cernvm-online.md, sections 5 and 7).
"""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ucvm_agent.errors import SettingsError, SourceAbsent, SourceRefused, StoreAbsent
from ucvm_agent.sources import base
from ucvm_agent.sources.base import Candidate, Found, Metadata
from ucvm_agent.sources.identity import read_machine_id
from ucvm_agent.sources.online_context import Ticket, read_context

if TYPE_CHECKING:
    from ucvm_agent.settings import CernvmOnline, Sources
    from ucvm_agent.sources.machine import Machine

PAIRED = "cernvm-online.context"
"""The file, in the folder of the state, with the context that a person paired: as the service gave it, decrypted."""

_NAMESPACE = uuid.UUID("6b0d9bfb-35a0-5d2b-8a31-9f1b7e0a2c44")


@dataclass(frozen=True, slots=True)
class Key:
    """A context and its secret as `[cernvm] contextualization_key` writes them: `ID` or `ID:SECRET`."""

    ticket: Ticket
    secret: str = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Key:
        """Read `ID` or `ID:SECRET`; the secret is all after the first colon.

        Raises:
            ValueError: there is no context id.
        """
        identity, _, secret = text.strip().partition(":")
        ticket = Ticket.parse(identity)
        if ticket.is_pin:
            raise ValueError("a PIN serves once; give it to `ucvm-agent pair`")
        return cls(ticket, secret)


class Source(base.Source):
    """The paired context, or the one of the settings' key.

    Arguments:
        folder: of the state; None = there is none.
    """

    name = "cernvm_online"
    rank = 15

    def __init__(self, settings: CernvmOnline, folder: Path | None = None) -> None:
        self._settings = settings
        self._folder = folder

    @classmethod
    def make(cls, settings: Sources, folder: Path | None) -> Source:
        """Make it with the folder where pairing keeps its context."""
        return cls(settings.cernvm_online, folder)

    def candidate(self, machine: Machine) -> Candidate:
        """Say whether there is anything to go by."""
        try:
            if self._folder is not None and (self._folder / PAIRED).exists():
                self.local = True
                return Candidate(True, "a context was paired with this machine")
        except PermissionError:
            return Candidate(None, "only root may see whether a context was paired")
        if self._settings.key.get_secret_value() or self._settings.key_file:
            return Candidate(True, "the settings name a context")
        return Candidate(False, "waiting-for-pin: nothing was paired, and the settings name no context")

    async def fetch(self) -> Found:
        """Return the context that a person paired; without one, ask the service for that of the settings."""
        if (text := await asyncio.to_thread(self._paired)) is not None:
            return self._found(text, PAIRED)
        if (key := await asyncio.to_thread(self._key)) is None:
            raise SourceAbsent("waiting-for-pin: nothing was paired yet", hint="ucvm-agent pair PIN")
        return await self.fetch_by(key)

    async def fetch_by(self, key: Key) -> Found:
        """Return the context of a key.

        Raises:
            SettingsError, SourceUnavailable, SourceRefused: see `OnlineService.fetch`.
        """
        from ucvm_agent.sources.online_service import OnlineService

        service = OnlineService(self._settings)
        machine_id = await asyncio.to_thread(self._machine_id)
        return self._found(await service.fetch(key.ticket, key.secret, machine_id), self.origin_of(key.ticket))

    def origin_of(self, ticket: Ticket) -> str:
        """Return the origin of what a ticket gets; it names the context without giving it away."""
        return f"{self._settings.url.rstrip('/')} context {ticket.fingerprint}"

    def _found(self, text: bytes, origin: str) -> Found:
        context = read_context(text)
        # No instance-id: the service names contexts, not machines, and another context makes no other machine.
        metadata = Metadata(public_keys=context.root_keys)
        return Found(source=self.name, origin=origin, user_data=context.user_data, metadata=metadata)

    def _paired(self) -> bytes | None:
        if self._folder is None:
            return None
        path = self._folder / PAIRED
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SourceRefused(f"cannot be read: {error.strerror}", where=str(path), hint="run this as root") from None

    def _key(self) -> Key | None:
        where = "sources.cernvm_online.key"
        text = self._settings.key.get_secret_value()
        if self._settings.key_file is not None:
            where = str(self._settings.key_file)
            try:
                text = self._settings.key_file.read_text("utf-8")
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "is not text"
                raise SettingsError(f"cannot be read: {reason}", where=where) from None
        try:
            return Key.parse(text) if text.strip() else None
        except ValueError as error:
            raise SettingsError(str(error), where=where, hint="write ID or ID:SECRET") from None

    def _machine_id(self) -> str:
        """Return the VM's UUID; a dry run where no agent has run yet uses one that is always the same."""
        from ucvm_agent.store import FILE_NAME
        from ucvm_agent.store.status import read

        try:
            if self._folder is not None:
                return read(self._folder / FILE_NAME).machine_id
        except StoreAbsent:
            pass
        return str(uuid.uuid5(_NAMESPACE, read_machine_id()))
