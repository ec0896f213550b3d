"""Messages that have to arrive: they are kept until their receiver acknowledges them, over restarts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field

import structlog

from ucvm_agent.events import Note
from ucvm_agent.store.database import Database
from ucvm_agent.store.events import EventQueue

log = structlog.get_logger()

MAX_LETTERS = 1000
"""Most letters that are kept; the oldest makes room for a new one."""

AT_ONCE = 0.0
"""`due` of a letter that goes out as soon as there is a connection."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One message.

    Arguments:
        id: of the message.
        recipient: JID; an acknowledgement counts if it comes from this account.
        command: what it says, for people.
        stanza: the `<message>` as XML.
        since: when it was written, in epoch seconds.
        trial: the pause before the next sending, in units of the schedule; 0 before the first.
        due: when it is to be sent (again), in epoch seconds, or `AT_ONCE`.
    """

    id: str
    recipient: str
    command: str
    stanza: str = field(repr=False)
    since: float
    trial: int = 0
    due: float = AT_ONCE


class LetterQueue:
    """The letters of an agent. Every method may block, and raises StoreError.

    Arguments:
        database: the state file.
        events: where it is reported that a letter is given up.

    Attributes:
        on_letter: called after each commit that kept a letter, in the thread that committed.
    """

    def __init__(self, database: Database, events: EventQueue) -> None:
        self.on_letter: Callable[[], None] = lambda: None
        self._database = database
        self._events = events

    def put(self, letter: Letter) -> None:
        """Keep a letter, in the same transaction as what it tells of, if there is one."""
        with self._database.transaction() as db:
            crowd = db.execute(
                "SELECT id, recipient, command, stanza, since, trial, due FROM letters"
                " ORDER BY number DESC LIMIT -1 OFFSET ?",
                (MAX_LETTERS - 1,),
            ).fetchall()
            for row in crowd:
                self.give_up(Letter(*row), f"there are more than {MAX_LETTERS} without acknowledgement")
            db.execute(
                "INSERT INTO letters (id, recipient, command, stanza, since, trial, due)"
                " VALUES (:id, :recipient, :command, :stanza, :since, :trial, :due)",
                asdict(letter),
            )
            self._database.after_commit(self._tell)

    def due(self, now: float, limit: int) -> list[Letter]:
        """Return the letters that are to be sent, oldest first; also those from the future, for the clock was set."""
        with self._database.transaction() as db:
            rows = db.execute(
                "SELECT id, recipient, command, stanza, since, trial, due FROM letters"
                " WHERE due <= :now OR since > :now ORDER BY number LIMIT :limit",
                {"now": now, "limit": limit},
            )
            return [Letter(*row) for row in rows]

    def next_due(self) -> float | None:
        """Return when the next letter is to be sent; None if there is no letter."""
        row = self._database.row("SELECT min(due) FROM letters")
        return None if row is None else row[0]

    def rush(self) -> None:
        """Make all letters due at once."""
        with self._database.transaction() as db:
            db.execute("UPDATE letters SET due = ?", (AT_ONCE,))

    def sent(self, letters: Iterable[Letter]) -> None:
        """Note of letters that were sent when they are due again."""
        with self._database.transaction() as db:
            db.executemany(
                "UPDATE letters SET since = ?, trial = ?, due = ? WHERE id = ?",
                [(letter.since, letter.trial, letter.due, letter.id) for letter in letters],
            )

    def remove(self, ids: Iterable[str]) -> None:
        """Forget letters that have arrived."""
        with self._database.transaction() as db:
            db.executemany("DELETE FROM letters WHERE id = ?", [(each,) for each in ids])

    def give_up(self, letter: Letter, reason: str) -> None:
        """Forget a letter that has not arrived, and report that."""
        log.warning("a message is given up", command=letter.command, to=letter.recipient, id=letter.id, reason=reason)
        with self._database.transaction() as db:
            db.execute("DELETE FROM letters WHERE id = ?", (letter.id,))
            self._events.emit(Note(message=f"{letter.command} to {letter.recipient} is given up: {reason}"))

    def _tell(self) -> None:
        self.on_letter()
