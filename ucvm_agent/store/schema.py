"""The tables, and how a state file is opened without ever harming one that is not ours to touch."""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ucvm_agent.errors import StoreAbsent, StoreBusy, StoreDamaged, StoreError, StoreNewer
from ucvm_agent.files.private_file import MODE, tighten

APPLICATION_ID = 0x7563766D
"""`ucvm` in ASCII, in the header of the file: tells our database from anybody's."""

BUSY_SECONDS = 10.0
"""How long one writer waits for another (a `status` never blocks a writer, in WAL mode)."""

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE machine (
        only INTEGER PRIMARY KEY CHECK (only = 1),
        machine_id TEXT NOT NULL,
        instance_id TEXT NOT NULL DEFAULT '',
        state TEXT,
        since TEXT,
        reason TEXT NOT NULL DEFAULT '',
        source TEXT NOT NULL DEFAULT '',
        origin TEXT NOT NULL DEFAULT '',
        context TEXT REFERENCES contexts (digest)
    ) STRICT;
    CREATE TABLE boots (
        number INTEGER PRIMARY KEY,
        boot_id TEXT NOT NULL UNIQUE,
        started TEXT NOT NULL
    ) STRICT;
    CREATE TABLE contexts (
        digest TEXT PRIMARY KEY,
        source TEXT NOT NULL,
        origin TEXT NOT NULL,
        received TEXT NOT NULL,
        metadata TEXT NOT NULL,
        base64 INTEGER NOT NULL,
        user_data BLOB,
        vendor_data BLOB,
        extra_data BLOB,
        pickup BLOB
    ) STRICT;
    CREATE TABLE journal (
        key TEXT NOT NULL,
        scope TEXT NOT NULL,
        contextualizer TEXT NOT NULL,
        kind TEXT NOT NULL,
        target TEXT NOT NULL,
        outcome TEXT NOT NULL CHECK (outcome IN ('started', 'done', 'failed', 'skipped')),
        effect TEXT NOT NULL DEFAULT '',
        reason TEXT NOT NULL DEFAULT '',
        attempts INTEGER NOT NULL DEFAULT 0,
        boot_id TEXT NOT NULL,
        context TEXT NOT NULL,
        changed TEXT NOT NULL,
        PRIMARY KEY (key, scope)
    ) STRICT;
    CREATE TABLE events (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        time TEXT NOT NULL,
        kind TEXT NOT NULL,
        document TEXT NOT NULL
    ) STRICT;
    CREATE TABLE deliveries (
        reporter TEXT PRIMARY KEY,
        seq INTEGER NOT NULL DEFAULT 0,
        delivered TEXT,
        refused INTEGER NOT NULL DEFAULT 0,
        error TEXT NOT NULL DEFAULT '',
        tried TEXT
    ) STRICT;
    """,
    """
    CREATE TABLE cluster_keys (
        cluster TEXT NOT NULL,
        key TEXT NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (cluster, key)
    ) STRICT;
    """,
    """
    CREATE TABLE letters (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        recipient TEXT NOT NULL,
        command TEXT NOT NULL,
        stanza TEXT NOT NULL,
        since REAL NOT NULL,
        trial INTEGER NOT NULL,
        due REAL NOT NULL
    ) STRICT;
    """,
    """
    CREATE TABLE pins (
        account TEXT PRIMARY KEY,
        key TEXT NOT NULL,
        since TEXT NOT NULL
    ) STRICT;
    CREATE TABLE signed_messages (
        account TEXT NOT NULL,
        id TEXT NOT NULL,
        time REAL NOT NULL,
        PRIMARY KEY (account, id)
    ) STRICT;
    CREATE INDEX signed_messages_by_time ON signed_messages (account, time);
    """,
    """
    CREATE TABLE questions (
        slot INTEGER PRIMARY KEY,
        manager TEXT NOT NULL,
        request TEXT NOT NULL,
        asked REAL NOT NULL
    ) STRICT;
    CREATE TABLE jobs (
        number INTEGER PRIMARY KEY,
        slot INTEGER NOT NULL,
        message TEXT NOT NULL UNIQUE,
        manager TEXT NOT NULL,
        job_id TEXT NOT NULL,
        lease TEXT NOT NULL,
        document TEXT NOT NULL,
        phase TEXT NOT NULL,
        reason TEXT NOT NULL DEFAULT '',
        exit_status INTEGER,
        validation_status INTEGER,
        boot_id TEXT NOT NULL,
        received TEXT NOT NULL,
        changed TEXT NOT NULL
    ) STRICT;
    CREATE TABLE drains (
        cause TEXT PRIMARY KEY,
        reason TEXT NOT NULL
    ) STRICT;
    """,
    """
    ALTER TABLE contexts ADD COLUMN overlay BLOB;
    ALTER TABLE contexts ADD COLUMN to_blank TEXT NOT NULL DEFAULT '[]';
    CREATE TABLE context_files (
        digest TEXT NOT NULL REFERENCES contexts (digest) ON DELETE CASCADE,
        path TEXT NOT NULL,
        content BLOB NOT NULL,
        PRIMARY KEY (digest, path)
    ) STRICT;
    """,
    """
    ALTER TABLE jobs ADD COLUMN cancel TEXT NOT NULL DEFAULT '';
    """,
    """
    ALTER TABLE jobs ADD COLUMN given_up INTEGER NOT NULL DEFAULT 0;
    """,
)
"""One script a schema version; a script that has been released is never edited."""


@dataclass(frozen=True, slots=True)
class Schema:
    """What makes a file ours.

    Arguments:
        application_id: in its header.
        migrations: one script a version.
    """

    application_id: int
    migrations: tuple[str, ...]


STATE = Schema(APPLICATION_ID, MIGRATIONS)
"""The state of an agent."""


def open_writer(path: Path, schema: Schema = STATE) -> sqlite3.Connection:
    """Open the state file for reading and writing; make it, or bring its schema up to date.

    The connection is in autocommit mode: `BEGIN IMMEDIATE` starts a transaction. Every commit is on the disk
    when it returns (`synchronous=FULL`), since power cuts are part of the job.

    Raises:
        StoreDamaged: it is no sound database of ours; StoreNewer: its schema is a later version's;
        StoreBusy: somebody holds it; StoreError: it cannot be made. The file is left as it is.
    """
    _make_private(path)
    connection = _checked(path, f"file:{_quoted(path)}?mode=rw", schema, write=True)
    # Only now is it sure to be ours. By path: closing a descriptor of the file would end SQLite's locks on it.
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            tighten(path.with_name(path.name + suffix))
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """Open the state file for reading, beside a running daemon or without one.

    Raises:
        StoreAbsent: there is none yet; StoreError: it may not be read; StoreDamaged, StoreNewer: see `open_writer`.
    """
    try:
        absent = not path.exists()
    except PermissionError:
        absent = False
    if absent:
        raise StoreAbsent("no state yet", where=str(path), hint="ucvm-agent has not run here")
    if not os.access(path, os.R_OK):
        raise StoreError("the state may not be read", where=str(path), hint="run this as root")
    return _checked(path, f"file:{_quoted(path)}?mode=ro", STATE, write=False)


def _quoted(path: Path) -> str:
    return str(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _make_private(path: Path) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, MODE))
    except OSError as error:
        raise StoreError(f"cannot be made: {error.strerror}", where=str(path), hint="run as root") from error


def _checked(path: Path, uri: str, schema: Schema, *, write: bool) -> sqlite3.Connection:
    connection: sqlite3.Connection | None = None
    try:
        connection = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        version = _version(connection, path, schema)
        if write:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA foreign_keys=ON")
            _migrate(connection, version, schema)
        elif version == 0:
            raise StoreAbsent("no state yet", where=str(path), hint="an agent is just being started here")
    except StoreError:
        if connection:
            connection.close()
        raise
    except sqlite3.DatabaseError as error:
        if connection:
            connection.close()
        raise translated(error, path) from error
    return connection


def translated(error: sqlite3.Error, path: Path) -> StoreError:
    """Return the error of ours that says what an error of SQLite means for the state file `path`."""
    name = getattr(error, "sqlite_errorname", "") or ""
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return StoreBusy("another process is writing to the state", where=str(path), hint="try again later")
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return StoreDamaged(
            f"the state file is damaged ({error}); it was left as it is",
            where=str(path),
            hint="move it away to start anew, or restore a copy",
        )
    if name.startswith("SQLITE_FULL"):
        return StoreError("no space left for the state", where=str(path), hint="free space on the scratch disk")
    return StoreError(f"the state file cannot be used: {error}", where=str(path))


def _version(connection: sqlite3.Connection, path: Path, schema: Schema) -> int:
    """Return the schema version of a sound file of ours (0: empty), or raise what is wrong with it."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if (application, version, tables) == (0, 0, 0):
        return 0
    if application != schema.application_id:
        raise StoreDamaged("this is another program's database", where=str(path), hint="move it away")
    if version > len(schema.migrations):
        raise StoreNewer(
            f"the state has schema {version}, this version knows up to {len(schema.migrations)}",
            where=str(path),
            hint="install the newer ucvm-agent again, or move the file away to start anew",
        )
    sound = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if sound != "ok":
        raise StoreDamaged(
            f"the state file is damaged ({' '.join(str(sound).split())}); it was left as it is",
            where=str(path),
            hint="move it away to start anew, or restore a copy",
        )
    return version


def _migrate(connection: sqlite3.Connection, version: int, schema: Schema) -> None:
    if missing := schema.migrations[version:]:
        # All at once, since a first boot waits for each commit to reach the disk.
        # executescript commits by itself first, so the transaction has to be in the script.
        connection.executescript(
            f"BEGIN IMMEDIATE; {' '.join(missing)} PRAGMA application_id={schema.application_id};"
            f" PRAGMA user_version={len(schema.migrations)}; COMMIT;"
        )
