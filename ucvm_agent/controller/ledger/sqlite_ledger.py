"""The ledger of one controller, in one SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime

from ucvm_agent.controller.ledger import rules
from ucvm_agent.controller.ledger.base import Admission, Kind, Notice, Reception
from ucvm_agent.controller.ledger.sqlite_jobs import SQLiteJobs, count_jobs
from ucvm_agent.controller.model import Entry, JobStatus, Machine, Summary
from ucvm_agent.events import Event

KEPT_EVENTS = 200_000
"""Events that are kept, of all machines together."""


_EVENTS = (
    "SELECT number, json_extract(machines.document, '$.host'), events.document"
    " FROM events LEFT JOIN machines ON machines.machine_id = events.machine_id"
)

_SILENT = (
    "SELECT document FROM machines WHERE seen < ? AND NOT online"
    " AND NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.machine_id = machines.machine_id)"
)


class SQLiteLedger(SQLiteJobs):
    """See `Ledger`.

    Arguments:
        path: the file; only we may read it.
    """

    async def common_key(self, account: str, key: str) -> str:
        """See `Ledger`; there is one controller."""
        return key

    async def admit(self, account: str, question: str, *, now: datetime, cooldown: float) -> Admission:
        """See `Ledger`."""

        def work(db: sqlite3.Connection) -> Admission:
            row = db.execute("SELECT asked, question FROM accounts WHERE account = ?", (account,)).fetchone()
            if row and row[1] == question:
                return Admission.TAKEN
            if row and now.timestamp() - row[0] < cooldown:
                return Admission.TOO_SOON
            db.execute("INSERT OR REPLACE INTO accounts VALUES (?, ?, ?)", (account, now.timestamp(), question))
            return Admission.ADMITTED

        return await self._do(work)

    async def record(self, event: Event, jid: str, *, now: datetime) -> Reception:
        """See `Ledger`."""

        def work(db: sqlite3.Connection) -> tuple[Reception, int]:
            machine = _machine(db, event.machine_id)
            if machine is not None and not rules.owns(machine, jid):
                _save_machine(db, rules.refuse(machine, jid))
                return Reception.REFUSED, 0
            cursor = db.execute(
                "INSERT OR IGNORE INTO events (id, machine_id, document) VALUES (?, ?, ?)",
                (event.id, event.machine_id, event.model_dump_json()),
            )
            if not cursor.rowcount:
                return Reception.KNOWN, 0
            number = cursor.lastrowid or 0
            db.execute("DELETE FROM events WHERE number <= ?", (number - KEPT_EVENTS,))
            _save_machine(db, rules.observe(machine, event, jid, now=now))
            return Reception.NEW, number

        reception, number = await self._do(work)
        if reception is Reception.NEW:
            self.on_notice(Notice(Kind.EVENT, str(number)))
        if reception is not Reception.KNOWN:
            self.on_notice(Notice(Kind.MACHINE, event.machine_id))
        return reception

    async def claim(self, machine_id: str, jid: str, *, host: str = "", instance_id: str = "", now: datetime) -> bool:
        """See `Ledger`."""

        def work(db: sqlite3.Connection) -> tuple[Machine, bool]:
            before = _machine(db, machine_id)
            after = rules.claim(before, machine_id, jid, host, instance_id, now=now)
            if after != before:
                _save_machine(db, after)
            return after, after != before

        machine, changed = await self._do(work)
        if changed:
            self.on_notice(Notice(Kind.MACHINE, machine_id))
        return rules.owns(machine, jid)

    async def present(self, machine_id: str, jid: str, *, online: bool, now: datetime) -> None:
        """See `Ledger`."""

        def work(db: sqlite3.Connection) -> None:
            known = _machine(db, machine_id)
            met = known and rules.meet(known, jid, online=online, now=now)
            if met:
                _save_machine(db, met)

        await self._do(work)
        self.on_notice(Notice(Kind.MACHINE, machine_id))

    async def silent(self, before: datetime) -> Sequence[Machine]:
        """See `Ledger`."""
        rows = await self._do(lambda db: db.execute(_SILENT, (before.timestamp(),)).fetchall())
        return [Machine.model_validate_json(row[0]) for row in rows]

    async def forget_machine(self, machine_id: str, *, before: datetime) -> bool:
        """See `Ledger`."""

        def work(db: sqlite3.Connection) -> bool:
            statement = "DELETE FROM machines WHERE machine_id = ? AND seen < ?"
            gone = db.execute(statement, (machine_id, before.timestamp())).rowcount > 0
            if gone:
                db.execute("DELETE FROM events WHERE machine_id = ?", (machine_id,))
            return gone

        gone = await self._do(work)
        if gone:
            self.on_notice(Notice(Kind.MACHINE, machine_id))
        return gone

    async def machines(self, *, limit: int | None = 1000) -> Sequence[Machine]:
        """See `Ledger`."""

        def work(db: sqlite3.Connection) -> list[Machine]:
            most = -1 if limit is None else limit
            rows = db.execute("SELECT document FROM machines ORDER BY seen DESC LIMIT ?", (most,)).fetchall()
            return [_with_jobs(db, Machine.model_validate_json(row[0])) for row in rows]

        return await self._do(work)

    async def machine(self, machine_id: str) -> Machine | None:
        """See `Ledger`."""

        def work(db: sqlite3.Connection) -> Machine | None:
            machine = _machine(db, machine_id)
            return machine and _with_jobs(db, machine)

        return await self._do(work)

    async def events(self, machine_id: str = "", *, limit: int = 100, after: int = 0) -> Sequence[Entry]:
        """See `Ledger`."""
        order = "ASC" if after else "DESC"
        rows = await self._do(
            lambda db: db.execute(
                f"{_EVENTS} WHERE number > :after"
                + (" AND events.machine_id = :machine" if machine_id else "")
                + f" ORDER BY number {order} LIMIT :limit",
                {"after": after, "machine": machine_id, "limit": limit},
            ).fetchall()
        )
        found = [
            Entry(number=number, host=host or "", event=Event.model_validate_json(document))
            for number, host, document in rows
        ]
        return found if after else found[::-1]

    async def summary(self) -> Summary:
        """See `Ledger`."""

        def work(db: sqlite3.Connection) -> Summary:
            counts = count_jobs(db)
            rows = db.execute("SELECT state, online, count(*) FROM machines GROUP BY 1, 2").fetchall()
            states: dict[str, int] = {}
            for state, _, count in rows:
                if state:
                    states[state] = states.get(state, 0) + count
            return Summary(
                **{status.value: counts.get(status, 0) for status in JobStatus},
                machines=sum(row[2] for row in rows),
                online=sum(row[2] for row in rows if row[1]),
                states=states,
            )

        return await self._do(work)


def _machine(db: sqlite3.Connection, machine_id: str) -> Machine | None:
    row = db.execute("SELECT document FROM machines WHERE machine_id = ?", (machine_id,)).fetchone()
    return Machine.model_validate_json(row[0]) if row else None


def _with_jobs(db: sqlite3.Connection, machine: Machine) -> Machine:
    rows = db.execute("SELECT id FROM jobs WHERE machine_id = ? ORDER BY number", (machine.machine_id,)).fetchall()
    return machine.model_copy(update={"jobs": tuple(row[0] for row in rows)})


def _save_machine(db: sqlite3.Connection, machine: Machine) -> None:
    db.execute(
        "INSERT OR REPLACE INTO machines VALUES (?, ?, ?, ?, ?)",
        (machine.machine_id, machine.seen.timestamp(), machine.state, machine.online, machine.model_dump_json()),
    )
