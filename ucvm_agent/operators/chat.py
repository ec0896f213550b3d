"""The commands as words in a chat, for a person whose client has no menu for them."""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, SubElement

import structlog

from ucvm_agent.copilot.complaints import Complaints
from ucvm_agent.copilot.stanza import CLIENT_NAMESPACE, MESSAGE, bare, read_delay
from ucvm_agent.errors import DeliveryDelayed, UcvmError
from ucvm_agent.operators.commands import Command, obey, offered
from ucvm_agent.operators.text import sendable
from ucvm_agent.xmpp.listener import Listener

if TYPE_CHECKING:
    from ucvm_agent.operators.base import Accounts, Machine
    from ucvm_agent.xmpp.client import Connection

log = structlog.get_logger()

BODY = f"{{{CLIENT_NAMESPACE}}}body"
THREAD = f"{{{CLIENT_NAMESPACE}}}thread"
YES = "yes"

MOST_WORDS = 16
"""Messages that may wait for their answers; what comes on top is dropped."""

STALE_SECONDS = 60.0
"""What a server has held back for longer is not obeyed: its writer may think otherwise by now."""


@dataclass(frozen=True, slots=True)
class Line:
    """What somebody has said.

    Arguments:
        sender: full JID.
        kind: the message's type, `chat` or none, which the answer gets as well.
    """

    sender: str
    text: str
    kind: str
    thread: str


class Chat(Listener):
    """Answers operators.

    Arguments:
        connection: over which they speak.
    """

    def __init__(self, connection: Connection, machine: Machine, accounts: Accounts) -> None:
        self._connection = connection
        self._machine = machine
        self._accounts = accounts
        self._said: asyncio.Queue[Line] = asyncio.Queue(MOST_WORDS)
        self._complaints = Complaints()
        connection.listen(self)

    async def run(self) -> None:
        """Answer, one after the other, until cancelled."""
        while True:
            line = await self._said.get()
            try:
                self._connection.send(_message(line, await self._answer(line)))
            except DeliveryDelayed as error:
                log.debug("an operator was not answered", operator=line.sender, reason=error.message)

    async def _answer(self, line: Line) -> str:
        word, *rest = line.text.split(maxsplit=1)
        commands = {command.name: command for command in offered(self._machine)}
        command = commands.get(word.lower())
        if command is None:
            return _help(tuple(commands.values()))
        try:
            return await self._obey(command, bare(line.sender), "".join(rest))
        except UcvmError as error:
            return sendable(str(error))

    async def _obey(self, command: Command, who: str, rest: str) -> str:
        if command.preview is not None and rest.strip().lower() != YES:
            preview = await command.preview(self._machine, who)
            return f"{sendable(preview)}\nSay “{command.name} {YES}” to do it."
        # The last field takes all that is left.
        words = rest.split(maxsplit=max(0, len(command.fields) - 1))
        given = {field.name: word for field, word in zip(command.fields, words, strict=False)}
        return await obey(command, self._machine, who, given)

    # What the connection tells

    def received(self, message: Element) -> None:
        """Take what an operator says; who else says something is not answered."""
        body = message.find(BODY)
        text = "" if body is None or len(body) else (body.text or "").strip()
        kind = message.get("type", "normal")
        if not text or kind not in ("chat", "normal"):
            return
        sender = message.get("from", "")
        written = read_delay(message)
        if not self._accounts.allow(bare(sender)):
            self._complaints.write("somebody who is no operator is not answered", bare(sender), sender=sender)
        elif written is not None and time.time() - written.timestamp() > STALE_SECONDS:
            log.info("what an operator said came too late", operator=sender)
        elif self._said.full():
            log.warning("an operator says too much at a time", operator=sender)
        else:
            self._said.put_nowait(Line(sender, text, kind, message.findtext(THREAD, "")))


def _help(commands: tuple[Command, ...]) -> str:
    width = max(len(command.usage) for command in commands)
    return "\n".join(["I understand:", *(f"{command.usage:<{width}}  {command.title}" for command in commands)])


def _message(line: Line, text: str) -> Element:
    message = Element(MESSAGE, {"to": line.sender, "type": line.kind, "id": str(uuid.uuid4())})
    SubElement(message, BODY).text = text
    if line.thread:
        SubElement(message, THREAD).text = line.thread
    return message
