"""The durable state: what is committed stays, in order, and is told to every controller."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from ucvm_agent.events import ActionEnded, ContextReceived, Note, State, StateChanged
from ucvm_agent.sources.base import Found, Metadata, PersonalityFile
from ucvm_agent.store.events import KEPT_EVENTS
from ucvm_agent.store.journal import JournalEntry
from ucvm_agent.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "state" / "state.db", "boot-1")


def found(instance_id: str) -> Found:
    metadata = Metadata(instance_id, public_keys=("k",))
    given = Found("ec2", "http://metadata/user-data", b"#!/bin/sh\n", b"#cloud-config\n", metadata=metadata)
    return replace(given, extra_data=b"[cernvm]\n", pickup=b"\x1f\x8b")


def received(instance_id: str) -> ContextReceived:
    return ContextReceived(source="ec2", origin="http://metadata", instance_id=instance_id, digest="d")


def test_state_file_is_private(store: Store) -> None:
    """Nobody but root reads the user-data that it holds."""
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(store.path.parent.stat().st_mode) == 0o700


def test_a_change_of_state_is_one_event_and_a_repetition_none(store: Store) -> None:
    """Entering the state that holds already, for the same reason, tells nobody anything."""
    store.events.add_reporter("c")
    told: list[bool] = []
    store.events.on_event = lambda: told.append(True)
    first = store.enter(State.BOOTING)
    assert store.enter(State.BOOTING) is None
    second = store.enter(State.DEGRADED, "no user-data")
    assert first is not None
    assert second is not None
    assert second.body == StateChanged(state=State.DEGRADED, previous=State.BOOTING, reason="no user-data")
    assert (first.seq, second.seq, len(told)) == (1, 2, 2)


def test_each_controller_gets_each_event_once_and_in_order(store: Store) -> None:
    """A controller that is away holds up nobody else; one that refuses an event gets the next."""
    store.events.add_reporter("fast")
    store.events.add_reporter("away")
    sent = [store.events.emit(Note(message=str(number))) for number in range(3)]
    for event in sent:
        assert store.events.next_event("fast") == event
        store.events.delivered("fast", event, refused=event.seq == 2)
    assert store.events.next_event("fast") is None
    assert store.events.next_event("away") == sent[0]


def test_outbox_is_bounded_by_what_was_delivered(store: Store) -> None:
    """Events that every controller has go in time; one that somebody lacks never does."""
    store.events.add_reporter("away")
    first = store.events.emit(Note(message="first"))
    for number in range(KEPT_EVENTS + 10):
        last = store.events.emit(Note(message=str(number)))
    assert store.events.next_event("away") == first
    store.events.delivered("away", last)
    store.events.emit(Note(message="one more"))
    store.events.add_reporter("new")
    oldest = store.events.next_event("new")
    assert oldest is not None
    assert oldest.seq == last.seq + 1 - KEPT_EVENTS + 1


def test_a_forgotten_controller_holds_back_nothing(store: Store) -> None:
    """A controller that the settings no longer name is dropped."""
    store.events.add_reporter("old")
    store.events.emit(Note(message="x"))
    store.events.keep_reporters({"new"})
    assert store.events.next_event("old") is None


def test_an_event_of_another_version_holds_up_nothing(store: Store) -> None:
    """What this version cannot read counts as refused, and the next one is delivered."""
    store.events.add_reporter("c")
    store.events.emit(Note(message="old"))
    with closing(sqlite3.connect(store.path)) as db, db:
        db.execute("""UPDATE events SET document = '{"kind": "of old"}'""")
    event = store.events.emit(Note(message="new"))
    assert store.events.next_event("c") == event


def test_a_cloned_disk_becomes_another_machine(store: Store) -> None:
    """The same instance keeps its identity; another instance-id gets a new one."""
    before = store.machine_id
    store.keep_context(found("i-1"), "d", received("i-1"))
    store.keep_context(found("i-1"), "d", received("i-1"))
    assert store.machine_id == before
    event = store.keep_context(found("i-2"), "d", received("i-2"))
    assert store.machine_id != before
    assert event.machine_id == store.machine_id


def test_an_instance_id_made_of_the_user_data_makes_no_clone(store: Store) -> None:
    """Who edits the file that a VM is contextualized by has still the same VM."""
    before = store.machine_id
    for instance_id in ("sha-1", "sha-2"):
        metadata = Metadata(instance_id, derived=True)
        store.keep_context(Found("file", "/a", b"", metadata=metadata), instance_id, received(instance_id))
    store.keep_context(found("i-1"), "d", received("i-1"))
    assert (store.machine_id, store.instance_id) == (before, "i-1")


def test_old_contexts_go(store: Store) -> None:
    """The last few stay, a returning one among them; a machine whose context changes every hour stays small."""
    for digest in ("a", "b", "c", "a", "d"):
        store.keep_context(found("i-1"), digest, received("i-1"))
    with closing(sqlite3.connect(store.path)) as db:
        kept = [digest for (digest,) in db.execute("SELECT digest FROM contexts ORDER BY rowid")]
    assert kept == ["c", "a", "d"]
    assert store.last_context() == found("i-1")


def test_the_last_context_survives_a_restart(store: Store) -> None:
    """A boot without network goes by what an earlier one was told."""
    store.keep_context(found("i-1"), "d", received("i-1"))
    store.close()
    assert Store(store.path, "boot-2").last_context() == found("i-1")


def test_all_that_a_source_gave_is_kept(store: Store) -> None:
    """Also if the same comes twice; with a context its files go, too."""
    files = (PersonalityFile("/etc/a", b"\0"), PersonalityFile("/etc/b", b""))
    given = replace(
        found("i-1"), vendor_data=b"v", extra_data=b"e", pickup=b"p", overlay=b"o", files=files, to_blank=("userdata",)
    )
    for digest in ("d", "d"):
        store.keep_context(given, digest, received("i-1"))
    assert store.last_context() == given
    for digest in ("1", "2", "3"):
        store.keep_context(found("i-1"), digest, received("i-1"))
    with closing(sqlite3.connect(store.path)) as db:
        assert db.execute("SELECT count(*) FROM context_files").fetchone() == (0,)


def test_the_journal_entry_and_its_event_are_one(store: Store) -> None:
    """What was done is known by the journal and reported by the same commit."""
    entry = JournalEntry("k", "i-1", "users", "user", "atlas", "started")
    store.record(entry, "d")
    body = ActionEnded(contextualizer="users", action="user", target="atlas", result="done")
    done = JournalEntry("k", "i-1", "users", "user", "atlas", "done", effect="create")
    store.record(done, "d", body)
    assert store.journal("k", "i-1") == done
    assert store.journal("k", "i-2") is None


WRITER = """
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from ucvm_agent.events import State
from ucvm_agent.store.store import Store
store = Store(Path(sys.argv[1]), "boot")
for number in range(10**9):
    event = store.enter(State.READY if number % 2 else State.WORKING, str(number))
    print(event.seq, flush=True)
"""


def test_kill_9_loses_nothing_that_was_committed(tmp_path: Path) -> None:
    """After SIGKILL the state is that of the last event, and no number is missing or used twice."""
    path = tmp_path / "state.db"
    last = 0
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            for _ in range(20):
                printed = int(child.stdout.readline())
            os.kill(child.pid, signal.SIGKILL)
        store = Store(path, "boot")
        store.events.add_reporter("c")
        sequence = []
        while event := store.events.next_event("c"):
            sequence.append(event.seq)
            assert isinstance(event.body, StateChanged)
            state = event.body.state
            store.events.delivered("c", event)
        assert sequence == list(range(last + 1, sequence[-1] + 1))
        assert sequence[-1] >= printed
        assert store.state == state
        last = sequence[-1]
        store.close()
