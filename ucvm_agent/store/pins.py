"""What signed orders leave behind: the key of each account, and which messages have come already."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime

from ucvm_agent.events import Note
from ucvm_agent.store.database import Database
from ucvm_agent.store.events import EventQueue


@dataclass(frozen=True, slots=True)
class Pin:
    """The key by which an account signs.

    Arguments:
        account: a bare JID.
        key: public, in base64.
        since: when it was pinned, ISO 8601, UTC.
    """

    account: str
    key: str
    since: str


class Pins:
    """The durable memory of `copilot.signature.Verifier`, which says what it is for.

    Arguments:
        database: the state file.
        events: gets a note whenever a pin changes.
    """

    def __init__(self, database: Database, events: EventQueue) -> None:
        self._database = database
        self._events = events

    def key(self, account: str) -> str:
        """Return the key that is pinned for an account, in base64; empty if there is none."""
        row = self._database.row("SELECT key FROM pins WHERE account = ?", (account,))
        return str(row[0]) if row else ""

    def pin(self, account: str, key: str) -> None:
        """Remember the key of an account, and queue the event that says so."""
        with self._database.transaction() as db:
            db.execute("INSERT INTO pins VALUES (?, ?, ?)", (account, key, datetime.now(UTC).isoformat()))
            self._events.emit(Note(message=f"from now on {account} is obeyed only if it signs by the key {key}"))

    def forget(self, account: str) -> bool:
        """Forget the key of an account and what it has signed; False if nothing was known of it."""
        with self._database.transaction() as db:
            known = db.execute("DELETE FROM pins WHERE account = ?", (account,)).rowcount
            known += db.execute("DELETE FROM signed_messages WHERE account = ?", (account,)).rowcount
            if known:
                self._events.emit(Note(message=f"the key of {account} was forgotten"))
            return known > 0

    def seen(self, account: str, message_id: str) -> bool:
        """Return whether a signed message is remembered."""
        query = "SELECT 1 FROM signed_messages WHERE account = ? AND id = ?"
        return self._database.row(query, (account, message_id)) is not None

    def newest(self, account: str) -> float:
        """Return the latest time that an account has signed, epoch seconds; minus infinity if there is none."""
        row = self._database.row("SELECT max(time) FROM signed_messages WHERE account = ?", (account,))
        return -math.inf if row is None or row[0] is None else float(row[0])

    def remember(self, account: str, message_id: str, time: float, kept: float) -> None:
        """Remember a signed message, and forget those that are more than `kept` seconds older than the newest."""
        with self._database.transaction() as db:
            db.execute("INSERT INTO signed_messages VALUES (?, ?, ?)", (account, message_id, time))
            db.execute(
                "DELETE FROM signed_messages WHERE account = ?1"
                " AND time < (SELECT max(time) FROM signed_messages WHERE account = ?1) - ?2",
                (account, kept),
            )
