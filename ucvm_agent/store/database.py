"""The open state file, as the threads of one agent share it."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ucvm_agent.store.schema import open_writer, translated


class Database:
    """One connection; a thread that wants it waits until the transaction of another has ended.

    Arguments:
        path: the file; its folder is made.

    Raises:
        StoreError: here and from every method, if the file cannot be used (StoreDamaged, StoreNewer, StoreBusy).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._after_commit: list[Callable[[], None]] = []
        self._connection = open_writer(path)

    def close(self) -> None:
        """Close the file; what was committed stays."""
        with self._lock:
            self._connection.close()

    def row(self, query: str, arguments: tuple[object, ...] = ()) -> tuple[Any, ...] | None:
        """Return the first row of an answer, or None if there is none."""
        with self._lock:
            try:
                row: tuple[Any, ...] | None = self._connection.execute(query, arguments).fetchone()
                return row
            except sqlite3.Error as error:
                raise translated(error, self.path) from error

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit what the block does, or nothing if it raises; inside another transaction it is a part of that."""
        with self._lock:
            nested = self._connection.in_transaction
            try:
                if not nested:
                    self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                if not nested:
                    self._connection.execute("COMMIT")
                    self._committed()
            except sqlite3.Error as error:
                self._rollback()
                raise translated(error, self.path) from error
            except BaseException:
                self._rollback()
                raise

    def after_commit(self, call: Callable[[], None]) -> None:
        """Call this once when the present transaction is committed, in the thread that does it."""
        if call not in self._after_commit:
            self._after_commit.append(call)

    def _committed(self) -> None:
        calls, self._after_commit = self._after_commit, []
        for call in calls:
            call()

    def _rollback(self) -> None:
        self._after_commit = []
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
