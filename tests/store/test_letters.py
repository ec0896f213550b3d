"""Messages that have to arrive stay where they are until they have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ucvm_agent.events import Note
from ucvm_agent.store import letters
from ucvm_agent.store.letters import Letter
from ucvm_agent.store.store import Store

LETTER = Letter("i1", "jm@site.example/a", "jobDone", "<message/>", since=100.0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "state.db", "boot-1")
    store.events.add_reporter("c")
    yield store
    store.close()


def test_a_letter_is_there_after_a_restart(store: Store) -> None:
    """In order, with all that is known of it."""
    told: list[bool] = []
    store.letters.on_letter = lambda: told.append(True)
    store.letters.put(LETTER)
    store.letters.put(replace(LETTER, id="i2"))
    store.letters.sent([replace(LETTER, trial=2, due=180.0)])
    assert told == [True, True]
    store.close()
    again = Store(store.path, "boot-2")
    assert again.letters.due(100.0, 10) == [replace(LETTER, id="i2")]
    assert again.letters.due(180.0, 10) == [replace(LETTER, trial=2, due=180.0), replace(LETTER, id="i2")]
    again.letters.remove(["i2", "i1"])
    assert again.letters.next_due() is None
    again.close()


def test_a_letter_from_the_future_is_due(store: Store) -> None:
    """The clock has been set back meanwhile, and nobody wants to wait until then."""
    store.letters.put(replace(LETTER, since=10_000.0, due=10_070.0))
    assert len(store.letters.due(500.0, 10)) == 1


def test_the_oldest_letter_makes_room_and_that_is_reported(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A controller that is gone for good does not fill the disk."""
    monkeypatch.setattr(letters, "MAX_LETTERS", 2)
    for number in range(3):
        store.letters.put(replace(LETTER, id=f"i{number}"))
    assert [letter.id for letter in store.letters.due(500.0, 10)] == ["i1", "i2"]
    event = store.events.next_event("c")
    assert event is not None
    assert event.body == Note(
        message="jobDone to jm@site.example/a is given up: there are more than 2 without acknowledgement"
    )
