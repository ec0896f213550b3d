"""What is kept comes again until it is acknowledged: on the original's schedule, over restarts and lost sessions."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from tests.copilot.line import JM
from tests.servers.prosody import Prosody
from ucvm_agent.copilot.messages import CancelJob, JobDone
from ucvm_agent.copilot.post import Post
from ucvm_agent.copilot.resending import KEPT_SECONDS, LONGEST_WAIT, STORE_SECONDS, Resending
from ucvm_agent.errors import DeliveryDelayed
from ucvm_agent.events import Note
from ucvm_agent.network.retry import waits
from ucvm_agent.settings import Xmpp
from ucvm_agent.store import schema
from ucvm_agent.store.letters import Letter
from ucvm_agent.store.store import Store
from ucvm_agent.xmpp.client import Connection

START = 1_700_000_000.0


class Sender:
    """The letters of a machine, with a clock that tests set."""

    def __init__(self, path: Path) -> None:
        self.now = START
        self.path = path
        self.online = True
        self.sent: list[tuple[float, str]] = []
        self.start()

    def start(self) -> None:
        """Start as after a reboot."""
        self.store = Store(self.path, "boot")
        self.resending = Resending(self.store.letters, self._transmit, lambda: self.now)

    def _transmit(self, letter: Letter) -> None:
        if not self.online:
            raise DeliveryDelayed("no XMPP connection")
        self.sent.append((round(self.now - START), letter.stanza))

    def write(self, id: str = "i1", stanza: str = "<message/>") -> None:  # noqa: A002 - as the attribute is called
        self.resending.put(Letter(id, JM, "jobDone", stanza, self.now))

    async def until(self, end: float) -> None:
        """Let time pass, and have done what becomes due."""
        while (wait := await self.resending.send_due()) is not None and self.now + wait <= START + end:
            self.now += wait
        self.now = START + end

    def notes(self) -> list[str]:
        event = self.store.events.next_event("c")
        return [event.body.message] if event is not None and isinstance(event.body, Note) else []


@pytest.fixture
def sender(tmp_path: Path) -> Iterator[Sender]:
    sender = Sender(tmp_path / "state.db")
    sender.store.events.add_reporter("c")
    yield sender
    sender.store.close()


async def test_it_comes_again_as_the_original_repeats_it(sender: Sender) -> None:
    """60 + 10 x 2^k seconds after it was written, unchanged; after a day it is given up, and that is reported."""
    sender.write(stanza="<message id='i1'/>")
    await sender.until(300)
    assert sender.sent == [(time, "<message id='i1'/>") for time in (0, 70, 80, 100, 140, 220)]
    await sender.until(KEPT_SECONDS)
    assert [time for time, _ in sender.sent[6:]] == [60 + 10 * 2**k for k in range(5, 14)]
    assert sender.notes() == []
    await sender.until(2 * KEPT_SECONDS)
    assert len(sender.sent) == 15
    assert sender.notes() == [f"jobDone to {JM} is given up: nobody has acknowledged it for a day"]
    assert await sender.resending.send_due() is None


async def test_only_the_account_that_it_was_sent_to_acknowledges_it(sender: Sender) -> None:
    """Under any resource; then it is forgotten."""
    sender.write()
    await sender.until(60)
    sender.resending.acknowledged("i1", "mallory@site.example")
    sender.resending.acknowledged("i2", "jm@site.example")
    await sender.until(75)
    assert len(sender.sent) == 2
    sender.resending.acknowledged("i1", "jm@site.example")
    await sender.until(10_000)
    assert len(sender.sent) == 2
    assert sender.store.letters.next_due() is None


async def test_it_comes_again_after_a_restart(sender: Sender) -> None:
    """At once, in order, and then with the pauses that it had reached."""
    sender.write("i1", "<message id='1'/>")
    sender.write("i2", "<message id='2'/>")
    await sender.until(85)
    sender.store.close()
    sender.sent = []
    sender.start()
    await sender.until(106)
    assert sender.sent == [(time, f"<message id='{number}'/>") for time in (85, 105) for number in "12"]


async def test_a_new_session_gets_it_at_once_and_a_resumed_one_has_it(sender: Sender) -> None:
    """What the lost session had in its hands may be lost."""
    sender.write()
    await sender.until(5)
    sender.resending.session_lost()
    sender.online = False
    await sender.until(500)
    assert len(sender.sent) == 1
    sender.online = True
    sender.resending.session_started(resumed=False)
    await sender.until(501)
    assert [time for time, _ in sender.sent] == [0, 500]
    sender.resending.session_lost()
    sender.resending.session_started(resumed=True)
    await sender.until(502)
    assert len(sender.sent) == 2


async def test_nothing_is_given_up_because_the_machine_was_away(sender: Sender) -> None:
    """Nor because the clock was set: it is given up only after it was tried in this session."""
    sender.write()
    sender.online = False
    await sender.until(5)
    sender.now = START + 3 * KEPT_SECONDS
    sender.online = True
    sender.resending.session_started(resumed=False)
    await sender.until(3 * KEPT_SECONDS + 1)
    assert len(sender.sent) == 1
    assert sender.notes() == []
    await sender.until(3 * KEPT_SECONDS + 100)
    assert sender.notes()


async def test_a_clock_that_was_set_back_delays_nothing(sender: Sender) -> None:
    """The schedule begins anew with the new time."""
    sender.write()
    await sender.until(5)
    sender.now = START - 10 * KEPT_SECONDS
    wait = await sender.resending.send_due()
    assert len(sender.sent) == 2
    assert wait is not None
    assert 0 < wait <= LONGEST_WAIT


async def test_a_store_that_fails_is_tried_again(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk, or another process that holds it, ends nothing; what is kept stays kept."""
    sender.write()
    sender.store.close()
    monkeypatch.setattr(schema, "BUSY_SECONDS", 0.05)
    sender.start()
    with closing(sqlite3.connect(sender.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert await sender.resending.send_due() == STORE_SECONDS
    await sender.until(1)
    assert len(sender.sent) == 1


# Over a real server


class Peer:
    """One end with a real connection."""

    def __init__(self, prosody: Prosody, name: str, store: Store | None = None) -> None:
        settings = Xmpp.model_validate(
            {
                "jid": prosody.jid(name),
                "password": "pw",
                "host": prosody.host,
                "port": prosody.port,
                "ca_file": prosody.ca_file,
            }
        )
        self.connection = Connection(settings, f"{name}-0123-4567", away=waits(0.05, 0.2))
        self.post = Post(self.connection, accepts=lambda _: True, letters=store.letters if store else None)
        self.done: asyncio.Queue[JobDone] = asyncio.Queue()
        self.post.on(JobDone, lambda sender, message, envelope: self.done.put_nowait(message))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Peer]:
        tasks = [asyncio.create_task(self.connection.run()), asyncio.create_task(self.post.run())]
        try:
            async with asyncio.timeout(20):
                await self.connection.tried.wait()
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


@pytest.fixture
async def prosody(tmp_path: Path) -> AsyncIterator[Prosody]:
    """A server with an agent and a job manager."""
    folder = tmp_path / "prosody"
    folder.mkdir()
    async with Prosody(folder, {"agent": "pw", "jm": "pw"}) as server:
        yield server


async def test_a_result_arrives_once_though_server_and_agent_die(
    prosody: Prosody, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written while the server is dead, by an agent that is then restarted; acknowledged, it is forgotten."""
    to = prosody.jid("jm")
    await prosody.kill()
    async with Peer(prosody, "agent", sender.store).running() as agent:
        with pytest.raises(DeliveryDelayed):
            agent.post.send(to, JobDone(job_id="j", exit_code="0"))
        kept = {
            await asyncio.to_thread(agent.post.send, to, JobDone(job_id="j", exit_code="256"), keep=True),
            agent.post.send(to, CancelJob(job_id="k"), keep=True),
        }
    sender.store.close()
    sender.start()
    forgotten = asyncio.Queue[str]()
    loop, remove = asyncio.get_running_loop(), sender.store.letters.remove

    def forget(ids: list[str]) -> None:
        remove(ids)
        for each in ids:
            loop.call_soon_threadsafe(forgotten.put_nowait, each)

    monkeypatch.setattr(sender.store.letters, "remove", forget)
    await prosody.start()
    async with Peer(prosody, "jm").running() as manager, Peer(prosody, "agent", sender.store).running():
        async with asyncio.timeout(20):
            assert await manager.done.get() == JobDone(job_id="j", exit_code="256")
            assert {await forgotten.get(), await forgotten.get()} == kept
        assert manager.done.empty()
