"""A small controller: takes the events of VMs over XMPP, confirms each, drops what it has seen, and has a context.

In a test: `async with Controller(jid, password, host, port, ca_file) as controller`, then `await
controller.events.get()`. By hand, `python -m tests.servers.controller --help`: prints a line for each event.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import signal
import ssl
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any
from xml.etree.ElementTree import Element

from slixmpp import ClientXMPP
from slixmpp.stanza import Message
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

from ucvm_agent.copilot.signature import Signer
from ucvm_agent.copilot.stanza import Envelope, Hash, message_element, read_message
from ucvm_agent.events import ActionEnded, Event, Note, State, StateChanged
from ucvm_agent.report.stanzas import read_event, receipt_message

ONLINE_SECONDS = 20.0


@dataclass
class Handout:
    """A context that a controller has for whoever asks, and what it is asked and told (docs/protocol-context.md).

    Attributes:
        user_data: None = it has none, and does not answer.
        digest: what it says; a wrong one is for tests.
        mute: it offers the context, but gives no parts of it.
    """

    user_data: bytes | None = None
    sequence: int = 1
    digest: str = ""
    mute: bool = False
    part: int = 30_000
    asked: asyncio.Queue[Hash] = field(default_factory=asyncio.Queue)
    plans: asyncio.Queue[Hash] = field(default_factory=asyncio.Queue)

    def told(self) -> dict[str, str]:
        """What every message says of the context."""
        digest = self.digest or hashlib.sha256(self.user_data or b"").hexdigest()
        return {"sequence": str(self.sequence), "digest": digest}

    def answer(self, info: Hash) -> Hash | None:
        """Return the answer to a command; None if there is none."""
        if info["command"] == "contextPlan":
            self.plans.put_nowait(info)
            return None
        self.asked.put_nowait(info)
        if self.user_data is None:
            return None
        known = {"request": str(info["request"]), **self.told()}
        if info["command"] == "want_getContext":
            return {"command": "have_getContext", **known}
        if self.mute:
            return None
        offset = int(str(info["offset"]))
        data = base64.b64encode(self.user_data[offset : offset + self.part]).decode()
        place = {"offset": str(offset), "size": str(len(self.user_data))}
        return {"command": "context", "userData": data, **place, **known}


class Controller(ClientXMPP):
    """One controller; plain slixmpp, which reconnects by itself.

    Arguments:
        jid: its account, perhaps with a resource.
        confirm: `receipt` (XEP-0184), `ack` (as an original Co-Pilot component does) or an empty string.
        watch: bare JIDs whose presence it subscribes to.

    Attributes:
        events: the events in the order in which they came, without duplicates.
        copies: how often each event came, by id.
        arrivals: the ids in the order in which they came, with duplicates.
        reports: the Co-Pilot content of every message.
        presences: show and status text of those it watches.
        handout: the context that it has.
        signer: signs its orders, if there is one.
        acknowledged: the ids of its messages that were acknowledged.
    """

    def __init__(
        self,
        jid: str,
        password: str,
        host: str,
        port: int,
        ca_file: Path,
        *,
        confirm: str = "receipt",
        watch: tuple[str, ...] = (),
    ) -> None:
        super().__init__(jid, password, ssl_context=ssl.create_default_context(cafile=ca_file))
        self.enable_direct_tls = False
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self.copies: dict[str, int] = {}
        self.arrivals: asyncio.Queue[str] = asyncio.Queue()
        self.reports: list[Envelope] = []
        self.presences: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self.handout = Handout()
        self.signer: Signer | None = None
        self.acknowledged: asyncio.Queue[str] = asyncio.Queue()
        self.online = asyncio.Event()
        self._host, self._port = host, port
        self._confirm = confirm
        self._watch = watch
        self._closing = False
        self.register_handler(Callback("any message", MatchXPath("{jabber:client}message"), self._on_stanza))
        self.add_event_handler("session_start", self._on_session)
        self.add_event_handler("disconnected", self._on_disconnected)
        self.add_event_handler("presence", self._on_presence)

    async def __aenter__(self) -> Controller:
        self.connect(self._host, self._port)
        async with asyncio.timeout(ONLINE_SECONDS):
            await self.online.wait()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        self.cancel_connection_attempt()
        await self.disconnect(wait=1.0)
        if self._run_out_filters is not None:
            self._run_out_filters.cancel()

    def _on_session(self, _: Any) -> None:
        for jid in self._watch:
            self.send_presence(pto=jid, ptype="subscribe")
        self.send_presence()
        self.online.set()

    def _on_disconnected(self, _: Any) -> None:
        self.online.clear()
        if not self._closing:
            self.connect(self._host, self._port)

    def _on_presence(self, presence: Any) -> None:
        if presence["from"].bare in self._watch and presence.xml.get("type") in (None, "unavailable"):
            show = presence.xml.get("type") or presence.xml.findtext("{jabber:client}show") or ""
            self.presences.put_nowait((show, presence.xml.findtext("{jabber:client}status") or ""))

    def _on_stanza(self, stanza: Any) -> None:
        self._hand_out(read_message(stanza.xml))
        event = read_event(stanza.xml)
        if event is None or stanza.xml.get("type") == "error":
            return
        self.reports.append(read_message(stanza.xml))
        self.arrivals.put_nowait(event.id)
        self.copies[event.id] = self.copies.get(event.id, 0) + 1
        if self.copies[event.id] == 1:
            self.events.put_nowait(event)
        sender = stanza.xml.get("from", "")
        if self._confirm == "receipt":
            self.post(receipt_message(sender, event.id))
        elif self._confirm == "ack":
            self.post(message_element(Envelope(to=sender, ack=event.id)))

    def _hand_out(self, envelope: Envelope) -> None:
        if envelope.ack:
            self.acknowledged.put_nowait(envelope.ack)
        info = envelope.info
        if info and info.get("command") in ("want_getContext", "getContext", "contextPlan"):
            answer = self.handout.answer(info)
            if answer:
                self.tell(envelope.sender, answer, noack=True)

    def push(self, to: str, *, dry_run: bool = False) -> str:
        """Tell a VM that there is a newer context, or one to be planned only; return the message's id."""
        return self.tell(to, {"command": "newContext", **self.handout.told(), "dryRun": "1" if dry_run else ""})

    def tell(self, to: str, info: Hash, *, noack: bool = False) -> str:
        """Send a command; return the message's id."""
        envelope = Envelope(id=str(uuid.uuid4()), to=to, noack=noack, content={"info": info})
        message = message_element(envelope)
        if self.signer is not None:
            self.signer.sign(message)
        self.post(message)
        return envelope.id

    def post(self, message: Element) -> None:
        """Send any `<message>`."""
        self.send(Message(self, message))  # type: ignore[no-untyped-call]  # as slixmpp leaves it


