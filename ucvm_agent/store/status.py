"""What the state file tells about the VM, read beside a running daemon or without one."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from ucvm_agent.errors import StoreAbsent
from ucvm_agent.events import State
from ucvm_agent.store.events import Delivery
from ucvm_agent.store.jobs import JOB_LINES, JobLine, job_line
from ucvm_agent.store.journal import JournalEntry
from ucvm_agent.store.pins import Pin
from ucvm_agent.store.schema import open_reader, translated

SETTLED = (State.READY, State.WORKING, State.DEGRADED, State.FAILED, State.DRAINING, State.STOPPED)
"""States that a VM stays in by itself; the others end sooner or later."""

FAULTY = (State.DEGRADED, State.FAILED)
"""States that need somebody's eye."""

WATCH_SECONDS = 0.2
"""How often `wait_settled` looks at the state; SQLite has no way to be told of another process' commit."""

_JOURNAL = (
    "SELECT key, scope, contextualizer, kind, target, outcome, effect, reason FROM journal"
    " WHERE context = (SELECT context FROM machine) ORDER BY changed, rowid"
)
_DELIVERIES = (
    "SELECT reporter, seq, (SELECT count(*) FROM events e WHERE e.seq > d.seq), refused, error,"
    " coalesce(delivered, ''), coalesce(tried, '') FROM deliveries d ORDER BY reporter"
)
_PROBLEMS = "SELECT document ->> '$.body.problems' FROM events WHERE kind = 'context' ORDER BY seq DESC LIMIT 1"


class Status(BaseModel):
    """All that `ucvm-agent status` shows; times are ISO 8601, UTC.

    `actions` are those of the present context, `problems` what is wrong with its user-data.
    """

    model_config = ConfigDict(frozen=True)

    machine_id: str
    instance_id: str
    boot_id: str
    boots: int
    state: State | None
    since: str
    reason: str
    source: str
    origin: str
    context: str
    problems: tuple[str, ...]
    actions: tuple[JournalEntry, ...]
    deliveries: tuple[Delivery, ...]
    pins: tuple[Pin, ...]
    jobs: tuple[JobLine, ...]


def read(path: Path) -> Status:
    """Read the state file `path`.

    Raises:
        StoreAbsent: there is none; StoreError: it cannot be used (StoreDamaged, StoreNewer).
    """
    with closing(open_reader(path)) as db:
        try:
            return _read(db, path)
        except sqlite3.Error as error:
            raise translated(error, path) from error


def wait_settled(path: Path, boot_id: str) -> Status:
    """Wait until the VM has come, in the boot `boot_id`, to a state that it stays in; blocks.

    Raises:
        StoreError: as `read`, but for a state file that is not there yet.
    """
    while True:
        with suppress(StoreAbsent):
            status = read(path)
            if status.boot_id == boot_id and status.state in SETTLED:
                return status
        time.sleep(WATCH_SECONDS)


def _read(db: sqlite3.Connection, path: Path) -> Status:
    db.execute("BEGIN")  # one snapshot for all that follows
    machine = db.execute(
        "SELECT machine_id, instance_id, state, coalesce(since, ''), reason, source, origin,"
        " coalesce(context, '') FROM machine"
    ).fetchone()
    boot = db.execute("SELECT number, boot_id FROM boots ORDER BY number DESC LIMIT 1").fetchone()
    if machine is None or boot is None:
        raise StoreAbsent("no state yet", where=str(path), hint="an agent is just being started here")
    problems = db.execute(_PROBLEMS).fetchone()
    return Status(
        machine_id=machine[0],
        instance_id=machine[1],
        boot_id=boot[1],
        boots=boot[0],
        state=State(machine[2]) if machine[2] else None,
        since=machine[3],
        reason=machine[4],
        source=machine[5],
        origin=machine[6],
        context=machine[7],
        problems=tuple(json.loads(problems[0])) if problems else (),
        actions=tuple(JournalEntry(*row) for row in db.execute(_JOURNAL)),
        deliveries=tuple(Delivery(*row) for row in db.execute(_DELIVERIES)),
        pins=tuple(_pins(db)),
        jobs=tuple(_jobs(db)),
    )


def _pins(db: sqlite3.Connection) -> Iterator[Pin]:
    """Yield the pinned keys; none where an older version wrote the state."""
    if db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'pins'").fetchone():
        yield from (Pin(*row) for row in db.execute("SELECT account, key, since FROM pins ORDER BY account"))


def _jobs(db: sqlite3.Connection) -> Iterator[JobLine]:
    """Yield the jobs that there are and were; none where an older version wrote the state."""
    if db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'jobs'").fetchone():
        yield from map(job_line, db.execute(JOB_LINES))
