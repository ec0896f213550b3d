"""A job manager that a test scripts: it speaks as the original's does, or as ours (docs/protocol-jobs.md).

`async with Manager(account, chirp) as manager`; then `manager.queue.append(Task("job-1", "echo hello"))`, and what
agents say is in `manager.said`, in order.
"""

from __future__ import annotations

import asyncio
import ssl
import tarfile
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar
from xml.etree.ElementTree import Element

from slixmpp import ClientXMPP
from slixmpp.stanza import Message as Stanza
from slixmpp.xmlstream.handler import CoroutineCallback
from slixmpp.xmlstream.matcher import MatchXPath

from tests.servers.chirp import Chirp
from tests.servers.prosody import Prosody
from ucvm_agent.copilot import messages
from ucvm_agent.copilot.messages import (
    AnyMessage,
    GetJob,
    GetOutputDir,
    HaveJob,
    HaveOutputDir,
    JobDescription,
    JobDone,
    Message,
    RunJob,
    StoreOutputDir,
    WantJob,
    WantOutputDir,
)
from ucvm_agent.copilot.stanza import Envelope, Hash, message_element, read_message

PATIENCE = 30.0
PASSWORD = "pw"

M = TypeVar("M", bound=Message)


@dataclass(frozen=True)
class Task:
    """A job to hand out.

    Arguments:
        script: shell text of its command, `run.sh`.
        values: of its description, where they differ.
    """

    id: str
    script: str
    values: dict[str, str] = field(default_factory=dict)


class Manager(ClientXMPP):
    """One manager.

    Arguments:
        user: its account on the server.
        chirp: where input and output are.
        ours: it echoes requests, gives leases, and lets agents ask it directly.

    Attributes:
        queue: what it hands out, first in, first out; an empty one is answered with silence.
        answers: functions that answer instead of it, by the kind of message; each is used once, in order.
        said: what it was told, each message once.
        declined: the kinds of messages whose acknowledgement was declined.
        given: how often it has handed out each job.
    """

    def __init__(self, prosody: Prosody, chirp: Chirp, user: str = "jm", *, ours: bool = False) -> None:
        trusting = ssl.create_default_context(cafile=prosody.ca_file)
        super().__init__(f"{prosody.jid(user)}/alpha", PASSWORD, ssl_context=trusting)
        self.enable_direct_tls = False
        self.queue: list[Task] = []
        self.require_file = ""
        self.answers: dict[type[Message], list[Callable[[Any], AnyMessage | None]]] = {}
        self.said: list[Message] = []
        self.declined: set[type[Message]] = set()
        self.given: list[str] = []
        self.agent = ""
        self.ours = ours
        self._chirp = chirp
        self._prosody = prosody
        self._seen: set[str] = set()
        self._news = asyncio.Condition()
        self._online = asyncio.Event()
        self._closing = False
        self.register_handler(CoroutineCallback("any message", MatchXPath("{jabber:client}message"), self._on_stanza))
        self.add_event_handler("session_start", self._on_session)
        self.add_event_handler("disconnected", self._on_disconnected)

    async def __aenter__(self) -> Self:
        self.connect(self._prosody.host, self._prosody.port)
        async with asyncio.timeout(PATIENCE):
            await self._online.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing = True
        self.cancel_connection_attempt()
        await self.disconnect(wait=1.0)
        if self._run_out_filters is not None:
            self._run_out_filters.cancel()

    async def hears(self, kind: type[M], times: int = 1, wanted: Callable[[M], bool] = lambda _: True) -> M:
        """Wait until it was told this so often; return what was said last."""
        async with asyncio.timeout(PATIENCE), self._news:
            while True:
                heard = self.heard(kind, wanted)
                if len(heard) >= times:
                    return heard[times - 1]
                await self._news.wait()

    def heard(self, kind: type[M], wanted: Callable[[M], bool] = lambda _: True) -> list[M]:
        """Return what it was told of this kind."""
        return [message for message in self.said if isinstance(message, kind) and wanted(message)]

    def order(self, message: AnyMessage) -> None:
        """Tell the agent something."""
        self._say(self.agent, messages.content(message))

    def output(self, job_id: str, name: str) -> str:
        """Return the content of a file in the output of a job."""
        with tarfile.open(self._chirp.root / job_id / f"{job_id}.tgz") as archive:
            member = archive.extractfile(f"./{name}")
            assert member is not None
            return member.read().decode()

    # What the original does (references/copilot-protocol.md, section 4.2)

    def _answer(self, message: Message) -> AnyMessage | None:
        for kind, scripted in self.answers.items():
            if isinstance(message, kind) and scripted:
                return scripted.pop(0)(message)
        match message:
            case WantJob() if self.queue:
                extra = {"request": message.request, "direct": "1"} if self.ours else {}
                return HaveJob(require_file=self.require_file, **extra)
            case GetJob() if self.queue:
                return self.hand_out(self.queue.pop(0), message)
            case WantOutputDir():
                return HaveOutputDir(request=message.request if self.ours else "")
            case GetOutputDir():
                self._make_folder(message.job_id)
                echo = message.request if self.ours else ""
                job = message.job_id
                return StoreOutputDir(job_id=job, output_dir=job, output_chirp_url=self._chirp.server, request=echo)
        return None

    def hand_out(self, task: Task, asked: GetJob) -> RunJob:
        """Return the order to run a job, whose input is on the Chirp server then."""
        self.given.append(task.id)
        folder = self._make_folder(task.id)
        (folder / "run.sh").write_text(f"#!/bin/sh\n{task.script}\n")
        values = {
            "id": task.id,
            "command": "run.sh",
            "chirp_url": self._chirp.server,
            "input_dir": task.id,
            "input_files": "run.sh",
        }
        extra = {"request": asked.request, "lease": str(uuid.uuid4())} if self.ours else {}
        job = JobDescription.model_validate(values | task.values)
        return RunJob(job=job, job_data="startedAt=1363000000\n", **extra)

    def _make_folder(self, job_id: str) -> Path:
        folder = self._chirp.root / job_id
        return folder if folder.is_dir() else self._chirp.make_folder(job_id)

    # The wire

    def _on_session(self, _: Any) -> None:
        self.send_presence()
        self._online.set()

    def _on_disconnected(self, _: Any) -> None:
        if not self._closing:
            self.connect(self._prosody.host, self._prosody.port)

    async def _on_stanza(self, stanza: Any) -> None:
        envelope = read_message(stanza.xml)
        if envelope.ack or not envelope.id or stanza.xml.get("type") == "error":
            return
        if not envelope.noack:
            self._post(message_element(Envelope(to=envelope.sender, ack=envelope.id)))
        message = messages.read(envelope)
        if message is None or envelope.id in self._seen:
            return
        self._seen.add(envelope.id)
        self.agent = envelope.sender
        if envelope.noack:
            self.declined.add(type(message))
        async with self._news:
            self.said.append(message)
            self._news.notify_all()
        answer = self._answer(message)
        if answer is not None:
            self._say(envelope.sender, messages.content(answer))

    def _say(self, to: str, content: Hash) -> None:
        self._post(message_element(Envelope(id=str(uuid.uuid4()), to=to, content=content)))

    def _post(self, message: Element) -> None:
        self.send(Stanza(self, message))  # type: ignore[no-untyped-call]  # as slixmpp leaves it


def done(job_id: str) -> Callable[[JobDone], bool]:
    """Return whether a message says that this job is done."""
    return lambda message: message.job_id == job_id
