"""Keys of controllers, and what they have signed, as a restart finds them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from ucvm_agent.errors import StoreError
from ucvm_agent.events import Note
from ucvm_agent.store import schema
from ucvm_agent.store.schema import MIGRATIONS
from ucvm_agent.store.status import read
from ucvm_agent.store.store import Store


def test_a_pin_lasts_until_it_is_forgotten(tmp_path: Path) -> None:
    """Each change is reported; one that is there is never replaced."""
    store = Store(tmp_path / "state.db", "boot")
    store.events.add_reporter("c")
    store.pins.pin("jm@site.example", "key")
    with pytest.raises(StoreError):
        store.pins.pin("jm@site.example", "other")
    store.close()
    store = Store(tmp_path / "state.db", "boot")
    assert (store.pins.key("jm@site.example"), store.pins.key("mon@site.example")) == ("key", "")
    (pin,) = read(store.path).pins
    assert (pin.account, pin.key) == ("jm@site.example", "key")
    assert store.pins.forget("jm@site.example")
    assert not store.pins.forget("jm@site.example")
    assert store.pins.key("jm@site.example") == ""
    notes = []
    while event := store.events.next_event("c"):
        assert isinstance(event.body, Note)
        notes.append(event.body.message)
        store.events.delivered("c", event)
    assert notes == [
        "from now on jm@site.example is obeyed only if it signs by the key key",
        "the key of jm@site.example was forgotten",
    ]


def test_signed_messages_are_remembered_for_a_time(tmp_path: Path) -> None:
    """By the account's own newest one."""
    pins = Store(tmp_path / "state.db", "boot").pins
    assert pins.newest("a@b") == -math.inf
    for account, message, time in (("a@b", "1", 100.0), ("c@d", "1", 900.0), ("a@b", "2", 300.0), ("a@b", "3", 200.0)):
        pins.remember(account, message, time, kept=100.0)
    assert [pins.seen("a@b", message) for message in "123"] == [False, True, True]
    assert (pins.newest("a@b"), pins.newest("c@d")) == (300.0, 900.0)
    assert pins.forget("a@b")
    assert [pins.seen(account, "3") or pins.seen(account, "1") for account in ("a@b", "c@d")] == [False, True]


def test_status_of_a_state_without_pins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an older version left it, `status` shows it all the same."""
    monkeypatch.setattr(schema, "MIGRATIONS", MIGRATIONS[:2])
    store = Store(tmp_path / "state.db", "boot")
    store.close()
    assert read(store.path).pins == ()
