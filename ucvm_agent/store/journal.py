"""The journal of actions as others see it: what is known of an action, in a store that is open or only read."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from ucvm_agent.store.schema import open_reader, translated

Outcome = Literal["started", "done", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """What the journal says of one action.

    `scope` is what its frequency counts by: an instance-id, a boot-id, or `once`.
    """

    key: str
    scope: str
    contextualizer: str
    kind: str
    target: str
    outcome: Outcome
    effect: str = ""
    reason: str = ""


class Journal(Protocol):
    """What was done before. A `Store` is one."""

    @property
    def machine_id(self) -> str:
        """The VM's own UUID."""

    @property
    def boot_id(self) -> str:
        """The present boot."""

    def journal(self, key: str, scope: str) -> JournalEntry | None:
        """Return what is known of an action, if it was ever started."""

    def cluster_keys(self, cluster: str) -> dict[str, str]:
        """Return the keys of a cluster that are remembered."""


class SavedJournal:
    """The journal in a state file, for a dry run: nothing is changed, whether a daemon runs or not.

    Arguments:
        path: the state file.
        boot_id: the present boot.

    Raises:
        StoreAbsent, StoreError: as `open_reader`.
    """

    def __init__(self, path: Path, boot_id: str) -> None:
        self.boot_id = boot_id
        self._path = path
        self._db = open_reader(path)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @property
    def machine_id(self) -> str:
        """The VM's own UUID."""
        row = self._row("SELECT machine_id FROM machine", ())
        return str(row[0]) if row else ""

    def journal(self, key: str, scope: str) -> JournalEntry | None:
        """Return what is known of an action, if it was ever started."""
        row = self._row(
            "SELECT key, scope, contextualizer, kind, target, outcome, effect, reason FROM journal"
            " WHERE key = ? AND scope = ?",
            (key, scope),
        )
        return JournalEntry(*row) if row else None

    def cluster_keys(self, cluster: str) -> dict[str, str]:
        """Return the keys of a cluster that are remembered; none where an older version wrote the state."""
        if self._row("SELECT 1 FROM sqlite_schema WHERE name = 'cluster_keys'", ()) is None:
            return {}
        query = "SELECT json_group_object(key, value) FROM cluster_keys WHERE cluster = ?"
        row = self._row(query, (cluster,))
        return dict(json.loads(row[0])) if row else {}

    def _row(self, query: str, arguments: tuple[str, ...]) -> tuple[Any, ...] | None:
        try:
            row: tuple[Any, ...] | None = self._db.execute(query, arguments).fetchone()
            return row
        except sqlite3.Error as error:
            raise translated(error, self._path) from error
