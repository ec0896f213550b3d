"""The jobs in the ledger of one controller; `SQLiteLedger` adds the machines."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from ucvm_agent.controller.ledger import rules
from ucvm_agent.controller.ledger.base import Kind, Notice
from ucvm_agent.controller.ledger.fields import read_job, write_job
from ucvm_agent.controller.ledger.sqlite_schema import LEDGER
from ucvm_agent.controller.ledger.sqlite_thread import SQLiteThread
from ucvm_agent.controller.model import (
    Description,
    Job,
    JobStatus,
    Result,
    Throughput,
    new_token,
    spans,
)
from ucvm_agent.errors import JobExists

EXPIRED = 100
"""Most leases that are given back at a time."""

_FIELDS = (
    "description",
    "status",
    "submitted",
    "changed",
    "tries",
    "max_tries",
    "lease",
    "result",
    "reason",
    "token",
    "takers",
)
_JOB = f"SELECT id, {', '.join(_FIELDS)} FROM jobs"  # noqa: S608 - names of ours
_SAVE = (
    f"UPDATE jobs SET {', '.join(f'{name} = :{name}' for name in _FIELDS)},"  # noqa: S608 - names of ours
    " position = :position, machine_id = :machine_id, expires = :expires, ended = :ended WHERE id = :id"
)

_UPLOADS = (
    "SELECT DISTINCT json_extract(value, '$.sha256') FROM jobs, json_each(description, '$.inputs')"
    " WHERE json_extract(value, '$.url') IS NULL AND json_extract(value, '$.sha256') IS NOT NULL"
)

Rule = Callable[[Job], Job | None]
J = TypeVar("J", Job, Job | None)


class SQLiteJobs:
    """The jobs of a `Ledger`.

    Arguments:
        path: the file; only we may read it.
    """

    def __init__(self, path: Path) -> None:
        self.on_notice: Callable[[Notice], None] = lambda _: None
        self._thread = SQLiteThread(path, LEDGER)
        self._do = self._thread.do

    async def open(self) -> None:
        """Open the file, and make what is missing."""
        await self._thread.open()

    async def close(self) -> None:
        """Let go; what was written stays."""
        await self._thread.close()

    # Jobs

    async def submit(self, description: Description, *, now: datetime, id: str = "", max_tries: int = 3) -> Job:  # noqa: A002 - as the field is called
        """See `Ledger`."""
        job = rules.new_job(description, id, now=now, max_tries=max_tries)

        def work(db: sqlite3.Connection) -> None:
            if db.execute("SELECT 1 FROM jobs WHERE id = ?", (job.id,)).fetchone():
                raise JobExists("was submitted before", where=f"job {job.id}", hint="choose another id")
            values = {"id": job.id, "ours": job.description.needs_ours, **write_job(job)}
            names = ", ".join(values)
            db.execute(f"INSERT INTO jobs ({names}) VALUES (:{names.replace(', ', ', :')})", values)  # noqa: S608 - names of ours
            db.execute("UPDATE jobs SET position = number WHERE id = ?", (job.id,))

        await self._do(work)
        return self._told(job)

    async def waiting(self) -> int:
        """See `Ledger`."""
        return await self._do(lambda db: count_jobs(db).get(JobStatus.WAITING, 0))

    async def offers(self, machine_id: str) -> bool:
        """See `Ledger`."""
        return await self._do(lambda db: db.execute(f"{_JOB} {_next(machine_id)}").fetchone() is not None)

    async def take(self, agent: str, *, machine_id: str, host: str, now: datetime, seconds: float) -> Job | None:
        """See `Ledger`."""
        lease = rules.new_lease(agent, machine_id=machine_id, host=host, now=now, seconds=seconds)

        def work(db: sqlite3.Connection) -> Job | None:
            row = db.execute(f"{_JOB} {_next(machine_id)}").fetchone()
            job = row and rules.grant(_job(row), lease, new_token())
            return _save(db, job) if job else None

        return self._told(await self._do(work))

    async def extend(self, id: str, lease: str, *, now: datetime, seconds: float) -> bool:  # noqa: A002 - as the field is called
        """See `Ledger`."""
        changed = await self._change(id, lambda job: rules.extend(job, lease, now=now, seconds=seconds))
        return changed is not None

    async def give_back(
        self,
        id: str,  # noqa: A002 - as the field is called
        lease: str,
        reason: str,
        *,
        now: datetime,
        tried: bool = True,
    ) -> Job | None:
        """See `Ledger`."""
        return self._told(await self._change(id, lambda job: rules.give_back(job, lease, reason, now=now, tried=tried)))

    async def finish(self, id: str, result: Result) -> Job | None:  # noqa: A002 - as the field is called
        """See `Ledger`."""
        return self._told(await self._change(id, lambda job: rules.finish(job, result)))

    async def cancel(self, id: str, reason: str, *, now: datetime) -> Job | None:  # noqa: A002 - as the field is called
        """See `Ledger`."""
        before: list[Job] = []

        def rule(job: Job) -> Job | None:
            before.append(job)
            return rules.cancel(job, reason, now=now)

        changed = self._told(await self._change(id, rule))
        return before[0] if changed else None

    async def expired(self, *, now: datetime) -> Sequence[Job]:
        """See `Ledger`."""
        return await self._jobs("WHERE expires <= ? ORDER BY expires LIMIT ?", (now.timestamp(), EXPIRED))

    async def ended(self, before: datetime, *, limit: int = 100, offset: int = 0) -> Sequence[Job]:
        """See `Ledger`."""
        return await self._jobs(
            "WHERE ended < ? ORDER BY ended, number LIMIT ? OFFSET ?", (before.timestamp(), limit, offset)
        )

    async def strayed(self, before: datetime) -> Sequence[Job]:
        """See `Ledger`; no other job manager can reach this queue."""
        return []

    async def forget(self, job: Job) -> bool:
        """See `Ledger`."""
        statement = "DELETE FROM jobs WHERE id = ? AND submitted = ? AND ended IS NOT NULL"
        return await self._do(lambda db: db.execute(statement, (job.id, job.submitted.isoformat())).rowcount > 0)

    async def uploads(self) -> set[str]:
        """See `Ledger`."""
        rows = await self._do(lambda db: db.execute(_UPLOADS).fetchall())
        return {row[0] for row in rows}

    async def job(self, id: str) -> Job | None:  # noqa: A002 - as the field is called
        """See `Ledger`."""
        found = await self._jobs("WHERE id = ?", (id,))
        return found[0] if found else None

    async def jobs(self, status: JobStatus | None = None, *, limit: int = 100, before: str = "") -> Sequence[Job]:
        """See `Ledger`."""
        conditions, arguments = ["1"], list[object]()
        if status is not None:
            conditions.append("status = ?")
            arguments.append(status)
        if before:
            conditions.append("number < (SELECT number FROM jobs WHERE id = ?)")
            arguments.append(before)
        return await self._jobs(f"WHERE {' AND '.join(conditions)} ORDER BY number DESC LIMIT ?", (*arguments, limit))

    async def throughput(self, *, since: datetime, now: datetime, seconds: int) -> Sequence[Throughput]:
        """See `Ledger`."""
        begin = since.timestamp()
        rows = await self._do(
            lambda db: db.execute(
                "SELECT CAST((ended - ?) / ? AS INTEGER), status, count(*) FROM jobs"
                " WHERE ended >= ? AND ended <= ? GROUP BY 1, 2",
                (begin, seconds, begin, now.timestamp()),
            ).fetchall()
        )
        counts = {(span, status): count for span, status, count in rows}
        return [
            Throughput(
                begin=start,
                seconds=seconds,
                done=counts.get((span, JobStatus.DONE), 0),
                failed=counts.get((span, JobStatus.FAILED), 0),
            )
            for span, start in enumerate(spans(since, now, seconds))
        ]

    # What several methods do

    async def _change(self, id: str, rule: Rule) -> Job | None:  # noqa: A002 - as the field is called
        def work(db: sqlite3.Connection) -> Job | None:
            row = db.execute(f"{_JOB} WHERE id = ?", (id,)).fetchone()
            job = row and rule(_job(row))
            return _save(db, job) if job else None

        return await self._do(work)

    async def _jobs(self, condition: str, arguments: tuple[object, ...]) -> list[Job]:
        rows = await self._do(lambda db: db.execute(f"{_JOB} {condition}", arguments).fetchall())
        return [_job(row) for row in rows]

    def _told(self, job: J) -> J:
        if job is not None:
            self.on_notice(Notice(Kind.JOB, job.id))
            if job.lease is not None and job.lease.machine_id:
                self.on_notice(Notice(Kind.MACHINE, job.lease.machine_id))
        return job


def _next(machine_id: str) -> str:
    """Return what finds the first job of the queue that an agent can run."""
    return f"WHERE position IS NOT NULL {'' if machine_id else 'AND NOT ours'} ORDER BY position LIMIT 1"


def _job(row: tuple[Any, ...]) -> Job:
    return read_job(row[0], dict(zip(_FIELDS, row[1:], strict=True)))


def _save(db: sqlite3.Connection, job: Job) -> Job:
    """Write a job that has changed; one that waits again goes to the head of the queue."""
    running = job.lease if job.status is JobStatus.RUNNING else None
    position = None
    if job.status is JobStatus.WAITING:
        first = db.execute("SELECT min(position) FROM jobs WHERE position IS NOT NULL").fetchone()[0]
        position = min(0, first or 0) - 1
    values = {
        "id": job.id,
        "position": position,
        "machine_id": running.machine_id if running else None,
        "expires": running.expires.timestamp() if running else None,
        "ended": job.changed.timestamp() if job.ended else None,
    }
    db.execute(_SAVE, write_job(job) | values)
    return job


def count_jobs(db: sqlite3.Connection) -> dict[str, int]:
    """Return how many jobs there are, by status."""
    return dict(db.execute("SELECT status, jobs FROM counts").fetchall())
