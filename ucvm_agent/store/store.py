"""Reading and writing the state of the VM."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog
from pydantic import TypeAdapter, ValidationError

from ucvm_agent.errors import StoreError
from ucvm_agent.events import Body, Event, State, StateChanged
from ucvm_agent.sources.base import Found, Metadata
from ucvm_agent.store.journal import JournalEntry
from ucvm_agent.store.schema import open_writer, translated

log = structlog.get_logger()

KEPT_EVENTS = 1000
"""Events that stay after every controller has them, for `status`."""

KEPT_CONTEXTS = 3
"""Contexts that stay: the present one, and those before it for who wants to know what has changed."""


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


class Store:
    """The open state file of a VM. Its methods block for a few milliseconds; they may be called in threads.

    Arguments:
        path: the file; its folder is made.
        boot_id: the boot in which this process runs.

    Attributes:
        on_event: called after each commit that queued an event, in the thread that committed.
    """

    def __init__(self, path: Path, boot_id: str) -> None:
        self.path = path
        self.boot_id = boot_id
        self.on_event: Callable[[], None] = lambda: None
        self._queued = False
        self._lock = threading.RLock()
        self._db = open_writer(path)
        with self._transaction() as db:
            db.execute("INSERT OR IGNORE INTO machine (only, machine_id) VALUES (1, ?)", (str(uuid.uuid4()),))
            db.execute("INSERT OR IGNORE INTO boots (boot_id, started) VALUES (?, ?)", (boot_id, _now().isoformat()))

    def close(self) -> None:
        """Close the file; what was committed stays."""
        with self._lock:
            self._db.close()

    @property
    def machine_id(self) -> str:
        """The VM's own UUID."""
        return str(self._one("SELECT machine_id FROM machine")[0])

    @property
    def instance_id(self) -> str:
        """The last instance-id that a platform gave, or an empty string."""
        return str(self._one("SELECT instance_id FROM machine")[0])

    @property
    def state(self) -> State | None:
        """The state that was last entered, in this boot or an earlier one."""
        state = self._one("SELECT state FROM machine")[0]
        return State(state) if state else None

    @property
    def reason(self) -> str:
        """Why the VM is in its state; may be empty."""
        return str(self._one("SELECT reason FROM machine")[0])

    # State and events

    def enter(self, state: State, reason: str = "") -> Event | None:
        """Change the state and queue the event that says so; None if it is already so for the same reason."""
        with self._transaction() as db:
            previous, old_reason = db.execute("SELECT state, reason FROM machine").fetchone()
            if (previous, old_reason) == (state, reason):
                return None
            db.execute("UPDATE machine SET state = ?, since = ?, reason = ?", (state, _now().isoformat(), reason))
            return self._queue(
                db,
                StateChanged(state=state, previous=State(previous) if previous else None, reason=reason),
            )

    def emit(self, body: Body) -> Event:
        """Queue an event that changes no state."""
        with self._transaction() as db:
            return self._queue(db, body)

    # Contexts

    def keep_context(self, found: Found, digest: str, body: Body) -> Event:
        """Remember what a source gave (for boots without a network), and queue the event that says so.

        Another instance-id of the platform than the last one means that this disk was cloned: the VM gets a new
        machine id.
        """
        with self._transaction() as db:
            old, instance_id = self.instance_id, "" if found.metadata.derived else found.metadata.instance_id
            if old and instance_id and old != instance_id:
                db.execute("UPDATE machine SET machine_id = ?", (str(uuid.uuid4()),))
            db.execute(
                "INSERT OR REPLACE INTO contexts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    digest,
                    found.source,
                    found.origin,
                    _now().isoformat(),
                    json.dumps(asdict(found.metadata)),
                    int(found.base64),
                    found.user_data,
                    found.vendor_data,
                    found.extra_data,
                    found.pickup,
                ),
            )
            db.execute(
                "UPDATE machine SET context = ?, instance_id = ?, source = ?, origin = ?",
                (digest, instance_id or old, found.source, found.origin),
            )
            # Replacing gives a row a new number, so the highest are those that were received last.
            db.execute(
                "DELETE FROM contexts WHERE rowid NOT IN (SELECT rowid FROM contexts ORDER BY rowid DESC LIMIT ?)",
                (KEPT_CONTEXTS,),
            )
            return self._queue(db, body)

    def last_context(self) -> Found | None:
        """Return what the last source gave, if there was one."""
        row = self._db_row(
            "SELECT c.source, c.origin, user_data, vendor_data, base64, metadata, extra_data, pickup"
            " FROM contexts c JOIN machine ON context = digest"
        )
        if row is None:
            return None
        return Found(
            source=row[0],
            origin=row[1],
            user_data=row[2],
            vendor_data=row[3],
            base64=bool(row[4]),
            metadata=TypeAdapter(Metadata).validate_json(row[5]),
            extra_data=row[6],
            pickup=row[7],
        )

    # Keys of the cluster

    def keep_cluster_keys(self, cluster: str, keys: Mapping[str, str]) -> None:
        """Remember keys for later boots, when the service has forgotten them.

        Arguments:
            cluster: stands for the cluster, without giving its PIN away.
        """
        with self._transaction() as db:
            db.executemany(
                "INSERT OR REPLACE INTO cluster_keys VALUES (?, ?, ?)",
                ((cluster, key, value) for key, value in keys.items()),
            )

    def cluster_keys(self, cluster: str) -> dict[str, str]:
        """Return the keys of a cluster that are remembered."""
        with self._transaction() as db:
            return dict(db.execute("SELECT key, value FROM cluster_keys WHERE cluster = ?", (cluster,)))

    # Journal of actions

    def journal(self, key: str, scope: str) -> JournalEntry | None:
        """Return what is known of an action, if it was ever started."""
        row = self._db_row(
            "SELECT key, scope, contextualizer, kind, target, outcome, effect, reason FROM journal"
            " WHERE key = ? AND scope = ?",
            (key, scope),
        )
        return JournalEntry(*row) if row else None

    def record(self, entry: JournalEntry, context: str, body: Body | None = None) -> None:
        """Write how far an action is, and queue the event that reports it, in one transaction."""
        with self._transaction() as db:
            db.execute(
                "INSERT INTO journal VALUES (:key, :scope, :contextualizer, :kind, :target, :outcome, :effect,"
                " :reason, :started, :boot_id, :context, :now) ON CONFLICT (key, scope) DO UPDATE SET"
                " outcome = :outcome, effect = :effect, reason = :reason, attempts = attempts + :started,"
                " boot_id = :boot_id, context = :context, changed = :now",
                asdict(entry)
                | {
                    "started": int(entry.outcome == "started"),
                    "boot_id": self.boot_id,
                    "context": context,
                    "now": _now().isoformat(),
                },
            )
            if body is not None:
                self._queue(db, body)

    def interrupted(self) -> set[str]:
        """Return the keys of all actions that were started and have not ended, whatever context they are of."""
        with self._transaction() as db:
            return {key for (key,) in db.execute("SELECT key FROM journal WHERE outcome = 'started'")}

    def adopt(self, keys: Iterable[tuple[str, str]], context: str) -> None:
        """Note that these actions (key and scope), journalled for an earlier context, belong to this one, too.

        What other actions of earlier contexts did to the same things is forgotten, since it is so no more: if such
        a context comes back, they are done again. Commands and scripts leave nothing that could be undone.
        """
        with self._transaction() as db:
            db.executemany(
                "UPDATE journal SET context = ? WHERE key = ? AND scope = ?",
                ((context, key, scope) for key, scope in keys),
            )
            db.execute(
                "DELETE FROM journal WHERE context <> :context AND effect <> 'run' AND EXISTS ("
                " SELECT 1 FROM journal AS present WHERE present.context = :context AND present.scope = journal.scope"
                " AND present.contextualizer = journal.contextualizer"
                " AND present.kind = journal.kind AND present.target = journal.target)",
                {"context": context},
            )

    # Outbox

    def add_reporter(self, reporter: str) -> None:
        """Make a controller known, so that events are kept for it from the oldest that is still there."""
        with self._transaction() as db:
            db.execute("INSERT OR IGNORE INTO deliveries (reporter) VALUES (?)", (reporter,))

    def keep_reporters(self, reporters: set[str]) -> None:
        """Forget controllers that the settings no longer name, so that they hold back nothing."""
        with self._transaction() as db:
            for (name,) in db.execute("SELECT reporter FROM deliveries").fetchall():
                if name not in reporters:
                    db.execute("DELETE FROM deliveries WHERE reporter = ?", (name,))

    def next_event(self, reporter: str) -> Event | None:
        """Return the oldest event that this controller does not have yet.

        One that another version of this program wrote, and that means nothing to this one, counts as refused.
        """
        while row := self._db_row(
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
        """Note that a controller could not be told just now, and why."""
        with self._transaction() as db:
            db.execute(
                "UPDATE deliveries SET error = ?, tried = ? WHERE reporter = ?",
                (error, _now().isoformat(), reporter),
            )

    # Plumbing

    def _advance(self, reporter: str, seq: int, *, refused: bool, error: str) -> None:
        now = _now().isoformat()
        with self._transaction() as db:
            db.execute(
                "UPDATE deliveries SET seq = max(seq, ?), delivered = ?, tried = ?, refused = refused + ?,"
                " error = ? WHERE reporter = ?",
                (seq, now, now, int(refused), error, reporter),
            )

    def _queue(self, db: sqlite3.Connection, body: Body) -> Event:
        self._queued = True
        last = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
        event = Event.model_validate(
            {
                "id": str(uuid.uuid4()),
                "machine_id": self.machine_id,
                "boot_id": self.boot_id,
                "seq": (last[0] if last else 0) + 1,
                "time": _now(),
                "monotonic": time.clock_gettime(time.CLOCK_BOOTTIME),
                "body": body,
            }
        )
        db.execute(
            "INSERT INTO events VALUES (?, ?, ?, ?, ?)",
            (event.seq, event.id, event.time.isoformat(), event.name, event.model_dump_json()),
        )
        db.execute(
            "DELETE FROM events WHERE seq <= coalesce((SELECT min(seq) FROM deliveries), :seq) AND seq <= :seq - :kept",
            {"seq": event.seq, "kept": KEPT_EVENTS},
        )
        return event

    def _one(self, query: str) -> tuple[Any, ...]:
        row = self._db_row(query)
        if row is None:
            raise StoreError("the state file lacks its machine row", where=str(self.path))
        return row

    def _db_row(self, query: str, arguments: tuple[object, ...] = ()) -> tuple[Any, ...] | None:
        with self._lock:
            try:
                row: tuple[Any, ...] | None = self._db.execute(query, arguments).fetchone()
                return row
            except sqlite3.Error as error:
                raise translated(error, self.path) from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            nested = self._db.in_transaction
            try:
                if not nested:
                    self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                if not nested:
                    self._db.execute("COMMIT")
                    queued, self._queued = self._queued, False
                    if queued:
                        self.on_event()
            except sqlite3.Error as error:
                self._rollback()
                raise translated(error, self.path) from error
            except BaseException:
                self._rollback()
                raise

    def _rollback(self) -> None:
        self._queued = False
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")


def _now() -> datetime:
    return datetime.now(UTC)
