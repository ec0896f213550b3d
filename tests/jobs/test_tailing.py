"""What a job has printed, on its way to a manager."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Any, cast
from xml.etree.ElementTree import Element, tostring

import pytest

from tests.copilot.line import JM
from tests.jobs.place import Place
from ucvm_agent.copilot import messages
from ucvm_agent.copilot.messages import JobOutput, TailJob
from ucvm_agent.copilot.post import MAX_BYTES, SECURE_GROWTH, Post
from ucvm_agent.copilot.stanza import read_message
from ucvm_agent.jobs.conversation import Conversation, Identity
from ucvm_agent.jobs.tailing import send_output
from ucvm_agent.jobs.workshop import Workshop
from ucvm_agent.settings import Jobs, Transfer

if TYPE_CHECKING:
    from ucvm_agent.xmpp.listener import Listener

SIZE = 50_000


class Server:
    """Acknowledges what it takes, unless it is `stuck`: then it goes away once it was sent something."""

    connected = True
    acknowledges = True

    def __init__(self) -> None:
        self.stuck = False
        self.sent: list[Element] = []
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)

    def send(self, message: Element) -> None:
        self.sent.append(message)
        asyncio.get_running_loop().call_soon(self._go if self.stuck else self._take, message.get("id", ""))

    def _take(self, id_: str) -> None:
        for listener in self._listeners:
            listener.acknowledged(id_)

    def _go(self, _: str) -> None:
        for listener in self._listeners:
            listener.session_lost("the server is gone")

    def heard(self) -> list[JobOutput]:
        read = [messages.read(read_message(message)) for message in self.sent]
        return [told for told in read if isinstance(told, JobOutput)]


@pytest.fixture
async def workshop(place: Place) -> Workshop:
    """Where a job has printed much, and has ended."""
    running, _ = await place.start(f"head -c {SIZE} /dev/zero")
    await running.wait()
    return Workshop(Jobs(), place.root / "work", Transfer())


async def send(server: Server, workshop: Workshop) -> None:
    """Send what the job has printed."""
    identity = Identity("m-1", "host")
    post = Post(server, accepts=lambda _: True)
    conversation = Conversation(post, cast("Any", server), Jobs(), (JM,), identity, lambda _: None)
    async with asyncio.timeout(60):
        await send_output(TailJob(job_id="job-1"), JM, conversation, workshop, lambda: False)


async def test_all_of_it_comes_in_messages_that_may_be_encrypted(workshop: Workshop) -> None:
    """Encryption makes them longer; they would be refused then."""
    server = Server()
    await send(server, workshop)
    assert b"".join(base64.b64decode(told.data) for told in server.heard()) == bytes(SIZE)
    assert [told.end for told in server.heard()][-1] == "1"
    assert max(len(tostring(message)) for message in server.sent) < MAX_BYTES // SECURE_GROWTH


async def test_a_piece_waits_until_the_server_has_the_one_before(workshop: Workshop) -> None:
    """Gigabytes would pile up in the memory of the agent otherwise, and its pings come too late."""
    server = Server()
    server.stuck = True
    await send(server, workshop)
    assert [told.offset for told in server.heard()] == [0]
