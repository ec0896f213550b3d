"""Giving VMs their contexts (docs/protocol-context.md)."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

import structlog

from ucvm_agent.controller import context_folder
from ucvm_agent.controller.claims import Claims
from ucvm_agent.controller.context_folder import Context
from ucvm_agent.controller.errands import Errands
from ucvm_agent.controller.ledger.base import Ledger
from ucvm_agent.controller.model import Machine
from ucvm_agent.copilot.context import PART_BYTES
from ucvm_agent.copilot.post import Post
from ucvm_agent.copilot.stanza import Envelope, Hash, bare, read_message
from ucvm_agent.errors import DeliveryDelayed, LedgerError, OrderError
from ucvm_agent.xmpp.client import Connection
from ucvm_agent.xmpp.listener import Listener

log = structlog.get_logger()

LOOK_SECONDS = 5.0
"""Between two looks at the folder."""

PLAN_SECONDS = 120.0
"""For the plan of a dry run."""

MOST_PARTS = 2000
"""Most parts of a plan."""

NONE_HINT = "ACCOUNT/NAME.context or default.context in contexts.folder (docs/controller.md)"


@dataclass(frozen=True, slots=True)
class Asker:
    """A machine that may have a context.

    Arguments:
        jid: full JID.
        machine_id, instance_id, host: what it says it is called; each may be empty.
    """

    jid: str
    machine_id: str
    instance_id: str
    host: str

    @property
    def names(self) -> tuple[str, ...]:
        """By which it may have a context, the best first."""
        return self.machine_id, self.instance_id, self.host

    @property
    def places(self) -> set[str]:
        """Where it may have a context."""
        return set(context_folder.places(bare(self.jid), self.names))


class Rehearsal:
    """A dry run that a VM was asked for: the parts of its plan, as they come."""

    def __init__(self, context: Context, jid: str) -> None:
        self.context = context
        self.jid = jid
        self.plan: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._parts: dict[int, str] = {}

    def take(self, info: Hash) -> None:
        """Take a part."""
        if self.plan.done():
            return
        if reason := _text(info, "reason"):
            self.plan.set_exception(OrderError(reason, where=self.jid))
            return
        part, parts = _number(info, "part"), _number(info, "parts")
        if part < 1 or not part <= parts <= MOST_PARTS:
            return
        self._parts[part] = _text(info, "plan")
        if len(self._parts) == parts:
            self.plan.set_result("".join(self._parts[number] for number in sorted(self._parts)))


class Contexts(Listener):
    """Answers VMs, and tells them of what is new.

    Arguments:
        folder: of the contexts; None = there are none, but plans can be asked for.
        claims: whose a machine is.
        accepts: whether the questions of an account (a bare JID) count.
    """

    def __init__(
        self,
        folder: Path | None,
        ledger: Ledger,
        claims: Claims,
        connection: Connection,
        post: Post,
        accepts: Callable[[str], bool],
    ) -> None:
        self._folder = folder
        self._ledger = ledger
        self._claims = claims
        self._post = post
        self._accepts = accepts
        self._errands = Errands()
        self._rehearsals: dict[tuple[str, str], Rehearsal] = {}
        connection.listen(self)

    async def push(self, machine_id: str) -> int:
        """Tell a VM that it has a context, and return its sequence number; the VM takes it if it is newer than its own.

        Raises:
            OrderError: there is no such machine, or no context for it; DeliveryDelayed: it cannot be told now.
        """
        asker = await self._asker(machine_id)
        context = await self._chosen(asker)
        if context is None:
            raise OrderError("there is no context for it", where=machine_id, hint=NONE_HINT)
        self._announce(asker, context)
        return context.sequence

    async def rehearse(self, machine_id: str, user_data: bytes | None = None) -> str:
        """Return the plan, as JSON, that a VM would carry out.

        Arguments:
            user_data: None = that of the context which it has in the folder.

        Raises:
            OrderError: there is no such machine, or no context for it; it has no plan, or does not answer.
            DeliveryDelayed: it cannot be asked now.
        """
        asker = await self._asker(machine_id)
        context = await self._chosen(asker) if user_data is None else Context(user_data, time.time_ns() // 1000)
        if context is None:
            raise OrderError("there is no context for it", where=machine_id, hint=NONE_HINT)
        key = asker.jid, context.digest
        rehearsal = self._rehearsals.setdefault(key, Rehearsal(context, asker.jid))
        try:
            self._announce(asker, rehearsal.context, dry_run=True)
            async with asyncio.timeout(PLAN_SECONDS):
                return await asyncio.shield(rehearsal.plan)
        except TimeoutError:
            raise OrderError(f"no plan within {PLAN_SECONDS:.0f} s", where=asker.jid) from None
        finally:
            self._rehearsals.pop(key, None)

    async def run(self) -> None:
        """Answer, and tell of what changes in the folder, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._errands.run())
            if self._folder is not None:
                group.create_task(self._watch(self._folder))

    async def _watch(self, folder: Path) -> None:
        known = await asyncio.to_thread(context_folder.times, folder)
        for name in await asyncio.to_thread(context_folder.misplaced, folder):
            hint = f"move it to ACCOUNT/{name}, where ACCOUNT is the JID of its machine, such as vm7@example.org"
            log.warning("a context is for nobody: it lies in no account's folder", file=str(folder / name), hint=hint)
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            found = await asyncio.to_thread(context_folder.times, folder)
            changed = {place for place in found if found[place] != known.get(place)}
            try:
                if changed:
                    await self._tell_all(changed)
                known = found
            except LedgerError as error:
                log.warning("machines cannot be told of a new context yet", reason=str(error))

    async def _tell_all(self, changed: set[str]) -> None:
        """Tell all VMs that may have a context in one of these places."""
        for machine in await self._ledger.machines(limit=None):
            asker = _known(machine)
            if changed & asker.places and (context := await self._chosen(asker)):
                try:
                    self._announce(asker, context)
                except DeliveryDelayed as error:
                    log.warning("a machine was not told of a new context", reason=str(error))

    async def _asker(self, machine_id: str) -> Asker:
        machine = await self._ledger.machine(machine_id)
        if machine is None or not machine.jid:
            raise OrderError("no such machine", where=machine_id[:140], hint="`ucvm-controller vms` lists all")
        return _known(machine)

    async def _chosen(self, asker: Asker) -> Context | None:
        if self._folder is None:
            return None
        return await asyncio.to_thread(context_folder.choose, self._folder, bare(asker.jid), asker.names)

    def _announce(self, asker: Asker, context: Context, *, dry_run: bool = False) -> None:
        info = {"command": "newContext", **_named(context)}
        self._post.forward(asker.jid, {"info": info | {"dryRun": "1"} if dry_run else info})

    # What the connection tells

    def received(self, message: Element) -> None:
        """Take a question about contexts, or a part of a plan; everything else is for others."""
        envelope = read_message(message)
        info = envelope.info
        if info is None or message.get("type") == "error" or not self._accepts(bare(envelope.sender)):
            return
        match info.get("command"):
            case "want_getContext":
                self._errands.start(self._offer(envelope, info))
            case "getContext":
                self._errands.start(self._give(envelope, info))
            case "contextPlan":
                rehearsal = self._rehearsals.get((envelope.sender, _text(info, "digest")))
                if rehearsal is not None:
                    rehearsal.take(info)

    async def _offer(self, envelope: Envelope, info: Hash) -> None:
        asker = await self._claimant(envelope, info)
        context = await self._chosen(asker) if asker is not None else None
        if context is not None:
            answer = {"command": "have_getContext", "request": _text(info, "request"), **_named(context)}
            self._post.forward(envelope.sender, {"info": answer}, noack=True)

    async def _give(self, envelope: Envelope, info: Hash) -> None:
        asker = await self._claimant(envelope, info)
        if asker is None:
            return
        rehearsal = self._rehearsals.get((envelope.sender, _text(info, "digest")))
        context = rehearsal.context if rehearsal is not None else await self._chosen(asker)
        if context is None or any(_text(info, name) != value for name, value in _named(context).items()):
            return  # it exists no more
        offset = _number(info, "offset")
        if not 0 <= offset <= len(context.user_data):
            return
        part = context.user_data[offset : offset + PART_BYTES]
        answer = {
            "command": "context",
            "request": _text(info, "request"),
            **_named(context),
            "size": str(len(context.user_data)),
            "offset": str(offset),
            "userData": base64.b64encode(part).decode(),
        }
        self._post.forward(envelope.sender, {"info": answer}, noack=True)

    async def _claimant(self, envelope: Envelope, info: Hash) -> Asker | None:
        """Return the machine that asks; None if it is another account's."""
        sender = envelope.sender
        asker = Asker(sender, *(_text(info, name) for name in ("machineID", "instanceID", "agentHost")))
        own = await self._claims.check(
            sender, asker.machine_id, envelope.command, host=asker.host, instance_id=asker.instance_id
        )
        return asker if own else None


def _known(machine: Machine) -> Asker:
    return Asker(machine.jid, machine.machine_id, machine.instance_id, machine.host)


def _named(context: Context) -> dict[str, str]:
    return {"sequence": str(context.sequence), "digest": context.digest}


def _text(info: Hash, name: str) -> str:
    value = info.get(name, "")
    return value if isinstance(value, str) else ""


def _number(info: Hash, name: str) -> int:
    """Return a number of at most nine digits; -1 if there is none."""
    text = _text(info, name)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1
