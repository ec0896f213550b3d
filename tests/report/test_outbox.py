"""The outbox: order, patience and independence, with reporters that fail on cue."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from ucvm_agent.errors import DeliveryDelayed, DeliveryRefused, NotConnected
from ucvm_agent.events import Event, Note, State
from ucvm_agent.network.retry import waits
from ucvm_agent.report.base import Reporter
from ucvm_agent.report.outbox import Outbox
from ucvm_agent.report.reporters import Reporters, make_reporters
from ucvm_agent.settings import Settings
from ucvm_agent.store.store import Store


class Scripted(Reporter):
    """A controller that answers as told, and with success when nothing is left to say."""

    def __init__(self, name: str, answers: Sequence[Exception] = ()) -> None:
        super().__init__(name)
        self.answers = list(answers)
        self.got: list[int] = []
        self.asked = 0
        self.delayed = asyncio.Event()
        self.delivered: asyncio.Queue[int] = asyncio.Queue()
        self.closed = False

    async def send(self, event: Event) -> None:
        self.asked += 1
        if self.answers:
            self.delayed.set()
            raise self.answers.pop(0)
        self.got.append(event.seq)
        self.delivered.put_nowait(event.seq)

    async def close(self) -> None:
        self.closed = True


class Thoughtful(Scripted):
    """One that takes its time when nothing is left to say."""

    def __init__(self, name: str, answers: Sequence[Exception]) -> None:
        super().__init__(name, answers)
        self.thinks = asyncio.Event()

    async def send(self, event: Event) -> None:
        if not self.answers:
            self.thinks.set()
            await asyncio.Event().wait()
        await super().send(event)


class Silent(Reporter):
    """A controller that never answers."""

    async def send(self, event: Event) -> None:
        await asyncio.Event().wait()


def outbox(store: Store, *reporters: Reporter) -> Outbox:
    return Outbox(store, Reporters(reporters), away=waits(0.001, 0.002))


async def test_events_arrive_in_order_from_before_and_during_the_run(store: Store) -> None:
    """What was queued before the start, from the loop and from a thread goes out in one order."""
    store.enter(State.BOOTING)
    reporter = Scripted("a")
    async with outbox(store, reporter).running() as running:
        store.enter(State.READY)
        await asyncio.to_thread(store.events.emit, Note(message="from a thread"))
        assert await running.drain(5)
    assert reporter.got == [1, 2, 3]
    assert reporter.closed


async def test_a_controller_that_is_away_holds_up_nobody(store: Store) -> None:
    """One never answers, one comes back after some failures; each gets its events in order."""
    patient, silent = Scripted("patient", [DeliveryDelayed("away")] * 5), Silent("silent")
    async with outbox(store, silent, patient).running() as running:
        for number in range(3):
            store.events.emit(Note(message=str(number)))
        async with asyncio.timeout(5):
            assert [await patient.delivered.get() for _ in range(3)] == [1, 2, 3]
        assert not await running.drain(0.05)
    assert patient.asked == 8
    assert store.events.next_event("silent") is not None


async def test_a_refused_event_is_counted_and_passed_over(store: Store) -> None:
    """The next one is not held up by it."""
    reporter = Scripted("a", [DeliveryRefused("never")])
    async with outbox(store, reporter).running() as running:
        store.events.emit(Note(message="bad"))
        store.events.emit(Note(message="good"))
        assert await running.drain(5)
    assert reporter.got == [2]
    assert delivery(store, "a") == (2, 1)


async def test_a_restart_goes_on_where_it_was(store: Store) -> None:
    """What a controller has is not sent again; what it lacks is."""
    store.events.emit(Note(message="1"))
    first = Scripted("a")
    async with outbox(store, first).running() as running:
        assert await running.drain(5)
    store.events.emit(Note(message="2"))
    second = Scripted("a")
    async with outbox(store, second).running() as running:
        assert await running.drain(5)
    assert (first.got, second.got) == ([1], [2])


async def test_a_controller_that_left_the_settings_holds_back_nothing(store: Store) -> None:
    """Its place in the outbox goes with it."""
    async with outbox(store, Silent("old")).running():
        pass
    async with outbox(store, Scripted("new")).running() as running:
        assert await running.drain(5)
    assert store.events.next_event("old") is None


async def test_a_hint_ends_the_waiting(store: Store) -> None:
    """When the connection is back, nobody waits for the end of a five-minute pause."""
    reporter = Scripted("a", [DeliveryDelayed("away", after=300.0)])
    async with outbox(store, reporter).running():
        store.events.emit(Note(message="1"))
        async with asyncio.timeout(5):
            await reporter.delayed.wait()
            reporter.again.set()
            assert await reporter.delivered.get() == 1


@pytest.mark.parametrize(
    ("failure", "shown"),
    [(NotConnected("no XMPP connection", after=300.0), ""), (DeliveryDelayed("status 503", after=300.0), "status 503")],
)
async def test_a_connection_that_is_back_is_not_shown_as_missing(
    failure: DeliveryDelayed, shown: str, store: Store
) -> None:
    """Although the controller may take long to confirm; what it said itself stands until it says otherwise."""
    reporter = Thoughtful("a", [failure])
    async with outbox(store, reporter).running():
        store.events.emit(Note(message="1"))
        async with asyncio.timeout(5):
            await reporter.delayed.wait()
            reporter.again.set()
            await reporter.thinks.wait()
        assert error(store, "a") == shown


async def test_without_controllers_nothing_waits(store: Store) -> None:
    """A VM on its own keeps its events and stops at once."""
    async with Outbox.open(Settings(), store) as running:
        store.enter(State.READY)
        assert await running.drain(1)


def test_controllers_come_from_the_settings() -> None:
    """One reporter for each, under its address; a controller named twice gets an event once."""
    settings = Settings.model_validate(
        {
            "xmpp": {"jid": "vm@site.example", "controllers": "jm@site.example,mon@site.example,jm@site.example"},
            "http": {"url": "https://hooks.example/events"},
        }
    )
    made = make_reporters(settings, "0123456789")
    assert [reporter.name for reporter in made.each] == [
        "xmpp:jm@site.example",
        "xmpp:mon@site.example",
        "http:https://hooks.example/events",
    ]


def delivery(store: Store, reporter: str) -> tuple[int, int]:
    """Return how far a controller has been told, and how many events it refused."""
    row = store._database.row("SELECT seq, refused FROM deliveries WHERE reporter = ?", (reporter,))
    assert row is not None
    return row[0], row[1]


def error(store: Store, reporter: str) -> str:
    """Return why a controller could not be told, as `status` shows it."""
    row = store._database.row("SELECT error FROM deliveries WHERE reporter = ?", (reporter,))
    assert row is not None
    return str(row[0])
