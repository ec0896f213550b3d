"""`status` reads the state beside a daemon or without one."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ucvm_agent.errors import StoreBusy
from ucvm_agent.events import ContextReceived, State
from ucvm_agent.settings import Settings
from ucvm_agent.sources.base import Found, Metadata
from ucvm_agent.store import lock
from ucvm_agent.store.journal import JournalEntry
from ucvm_agent.store.render_status import status_text
from ucvm_agent.store.status import read, wait_settled
from ucvm_agent.store.store import Store


def test_status_tells_the_whole_story(tmp_path: Path) -> None:
    """State, source, what was done and what failed, and who still waits for what."""
    store = Store(tmp_path / "state.db", "boot-1")
    store.events.add_reporter("xmpp:jm@example.org")
    store.enter(State.CONTEXTUALIZING)
    body = ContextReceived(source="ec2", origin="url", instance_id="i-1", digest="d", errors=1, problems=("error: p",))
    store.keep_context(Found("ec2", "url", b"x", metadata=Metadata("i-1")), "d", body)
    store.record(JournalEntry("old", "i-1", "users", "user", "gone", "failed"), "an earlier context")
    store.record(JournalEntry("kept", "i-1", "users", "user", "atlas", "done", "create"), "an earlier context")
    store.adopt([("kept", "i-1")], "d")
    store.record(JournalEntry("k", "i-1", "scripts", "script", "s", "failed", "run", "exit status 3"), "d")
    store.enter(State.DEGRADED, "script s: exit status 3")
    store.events.undelivered("xmpp:jm@example.org", "connection refused")
    status = read(store.path)
    assert (status.state, status.reason, status.since != "") == (State.DEGRADED, "script s: exit status 3", True)
    assert (status.source, status.instance_id, status.boot_id, status.boots) == ("ec2", "i-1", "boot-1", 1)
    assert status.problems == ("error: p",)
    assert [(entry.target, entry.outcome) for entry in status.actions] == [("atlas", "done"), ("s", "failed")]
    (delivery,) = status.deliveries
    assert (delivery.waiting, delivery.error) == (3, "connection refused")


def test_people_can_read_what_a_script_has_printed(tmp_path: Path) -> None:
    """A reason of several lines stays beneath what it belongs to; how a job ended is said in words."""
    store = Store(tmp_path / "state.db", "boot-1")
    store.events.add_reporter("xmpp:jm@example.org")
    store.enter(State.DEGRADED, "it ended with exit status 3, after printing:\none\ntwo")
    text = status_text(read(store.path), running=False, boot_id="boot-1", settings=Settings(), now=datetime.now(UTC))
    assert "  reason    it ended with exit status 3, after printing:\n            one\n            two\n" in text
    assert "never told yet, 1 event waiting" in text


def test_waiting_ends_when_this_boot_has_settled(tmp_path: Path) -> None:
    """Neither an absent state nor how an earlier boot ended is an answer."""
    path = tmp_path / "state.db"
    results: list[State | None] = []
    waiter = threading.Thread(target=lambda: results.append(wait_settled(path, "boot-2").state))
    waiter.start()
    first = Store(path, "boot-1")
    first.enter(State.READY)
    first.close()
    second = Store(path, "boot-2")
    second.enter(State.CONTEXTUALIZING)
    waiter.join(0.5)
    assert results == []
    second.enter(State.DEGRADED, "because")
    waiter.join(10)
    assert results == [State.DEGRADED]


def test_one_agent_at_a_time(tmp_path: Path) -> None:
    """A second agent is told that there is a first; the lock ends with its holder."""
    assert not lock.held(tmp_path)
    with lock.hold(tmp_path):
        assert lock.held(tmp_path)
        with pytest.raises(StoreBusy, match="another ucvm-agent"), lock.hold(tmp_path):
            pass
    assert not lock.held(tmp_path)


def test_looking_at_the_lock_keeps_nobody_from_it(tmp_path: Path) -> None:
    """A `status` at the wrong moment does not send away an agent that is starting."""
    with lock.hold(tmp_path):
        pass
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            lock.held(tmp_path)

    with ThreadPoolExecutor(2) as pool:
        looking = [pool.submit(look) for _ in range(2)]
        try:
            for _ in range(500):
                with lock.hold(tmp_path):
                    pass
        finally:
            stop.set()
    assert all(each.exception() is None for each in looking)
