"""A daemon, its XMPP server with a chat room, and people who log in with an XMPP client."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from xml.etree.ElementTree import Element

from slixmpp import JID, ClientXMPP
from slixmpp.plugins.xep_0004 import Form
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

from tests.daemon.running import PATIENCE, Controller, Daemon
from tests.servers.prosody import Prosody

PASSWORD = "pw"
ROOMS = "rooms.site.example"
LOUNGE = f"pilots-lounge@{ROOMS}"
RESOURCE = "vm"


class Person(ClientXMPP):
    """Somebody at a plain XMPP client, who has to do with a VM of this full JID."""

    def __init__(self, prosody: Prosody, user: str, resource: str = "desk", *, vm: str = "") -> None:
        trusting = ssl.create_default_context(cafile=prosody.ca_file)
        super().__init__(f"{prosody.jid(user)}/{resource}", PASSWORD, ssl_context=trusting)
        self.enable_direct_tls = False
        self.heard: asyncio.Queue[Element] = asyncio.Queue()
        self.vm = vm or f"{prosody.jid('agent')}/{RESOURCE}"
        self._prosody = prosody
        self._online = asyncio.Event()
        self._seen = asyncio.Event()
        for plugin in ("xep_0030", "xep_0045", "xep_0050", "xep_0092"):
            self.register_plugin(plugin)
        self._commands: Any = self.plugin["xep_0050"]  # slixmpp leaves it untyped
        self.add_event_handler("session_start", self._on_session)
        for show in ("available", "away", "chat", "dnd", "xa"):
            self.add_event_handler(f"presence_{show}", self._on_presence)
        take = lambda stanza: self.heard.put_nowait(stanza.xml)  # noqa: E731 - said once
        self.register_handler(Callback("all", MatchXPath("{jabber:client}message"), take))

    async def __aenter__(self) -> Self:
        self.connect(self._prosody.host, self._prosody.port)
        async with asyncio.timeout(PATIENCE):
            await self._online.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cancel_connection_attempt()
        await self.disconnect(wait=1.0)
        if self._run_out_filters is not None:
            self._run_out_filters.cancel()

    def _on_session(self, _: object) -> None:
        self.send_presence()
        self._online.set()

    def _on_presence(self, presence: Any) -> None:
        if presence["from"] == self.vm and presence["type"] != "unavailable":
            self._seen.set()

    async def sees_vm(self) -> None:
        """Wait until the VM is online, if it lets this person see that."""
        self.send_presence_subscription(self.vm.partition("/")[0])
        async with asyncio.timeout(PATIENCE):
            await self._seen.wait()

    async def commands(self) -> dict[str, str]:
        """Return the titles of the commands that the VM offers, by name."""
        found = await self._commands.get_commands(self.vm)
        return {node: name for _, node, name in found["disco_items"]["items"]}

    async def give(self, name: str, session: str = "", **values: str) -> Command:
        """Give a command, or go on with one."""
        form = None
        if values or session:
            form = Form()  # type: ignore[no-untyped-call]  # as slixmpp leaves it
            form["type"] = "submit"
            for var, value in values.items():
                form.add_field(var=var, value=value)  # type: ignore[no-untyped-call]  # as slixmpp leaves it
        action = "complete" if session else "execute"
        answer = await self._commands.send_command(
            self.vm, name, action=action, payload=form, sessionid=session or None
        )
        return Command(answer["command"])

    async def say(self, text: str, kind: str = "chat") -> str:
        """Say something to the VM and return its answer."""
        self.tell(text, kind)
        return await self.hears()

    def tell(self, text: str, kind: str = "chat") -> None:
        """Say something to the VM."""
        self.send_message(JID(self.vm), text, mtype=kind)  # type: ignore[arg-type]  # any of its literals

    async def hears(self) -> str:
        """Return the text of the next chat message."""
        text: str = await self.next(lambda message: message.findtext("{jabber:client}body", ""))
        return text

    async def next(self, read: Callable[[Element], Any]) -> Any:
        """Return what can be read from the next message from which something can."""
        async with asyncio.timeout(PATIENCE):
            while True:
                if found := read(await self.heard.get()):
                    return found


class Command:
    """The answer to a command."""

    def __init__(self, stanza: Any) -> None:
        self.status: str = stanza["status"]
        self.session: str = stanza["sessionid"]
        self.notes: list[tuple[str, str]] = stanza["notes"]
        self.form: Any = stanza["form"]

    @property
    def text(self) -> str:
        """What the form says."""
        (value,) = self.form["values"].values()
        return value if isinstance(value, str) else "\n".join(value)

    @property
    def choices(self) -> dict[str, list[str]]:
        """What each field of the form can be."""
        return {name: [option["value"] for option in each["options"]] for name, each in self.form.get_fields().items()}


@dataclass
class Site:
    """All parts of it."""

    prosody: Prosody
    controller: Controller
    daemon: Daemon
    user_data: Path
    stack: AsyncExitStack = field(repr=False)

    def configure(self, more: Mapping[str, Mapping[str, object]] | None = None, **xmpp: object) -> None:
        """Write the daemon's settings.

        Arguments:
            more: tables of settings.
            xmpp: of the account, where they differ.
        """
        account: dict[str, object] = {
            "jid": f"{self.prosody.jid('agent')}/{RESOURCE}",
            "password": PASSWORD,
            "controllers": [self.prosody.jid("boss")],
            "host": self.prosody.host,
            "port": self.prosody.port,
            "ca_file": str(self.prosody.ca_file),
            "receipts": False,
        }
        tables: dict[str, Mapping[str, object]] = {
            "xmpp": account | xmpp,
            "sources": {"names": ["file"], "deadline": 1.0, "follow": 0},
            "sources.file": {"path": str(self.user_data)},
            **(more or {}),
        }
        self.daemon.configure(self.controller, **tables)

    async def start(self) -> None:
        """Start the daemon, and return when it is ready and online."""
        await self.daemon.start()
        await self.controller.state("ready")
        async with Person(self.prosody, "boss", "watch") as watcher:
            await watcher.sees_vm()

    async def person(self, user: str = "boss") -> Person:
        """Log somebody in."""
        return await self.stack.enter_async_context(Person(self.prosody, user))


@asynccontextmanager
async def open_site(folder: Path, daemon: Daemon, controller: Controller) -> AsyncIterator[Site]:
    """Start all but the daemon."""
    server = folder / "prosody"
    server.mkdir()
    user_data = folder / "user-data"
    user_data.write_text("#cloud-config\nhostname: worker-1\n")
    accounts = dict.fromkeys(("agent", "boss", "anna", "stranger", "mon"), PASSWORD)
    async with Prosody(server, accounts, rooms=ROOMS) as prosody, AsyncExitStack() as stack:
        site = Site(prosody, controller, daemon, user_data, stack)
        site.configure()
        yield site
