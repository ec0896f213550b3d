"""The machines: what they report, and whether they are there (docs/protocol-events.md)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from xml.etree.ElementTree import Element

import structlog

from ucvm_agent.controller.claims import Claims
from ucvm_agent.controller.errands import Errands
from ucvm_agent.controller.ledger.base import Ledger, Reception
from ucvm_agent.controller.model import Machine
from ucvm_agent.copilot.stanza import Envelope, bare, message_element, read_message
from ucvm_agent.errors import DeliveryDelayed, LedgerError
from ucvm_agent.events import Event
from ucvm_agent.report.stanzas import EVENT, REQUEST, read_event, receipt_message
from ucvm_agent.xmpp.client import Connection
from ucvm_agent.xmpp.listener import Listener

log = structlog.get_logger()

SETTLING_SECONDS = 30.0
"""After a new session, until a machine counts as gone whose presence has not come."""


class Fleet(Listener):
    """Keeps events and machines in the ledger.

    An event is confirmed when it is on the disk: a controller that is killed before that gets it again.

    Arguments:
        claims: tells of those who report for machines of others.
        accepts: whether the events of an account (a bare JID) count.
    """

    def __init__(self, ledger: Ledger, claims: Claims, connection: Connection, accepts: Callable[[str], bool]) -> None:
        self._ledger = ledger
        self._claims = claims
        self._connection = connection
        self._accepts = accepts
        self._errands = Errands()
        self._names: dict[str, str] = {}
        self._there: set[str] = set()
        self._subscribed: set[str] = set()
        self._session = asyncio.Event()
        connection.listen(self)
        connection.presence.watch(self._on_presence)

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._errands.run())
            group.create_task(self._settle())

    def received(self, message: Element) -> None:
        """Take an event; everything else is for others."""
        if message.find(EVENT) is None or message.get("type") == "error":
            return
        sender = message.get("from", "")
        if not self._accepts(bare(sender)):
            return  # the post complains of strangers
        event = read_event(message)
        if event is None:
            # Of a later version, or damaged: it will never be another, and the next one waits for this.
            log.warning("an event cannot be read", sender=sender, id=message.get("id", "")[:128])
            self._confirm(message)
        else:
            self._errands.start(self._record(event, sender, message))

    async def _record(self, event: Event, sender: str, message: Element) -> None:
        reception = await self._ledger.record(event, sender, now=datetime.now(UTC))
        self._confirm(message)
        if reception is Reception.REFUSED:
            self._claims.refused(sender, event.machine_id, "an event")
            return
        self._subscribe(bare(sender))
        if self._names.get(sender) != event.machine_id:
            self._names[sender] = event.machine_id
            if sender in self._there:
                await self._see(event.machine_id, sender, online=True)
        if reception is Reception.NEW:
            log.info("machine reports", machine=event.machine_id, what=event.name)

    def _confirm(self, message: Element) -> None:
        envelope = read_message(message)
        if message.find(REQUEST) is not None:
            answer = receipt_message(envelope.sender, envelope.id)
        elif not envelope.noack:
            answer = message_element(Envelope(to=envelope.sender, ack=envelope.id))
        else:
            return
        try:
            self._connection.send(answer)
        except DeliveryDelayed as error:
            log.debug("an event was not confirmed", to=envelope.sender, reason=error.message)

    # Presence

    def _subscribe(self, account: str) -> None:
        if account not in self._subscribed:
            self._subscribed.add(account)
            self._connection.presence.subscribe(account)

    def _on_presence(self, jid: str, there: bool) -> None:
        (self._there.add if there else self._there.discard)(jid)
        if jid in self._names:
            self._errands.start(self._see(self._names[jid], jid, online=there))

    async def _see(self, machine_id: str, jid: str, *, online: bool) -> None:
        await self._ledger.present(machine_id, jid, online=online, now=datetime.now(UTC))

    async def _settle(self) -> None:
        """After each new session, find out who has gone while we were away."""
        while True:
            await self._session.wait()
            self._session.clear()
            try:
                await self._know()
                await asyncio.sleep(SETTLING_SECONDS)
                for machine in await self._know():
                    if machine.online != (machine.jid in self._there):
                        await self._see(machine.machine_id, machine.jid, online=not machine.online)
            except LedgerError as error:
                log.warning("machines cannot be looked at", reason=str(error))
                await asyncio.sleep(SETTLING_SECONDS)
                self._session.set()

    async def _know(self) -> Sequence[Machine]:
        """Return all machines, whose presence counts from now on: also those that others of us have met."""
        machines = await self._ledger.machines(limit=None)
        self._names.update((machine.jid, machine.machine_id) for machine in machines)
        return machines

    def session_started(self, *, resumed: bool) -> None:
        """Look who is there; a session that goes on has not missed anything."""
        if not resumed:
            self._there.clear()
            self._subscribed.clear()
            self._session.set()
