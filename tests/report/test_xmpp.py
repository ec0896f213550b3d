"""Reports over a real Prosody: each event arrives, once after duplicates are dropped, in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.servers.controller import Controller
from tests.servers.prosody import Prosody
from tests.xmpp.ear import Ear
from ucvm_agent.errors import DeliveryDelayed, DeliveryRefused
from ucvm_agent.events import Event, Note, State
from ucvm_agent.network.retry import waits
from ucvm_agent.report.outbox import Outbox
from ucvm_agent.report.reporters import Reporters
from ucvm_agent.report.stanzas import event_message, read_event
from ucvm_agent.report.xmpp import REPEAT_SECONDS, XmppReporter
from ucvm_agent.settings import Xmpp
from ucvm_agent.store.store import Store
from ucvm_agent.xmpp.client import Connection

EVENTS = 5


class Agent:
    """The reporting half of an agent."""

    def __init__(self, store: Store, prosody: Prosody, *, receipts: bool = True, controllers: str = "jm") -> None:
        settings = Xmpp.model_validate(
            {
                "jid": prosody.jid("agent"),
                "password": "pw",
                "host": prosody.host,
                "port": prosody.port,
                "ca_file": prosody.ca_file,
                "controllers": tuple(prosody.jid(name) for name in controllers.split(",")),
            }
        )
        self.now = 0.0
        self.connection = Connection(
            settings, store.machine_id, controllers=settings.controllers, away=waits(0.05, 0.2)
        )
        self.reporters = tuple(
            XmppReporter(self.connection, jid, receipts=receipts, clock=lambda: self.now)
            for jid in settings.controllers
        )
        self._outbox = Outbox(store, Reporters(self.reporters, self.connection), away=waits(0.05, 0.1))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Outbox]:
        async with self._outbox.running() as outbox:
            yield outbox


def controller(prosody: Prosody, name: str = "jm", confirm: str = "receipt") -> Controller:
    return Controller(prosody.jid(name), "pw", prosody.host, prosody.port, prosody.ca_file, confirm=confirm)


async def received(controller: Controller, count: int) -> list[str]:
    """Return the messages of the next events."""
    texts = []
    async with asyncio.timeout(20):
        for _ in range(count):
            body = (await controller.events.get()).body
            assert isinstance(body, Note)
            texts.append(body.message)
    return texts


def emit(store: Store, prefix: str) -> list[str]:
    texts = [f"{prefix}{number}" for number in range(EVENTS)]
    for text in texts:
        store.events.emit(Note(message=text))
    return texts


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_nothing_is_lost_while_the_server_is_away(store: Store, prosody: Prosody, end: str) -> None:
    """Events before, during and after an outage of the server arrive in order."""
    async with controller(prosody) as jm, Agent(store, prosody).running() as outbox:
        expected = emit(store, "before")
        arrived = await received(jm, 2)
        expected += emit(store, "at the end")
        await (prosody.stop() if end == "stop" else prosody.kill())
        expected += emit(store, "during")
        await prosody.start()
        expected += emit(store, "after")
        arrived += await received(jm, len(expected) - 2)
        assert arrived == expected
        assert await outbox.drain(10)
        assert jm.events.empty()


async def test_a_controller_that_was_away_gets_everything_without_copies(store: Store, prosody: Prosody) -> None:
    """The server keeps the first message for it; we do not repeat it meanwhile, and go on when it is back."""
    async with Agent(store, prosody).running() as outbox:
        expected = emit(store, "away")
        assert not await outbox.drain(0.5)
        async with controller(prosody) as jm:
            assert await received(jm, EVENTS) == expected
            assert await outbox.drain(10)
        expected = emit(store, "away again")
        async with controller(prosody) as jm:
            assert await received(jm, EVENTS) == expected
            assert set(jm.copies.values()) == {1}


async def test_a_controller_and_the_server_may_both_be_away(store: Store, prosody: Prosody) -> None:
    """In whatever order they come back."""
    async with Agent(store, prosody).running() as outbox:
        await prosody.kill()
        expected = emit(store, "dark")
        await prosody.start()
        assert not await outbox.drain(0.5)
        async with controller(prosody) as jm:
            assert await received(jm, EVENTS) == expected


async def test_an_agent_that_was_killed_repeats_what_it_is_unsure_of(store: Store, prosody: Prosody) -> None:
    """The same event comes under the same id, so the controller can drop it."""
    async with controller(prosody, confirm="") as jm:
        async with Agent(store, prosody).running():
            store.events.emit(Note(message="once"))
            await received(jm, 1)
        async with Agent(store, prosody).running():
            async with asyncio.timeout(10):
                assert await jm.arrivals.get() == await jm.arrivals.get()
        assert jm.events.empty()


async def test_an_original_component_is_understood_and_understands(store: Store, prosody: Prosody) -> None:
    """Its acknowledgement confirms an event, and the event is a `reportEvent` to it."""
    async with controller(prosody, confirm="ack") as jm, Agent(store, prosody).running() as outbox:
        store.enter(State.READY)
        assert await outbox.drain(10)
        assert jm.reports[0].info == {"command": "reportEvent", "component": "agent", "event": "state.ready"}
        assert not jm.reports[0].noack


async def test_the_presence_tells_the_state(store: Store, prosody: Prosody) -> None:
    """With its reason, also the state that was entered before the connection stood."""
    store.enter(State.BOOTING)
    agent = prosody.jid("agent")
    jm = Controller(prosody.jid("jm"), "pw", prosody.host, prosody.port, prosody.ca_file, watch=(agent,))
    async with jm, Agent(store, prosody).running(), asyncio.timeout(10):
        while await jm.presences.get() != ("", "booting"):
            pass
        store.enter(State.DEGRADED, "no user-data")
        assert await jm.presences.get() == ("away", "degraded: no user-data")


async def test_two_controllers_do_not_wait_for_each_other(store: Store, prosody: Prosody) -> None:
    """One that confirms nothing keeps only itself waiting."""
    async with (
        controller(prosody, "mon", confirm="") as mute,
        controller(prosody, "jm") as jm,
        Agent(store, prosody, controllers="mon,jm").running(),
    ):
        expected = emit(store, "n")
        assert await received(jm, EVENTS) == expected
        assert await received(mute, 1) == expected[:1]
        assert mute.events.empty()


async def test_the_server_s_word_is_enough_without_receipts(store: Store, prosody: Prosody) -> None:
    """With `receipts = false` nothing waits for the controller, which gets it all when it comes."""
    async with Agent(store, prosody, receipts=False).running() as outbox:
        expected = emit(store, "n")
        assert await outbox.drain(10)
    async with controller(prosody, confirm="") as jm:
        assert await received(jm, EVENTS) == expected
        assert jm.reports[0].noack


async def test_an_unknown_controller_is_a_reason_and_not_the_end(store: Store, prosody: Prosody) -> None:
    """The server's error is told; the event waits for somebody to mend the settings."""
    agent = Agent(store, prosody, controllers="nobody")
    (reporter,) = agent.reporters
    ear = Ear()
    agent.connection.listen(ear)
    async with agent.running():
        event = store.events.emit(Note(message="x"))
        await ear.next("started")
        with pytest.raises(DeliveryDelayed, match="cannot be reached: service-unavailable"):
            await reporter.send(event)
        assert store.events.next_event(reporter.name) == event


