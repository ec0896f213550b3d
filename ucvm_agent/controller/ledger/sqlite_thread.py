"""The thread that owns the SQLite file of a controller.

Whatever waits when a transaction ends goes into the next one together, so that a commit, which waits for the disk, is
paid once for many.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from ucvm_agent.errors import LedgerError, StoreError
from ucvm_agent.store.schema import Schema, open_writer, translated

T = TypeVar("T")

BATCH = 500
"""Most calls in one transaction."""

Work = Callable[[sqlite3.Connection], Any]


class Call:
    """A piece of work, and who waits for it.

    Arguments:
        work: called in the thread, within a transaction.
    """

    def __init__(self, work: Work) -> None:
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.work = work
        self.outcome: Any = None
        self.error: Exception | None = None

    def settle(self) -> None:
        """Let the caller go on; called on the loop."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.outcome)


class SQLiteThread:
    """One file, one connection, one thread.

    Arguments:
        path: the file; made 0600, in a folder that is made 0700.
        schema: its tables.
    """

    def __init__(self, path: Path, schema: Schema) -> None:
        self.path = path
        self._schema = schema
        self._calls: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    async def open(self) -> None:
        """Open the file.

        Raises:
            LedgerError: it cannot be used; it is left as it is.
        """
        try:
            connection = await asyncio.to_thread(open_writer, self.path, self._schema)
        except StoreError as error:
            raise _ledger_error(error) from error
        loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, args=(connection, loop), name="ledger", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """Do what was asked for, and close the file."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._calls.put(None)
            await asyncio.to_thread(thread.join)

    async def do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Return what `work` returns, once that is on the disk.

        It is undone if it raises; what it raises is raised here.

        Raises:
            LedgerError: the file cannot be used.
        """
        if self._thread is None:
            raise LedgerError("it is not open", where=str(self.path))
        call = Call(work)
        self._calls.put(call)
        result: T = await call.future
        return result

    def _run(self, connection: sqlite3.Connection, loop: asyncio.AbstractEventLoop) -> None:
        try:
            while calls := self._waiting_calls():
                self._transact(connection, calls)
                with suppress(RuntimeError):  # the loop is closed
                    loop.call_soon_threadsafe(_settle, calls)
        finally:
            connection.close()

    def _waiting_calls(self) -> list[Call]:
        """Wait for a call, and return it with all that wait behind it; none at the end."""
        calls: list[Call] = []
        with suppress(queue.Empty):
            while len(calls) < BATCH:
                call = self._calls.get(block=not calls)
                if call is None:
                    if calls:
                        self._calls.put(None)
                    break
                calls.append(call)
        return calls

    def _transact(self, connection: sqlite3.Connection, calls: list[Call]) -> None:
        try:
            connection.execute("BEGIN IMMEDIATE")
            for call in calls:
                self._try(connection, call)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            for call in calls:
                call.error = _ledger_error(translated(error, self.path))

    def _try(self, connection: sqlite3.Connection, call: Call) -> None:
        connection.execute("SAVEPOINT one")
        try:
            call.outcome = call.work(connection)
        except sqlite3.Error:
            raise
        except Exception as error:
            call.error = error
            connection.execute("ROLLBACK TO one")
        connection.execute("RELEASE one")


def _settle(calls: list[Call]) -> None:
    for call in calls:
        call.settle()


def _ledger_error(error: StoreError) -> LedgerError:
    return LedgerError(error.message, where=error.where, hint=error.hint)