def describe(event: Event) -> str:
    """Return the line that is printed for an event."""
    body = event.body
    place = f"{event.time:%H:%M:%S}  {event.machine_id[:8]}  #{event.seq:<4}"
    if isinstance(body, StateChanged):
        reason = f"  ({body.reason})" if body.reason else ""
        return f"{place} ==> {body.state.upper()}{reason}"
    if isinstance(body, ActionEnded):
        reason = f"  ({body.reason})" if body.reason else ""
        return f"{place}     {body.result} {body.contextualizer}: {body.action} {body.target}{reason}"
    if isinstance(body, Note):
        return f"{place}     note: {body.message}"
    return f"{place}     {event.name}"


async def _watch_states(controller: Controller, until: State | None) -> None:
    while True:
        event = await controller.events.get()
        print(describe(event), flush=True)
        if isinstance(event.body, StateChanged) and event.body.state is until:
            return


async def _serve(options: argparse.Namespace) -> None:
    controller = Controller(options.jid, options.password, options.host, options.port, options.ca_file)
    async with controller:
        print(f"online as {options.jid}", flush=True)
        work = asyncio.create_task(_watch_states(controller, options.until_state))
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, work.cancel)
        await asyncio.wait({work})


def main() -> None:
    """Print events until SIGTERM or until a VM has reached a state."""
    parser = argparse.ArgumentParser(prog="python -m tests.servers.controller", description="Print what VMs report.")
    parser.add_argument("--jid", required=True)
    parser.add_argument("--password", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5222)
    parser.add_argument("--ca-file", type=Path, required=True)
    parser.add_argument("--until-state", type=State, help="end when a VM has reached this state")
    asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
