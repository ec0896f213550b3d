"""Reading and writing the state of the VM.

What only the daemon needs of a store (letters, pins, jobs) is imported when it is first asked for.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from ucvm_agent.errors import StoreError
from ucvm_agent.events import Body, Event, State, StateChanged
from ucvm_agent.sources.base import Found, Metadata, PersonalityFile
from ucvm_agent.store.database import Database
from ucvm_agent.store.events import EventQueue
from ucvm_agent.store.journal import JournalEntry

if TYPE_CHECKING:
    from ucvm_agent.store.jobs import JobBook
    from ucvm_agent.store.letters import LetterQueue
    from ucvm_agent.store.pins import Pins

KEPT_CONTEXTS = 3
"""Contexts that stay: the present one, and those before it for who wants to know what has changed."""


class Store:
    """The open state file of a VM. Its methods block for a few milliseconds; they may be called in threads.

    Arguments:
        path: the file; its folder is made.
        boot_id: the boot in which this process runs.

    Attributes:
        events: what is to be reported, and how far each controller has been told.
    """

    def __init__(self, path: Path, boot_id: str) -> None:
        self.path = path
        self.boot_id = boot_id
        self._database = Database(path)
        self.events = EventQueue(self._database, boot_id)
        with self._database.transaction() as db:
            db.execute("INSERT OR IGNORE INTO machine (only, machine_id) VALUES (1, ?)", (str(uuid.uuid4()),))
            db.execute("INSERT OR IGNORE INTO boots (boot_id, started) VALUES (?, ?)", (boot_id, _now().isoformat()))

    def close(self) -> None:
        """Close the file; what was committed stays."""
        self._database.close()

    def transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        """Commit what the block does in this store, all of it or nothing."""
        return self._database.transaction()

    @cached_property
    def letters(self) -> LetterQueue:
        """Messages that are kept until they are acknowledged."""
        from ucvm_agent.store.letters import LetterQueue

        return LetterQueue(self._database, self.events)

    @cached_property
    def pins(self) -> Pins:
        """The keys by which controllers sign, and what they have signed."""
        from ucvm_agent.store.pins import Pins

        return Pins(self._database, self.events)

    @cached_property
    def jobs(self) -> JobBook:
        """The jobs that the VM has and had."""
        from ucvm_agent.store.jobs import JobBook

        return JobBook(self._database, self.events, self.boot_id)

    @property
    def machine_id(self) -> str:
        """The VM's own UUID."""
        return str(self._one("SELECT machine_id FROM machine")[0])

    @property
    def instance_id(self) -> str:
        """The last instance-id that a platform gave, or an empty string."""
        return str(self._one("SELECT instance_id FROM machine")[0])

    @property
    def source(self) -> str:
        """The source that gave the present context, or an empty string."""
        return str(self._one("SELECT source FROM machine")[0])

    @property
    def state(self) -> State | None:
        """The state that was last entered, in this boot or an earlier one."""
        state = self._one("SELECT state FROM machine")[0]
        return State(state) if state else None

    @property
    def reason(self) -> str:
        """Why the VM is in its state; may be empty."""
        return str(self._one("SELECT reason FROM machine")[0])

    # State

    def enter(self, state: State, reason: str = "") -> Event | None:
        """Change the state and queue the event that says so; None if it is already so for the same reason."""
        with self._database.transaction() as db:
            previous, old_reason = db.execute("SELECT state, reason FROM machine").fetchone()
            if (previous, old_reason) == (state, reason):
                return None
            db.execute("UPDATE machine SET state = ?, since = ?, reason = ?", (state, _now().isoformat(), reason))
            changed = StateChanged(state=state, previous=State(previous) if previous else None, reason=reason)
            return self.events.emit(changed)

    # Contexts

    def keep_context(self, found: Found, digest: str, body: Body) -> Event:
        """Remember what a source gave (for boots without a network), and queue the event that says so.

        Another instance-id of the platform than the last one means that this disk was cloned: the VM gets a new
        machine id.
        """
        with self._database.transaction() as db:
            old, instance_id = self.instance_id, "" if found.metadata.derived else found.metadata.instance_id
            if old and instance_id and old != instance_id:
                db.execute("UPDATE machine SET machine_id = ?", (str(uuid.uuid4()),))
            db.execute(
                "INSERT OR REPLACE INTO contexts (digest, source, origin, received, metadata, base64, user_data,"
                " vendor_data, extra_data, pickup, overlay, to_blank) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
                    found.overlay,
                    json.dumps(found.to_blank),
                ),
            )
            db.executemany(
                "INSERT INTO context_files VALUES (?, ?, ?)",
                ((digest, file.path, file.content) for file in found.files),
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
            return self.events.emit(body)

    def last_context(self) -> Found | None:
        """Return what the last source gave, if there was one."""
        row = self._database.row(
            "SELECT c.source, c.origin, user_data, vendor_data, base64, metadata, extra_data, pickup, overlay,"
            " to_blank, digest FROM contexts c JOIN machine ON context = digest"
        )
        if row is None:
            return None
        with self._database.transaction() as db:
            files = db.execute("SELECT path, content FROM context_files WHERE digest = ? ORDER BY path", (row[10],))
            kept = tuple(PersonalityFile(path, content) for path, content in files)
        return Found(
            source=row[0],
            origin=row[1],
            user_data=row[2],
            vendor_data=row[3],
            base64=bool(row[4]),
            metadata=TypeAdapter(Metadata).validate_json(row[5]),
            extra_data=row[6],
            pickup=row[7],
            overlay=row[8],
            to_blank=tuple(json.loads(row[9])),
            files=kept,
        )

    # Keys of the cluster

    def keep_cluster_keys(self, cluster: str, keys: Mapping[str, str]) -> None:
        """Remember keys for later boots, when the service has forgotten them.

        Arguments:
            cluster: stands for the cluster, without giving its PIN away.
        """
        with self._database.transaction() as db:
            db.executemany(
                "INSERT OR REPLACE INTO cluster_keys VALUES (?, ?, ?)",
                ((cluster, key, value) for key, value in keys.items()),
            )

    def cluster_keys(self, cluster: str) -> dict[str, str]:
        """Return the keys of a cluster that are remembered."""
        with self._database.transaction() as db:
            return dict(db.execute("SELECT key, value FROM cluster_keys WHERE cluster = ?", (cluster,)))

    # Journal of actions

    def journal(self, key: str, scope: str) -> JournalEntry | None:
        """Return what is known of an action, if it was ever started."""
        row = self._database.row(
            "SELECT key, scope, contextualizer, kind, target, outcome, effect, reason FROM journal"
            " WHERE key = ? AND scope = ?",
            (key, scope),
        )
        return JournalEntry(*row) if row else None

    def record(self, entry: JournalEntry, context: str, body: Body | None = None) -> None:
        """Write how far an action is, and queue the event that reports it, in one transaction."""
        with self._database.transaction() as db:
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
                self.events.emit(body)

    def interrupted(self) -> set[str]:
        """Return the keys of all actions that were started and have not ended, whatever context they are of."""
        with self._database.transaction() as db:
            return {key for (key,) in db.execute("SELECT key FROM journal WHERE outcome = 'started'")}

    def adopt(self, keys: Iterable[tuple[str, str]], context: str) -> None:
        """Note that these actions (key and scope), journalled for an earlier context, belong to this one, too.

        What other actions of earlier contexts did to the same things is forgotten, since it is so no more: if such
        a context comes back, they are done again. Commands and scripts leave nothing that could be undone.
        """
        with self._database.transaction() as db:
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

    def _one(self, query: str) -> tuple[Any, ...]:
        row = self._database.row(query)
        if row is None:
            raise StoreError("the state file lacks its machine row", where=str(self.path))
        return row


def _now() -> datetime:
    return datetime.now(UTC)
