"""The durable outbox: the events in their order, and how far each controller has been told of them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from pydantic import ValidationError

from ucvm_agent.events import Body, Event
from ucvm_agent.store.database import Database

log = structlog.get_logger()

KEPT_EVENTS = 1000
"""Events that stay after every controller has them, for `status`."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """How far a controller has been told: the last event it has, and what is wrong since."""

    reporter: str
    seq: int
    waiting: int
    refused: int
    error: str
    delivered: str
    tried: str


class EventQueue:
    """The events of a VM.

    Arguments:
        database: the state file.
        boot_id: the boot in which this process runs.

    Attributes:
        on_event: called after each commit that queued an event, in the thread that committed.
    """

    def __init__(self, database: Database, boot_id: str) -> None:
        self.on_event: Callable[[], None] = lambda: None
        self._database = database
        self._boot_id = boot_id

    def emit(self, body: Body) -> Event:
        """Queue an event, in the same transaction as what it tells of, if there is one."""
        with self._database.transaction() as db:
            last = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
            event = Event.model_validate(
                {
                    "id": str(uuid.uuid4()),
                    "machine_id": db.execute("SELECT machine_id FROM machine").fetchone()[0],
                    "boot_id": self._boot_id,
                    "seq": (last[0] if last else 0) + 1,
                    "time": datetime.now(UTC),
                    "monotonic": time.clock_gettime(time.CLOCK_BOOTTIME),
                    "body": body,
                }
            )
            db.execute(
                "INSERT INTO events VALUES (?, ?, ?, ?, ?)",
                (event.seq, event.id, event.time.isoformat(), event.name, event.model_dump_json()),
            )
            db.execute(
                "DELETE FROM events"
                " WHERE seq <= coalesce((SELECT min(seq) FROM deliveries), :seq) AND seq <= :seq - :kept",
                {"seq": event.seq, "kept": KEPT_EVENTS},
            )
            self._database.after_commit(self._tell)
        return event

    def add_reporter(self, reporter: str) -> None:
        """Make a controller known, so that events are kept for it from the oldest that is still there."""
        with self._database.transaction() as db:
            db.execute("INSERT OR IGNORE INTO deliveries (reporter) VALUES (?)", (reporter,))

    def keep_reporters(self, reporters: set[str]) -> None:
        """Forget controllers that the settings no longer name, so that they hold back nothing."""
        with self._database.transaction() as db:
            for (name,) in db.execute("SELECT reporter FROM deliveries").fetchall():
                if name not in reporters:
                    db.execute("DELETE FROM deliveries WHERE reporter = ?", (name,))

    def next_event(self, reporter: str) -> Event | None:
        """Return the oldest event that this controller does not have yet.

        One that another version of this program wrote, and that means nothing to this one, counts as refused.
        """
        while row := self._database.row(
            "SELECT document, seq FROM events WHERE seq > (SELECT seq FROM deliveries WHERE reporter = ?)"
            " ORDER BY seq LIMIT 1",
            (reporter,),
        ):
            try:
                return Event.model_validate_json(row[0])
            except ValidationError:
                log.error("an event of another version is left out", controller=reporter, seq=row[1])
                self._advance(reporter, row[1], refused=True, error="")
        return None

    def delivered(self, reporter: str, event: Event, *, refused: bool = False, error: str = "") -> None:
        """Note that the controller has this event and all before it (or refused this one for good)."""
        self._advance(reporter, event.seq, refused=refused, error=error)

    def undelivered(self, reporter: str, error: str) -> None:
        """Note that a controller could not be told just now, and why; empty if that is over."""
        with self._database.transaction() as db:
            db.execute(
                "UPDATE deliveries SET error = ?, tried = ? WHERE reporter = ?",
                (error, datetime.now(UTC).isoformat(), reporter),
            )

    def _advance(self, reporter: str, seq: int, *, refused: bool, error: str) -> None:
        now = datetime.now(UTC).isoformat()
        with self._database.transaction() as db:
            db.execute(
                "UPDATE deliveries SET seq = max(seq, ?), delivered = ?, tried = ?, refused = refused + ?,"
                " error = ? WHERE reporter = ?",
                (seq, now, now, int(refused), error, reporter),
            )

    def _tell(self) -> None:
        self.on_event()
