"""The commands in the menu of an XMPP client (XEP-0050, with forms of XEP-0004), and what the machine says it is.

slixmpp does the protocol. What it leaves to us: who may do it, and that answers which nobody fetches take no room.
"""

from __future__ import annotations

import os
import socket
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import structlog
from slixmpp import Iq
from slixmpp.exceptions import XMPPError

from ucvm_agent import __version__
from ucvm_agent.copilot.complaints import Complaints
from ucvm_agent.errors import UcvmError
from ucvm_agent.operators import forms
from ucvm_agent.operators.commands import Command, obey, offered
from ucvm_agent.operators.text import sendable
from ucvm_agent.xmpp.listener import Listener

if TYPE_CHECKING:
    from slixmpp.xmlstream import StanzaBase

    from ucvm_agent.operators.base import Accounts, Machine
    from ucvm_agent.xmpp.client import Connection
    from ucvm_agent.xmpp.stream import Stream

log = structlog.get_logger()

NAMESPACE = "http://jabber.org/protocol/commands"
COMMAND = f"{{{NAMESPACE}}}command"
LIST = "{http://jabber.org/protocol/disco#items}query"

MOST_SESSIONS = 32
"""Commands of which each next step is awaited; the oldest is forgotten, and its operator begins again."""

Session = dict[str, Any]
"""What slixmpp keeps of a command that is being given; `payload`, `notes` and `next` are what we answer."""


class Sessions(OrderedDict[str, Session]):
    """The commands that are being given; slixmpp itself keeps those that have ended, too, and for ever."""

    def __setitem__(self, key: str, session: Session) -> None:
        """Keep a session, and forget the oldest."""
        super().__setitem__(key, session)
        if len(self) > MOST_SESSIONS:
            self.popitem(last=False)


class AdHocCommands(Listener):
    """The commands, offered in each session of a connection.

    Arguments:
        connection: over which they come.
        machine: that they are for.
        accounts: who may give them.
    """

    def __init__(self, connection: Connection, machine: Machine, accounts: Accounts) -> None:
        self._machine = machine
        self._accounts = accounts
        self._sessions = Sessions()
        self._complaints = Complaints()
        self._stream: Stream | None = None
        connection.extend(self._install)
        connection.listen(self)
        if connection.connected:
            self._offer()

    def _install(self, stream: Stream) -> None:
        self._stream = stream
        system = os.uname()
        version = {"software_name": "ucvm-agent", "version": __version__, "os": f"{system.sysname} {system.release}"}
        stream.register_plugin("xep_0092", version)
        stream.register_plugin("xep_0050", {"session_db": self._sessions})
        stream.add_filter("in", self._let_pass)

    def _offer(self) -> None:
        """Tell slixmpp what there is; it forgets that with each new session."""
        if self._stream is None:
            return
        self._stream.plugin["xep_0030"].add_identity(
            category="client", itype="bot", name=f"ucvm-agent {socket.gethostname()}"
        )
        for command in offered(self._machine):
            step = _Steps(command, self._machine)
            self._stream.plugin["xep_0050"].add_command(node=command.name, name=command.title, handler=step.begin)

    def _let_pass(self, stanza: StanzaBase) -> StanzaBase | None:
        """Refuse what has to do with commands to whoever is no operator, or has not begun it."""
        if not isinstance(stanza, Iq) or not _is_about_commands(stanza):
            return stanza
        sender, command = stanza["from"], stanza.xml.find(COMMAND)
        session = None if command is None else self._sessions.get(command.get("sessionid", ""))
        if self._accounts.allow(sender.bare) and (session is None or session["from"] == sender):
            return stanza
        self._complaints.write("somebody who is no operator gives a command", sender.bare, sender=str(sender))
        refusal = XMPPError("forbidden", text="you are none of this machine's operators")
        stanza.exception(refusal)  # type: ignore[no-untyped-call]  # as slixmpp leaves it
        return None

    # What the connection tells

    def session_started(self, *, resumed: bool) -> None:
        """Offer the commands."""
        if not resumed:
            self._offer()

    def session_lost(self, reason: str) -> None:
        """Forget what was begun: the answers are lost."""
        self._sessions.clear()


class _Steps:
    """The steps of one command: what slixmpp calls with what was filled in, and with the session."""

    def __init__(self, command: Command, machine: Machine) -> None:
        self._command = command
        self._machine = machine

    async def begin(self, iq: Iq, session: Session) -> Session:
        """Ask for what is needed, or do it at once."""
        command, who = self._command, iq["from"].bare
        session["payload"] = None
        try:
            if command.preview:
                text = sendable(await command.preview(self._machine, who))
                _ask(session, self.end, forms.preview(command, text))
            elif command.fields:
                _ask(session, self.end, forms.question(command, self._machine))
            else:
                await self._run(session, {})
        except UcvmError as error:
            _refuse(session, error)
        return session

    async def end(self, payload: object, session: Session) -> Session:
        """Do it."""
        session["payload"], session["next"] = None, None
        try:
            await self._run(session, forms.filled_in(payload))
        except UcvmError as error:
            _refuse(session, error)
        return session

    async def _run(self, session: Session, given: dict[str, str]) -> None:
        text = await obey(self._command, self._machine, session["from"].bare, given)
        session["payload"] = forms.answer(self._command, text)


def _is_about_commands(iq: Iq) -> bool:
    if iq["type"] not in ("get", "set"):
        return False
    listed = iq.xml.find(LIST)
    return iq.xml.find(COMMAND) is not None or (listed is not None and listed.get("node") == NAMESPACE)


def _ask(session: Session, step: object, form: object) -> None:
    session["payload"], session["next"], session["has_next"] = form, step, False


def _refuse(session: Session, error: UcvmError) -> None:
    session["payload"], session["next"] = None, None
    session["notes"] = [("error", sendable(str(error)))]