async def test_only_the_controller_s_account_confirms(store: Store, prosody: Prosody) -> None:
    """Somebody who learns an id cannot make an event disappear."""
    agent = Agent(store, prosody)
    store.events.emit(Note(message="x"))
    async with controller(prosody, confirm="") as jm, controller(prosody, "mon") as eve, agent.running() as outbox:
        await received(jm, 1)
        (identity,) = jm.copies
        eve.post(
            ElementTree.fromstring(f"<message xmlns='jabber:client' to='{agent.connection.jid}' ack='{identity}'/>")
        )
        assert not await outbox.drain(0.5)


async def test_silence_is_followed_by_a_copy_after_ten_minutes(store: Store, prosody: Prosody) -> None:
    """And not before."""
    agent = Agent(store, prosody)
    async with controller(prosody, confirm="") as jm, agent.running() as outbox:
        store.events.emit(Note(message="x"))
        await received(jm, 1)
        agent.now = REPEAT_SECONDS - 1
        await poke(agent, store)
        assert list(jm.copies.values()) == [1]
        agent.now = REPEAT_SECONDS
        await poke(agent, store)
        async with asyncio.timeout(10):
            assert await jm.arrivals.get() == await jm.arrivals.get()
        assert not await outbox.drain(0)


async def poke(agent: Agent, store: Store) -> None:
    """Let the reporter look once at the event that is under way."""
    event = store.events.next_event(agent.reporters[0].name)
    assert event is not None
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(agent.reporters[0].send(event), 0.2)


async def test_an_error_of_the_controller_is_judged_by_its_type(store: Store, prosody: Prosody) -> None:
    """`modify` refuses the event for good; anything else only delays it."""
    agent = Agent(store, prosody)
    first, second = store.events.emit(Note(message="1")), store.events.emit(Note(message="2"))
    (reporter,) = agent.reporters
    ear = Ear()
    agent.connection.listen(ear)
    task = asyncio.create_task(agent.connection.run())
    async with controller(prosody, confirm="") as jm:
        await ear.next("started")
        for event, kind, expected in ((first, "modify", DeliveryRefused), (second, "auth", DeliveryDelayed)):
            sending = asyncio.create_task(reporter.send(event))
            await received(jm, 1)
            jm.post(
                ElementTree.fromstring(
                    f"<message xmlns='jabber:client' to='{agent.connection.jid}' type='error' id='{event.id}'>"
                    f"<error type='{kind}'><forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
                )
            )
            with pytest.raises(expected, match="forbidden"):
                await sending
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_event_that_the_server_would_not_take_is_refused(store: Store, prosody: Prosody) -> None:
    """It would end the stream, again and again."""
    async with controller(prosody) as jm, Agent(store, prosody).running():
        store.events.emit(Note(message="x" * 100_000))
        store.events.emit(Note(message="next"))
        assert await received(jm, 1) == ["next"]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_travels(text: str) -> None:
    """Characters that XML forbids do not end the stream."""
    event = Event.model_validate(
        {
            "id": "1",
            "machine_id": "m",
            "boot_id": "b",
            "seq": 1,
            "time": "2026-01-01T00:00:00Z",
            "monotonic": 1.0,
            "body": {"kind": "note", "message": text},
        }
    )
    wire = ElementTree.tostring(event_message(event, "jm@site.example", receipt=True))
    assert read_event(ElementTree.fromstring(wire)) == event
