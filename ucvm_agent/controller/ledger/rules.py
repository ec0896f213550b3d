"""What may become of a job and of a machine: functions of their arguments, which every ledger applies.

    waiting ⇄ running → done | failed | cancelled

Each returns the record as it is then, or None if the rule does not allow it.
"""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

from pydantic import SecretStr

from ucvm_agent.controller.model import REASON_LENGTH, Description, Job, JobStatus, Lease, Machine, Result, check_id
from ucvm_agent.copilot.stanza import bare
from ucvm_agent.events import Event, State, StateChanged, describe_status

HEARD = timedelta(hours=1)
"""How old `Machine.seen` becomes before a machine that only asks is written down anew: it asks all the time."""


def new_job(description: Description, id: str, *, now: datetime, max_tries: int) -> Job:  # noqa: A002 - as the field is called
    """Make a job that waits.

    Arguments:
        id: its name; made up if empty.

    Raises:
        UsageError: that cannot be the name of a job.
    """
    id = check_id(id or str(uuid.uuid4()))  # noqa: A001 - as above
    return Job(id=id, description=description, submitted=now, changed=now, max_tries=max_tries)


def new_lease(agent: str, *, machine_id: str, host: str, now: datetime, seconds: float) -> Lease:
    """Make a lease for an agent, from now on for so long."""
    expires = now + timedelta(seconds=seconds)
    return Lease(id=str(uuid.uuid4()), agent=agent, machine_id=machine_id, host=host, since=now, expires=expires)


def grant(job: Job, lease: Lease, token: str) -> Job | None:
    """Hand a waiting job out."""
    if job.status is not JobStatus.WAITING:
        return None
    return job.model_copy(
        update={
            "status": JobStatus.RUNNING,
            "changed": lease.since,
            "tries": job.tries + 1,
            "lease": lease,
            "token": SecretStr(token),
            "takers": {**job.takers, lease.id: bare(lease.agent)},
        }
    )


def extend(job: Job, lease: str, *, now: datetime, seconds: float) -> Job | None:
    """Extend the present lease of a job."""
    held = _held(job, lease)
    if held is None:
        return None
    return job.model_copy(update={"lease": held.model_copy(update={"expires": now + timedelta(seconds=seconds)})})


def give_back(job: Job, lease: str, reason: str, *, now: datetime, tried: bool) -> Job | None:
    """Put a job back into the queue, or fail it after its last try."""
    held = _held(job, lease)
    if held is None:
        return None
    change = {"changed": now, "reason": reason[:REASON_LENGTH], "tries": job.tries if tried else job.tries - 1}
    if tried and job.tries >= job.max_tries:
        return job.model_copy(update={**change, "status": JobStatus.FAILED})
    return job.model_copy(update={**change, "status": JobStatus.WAITING, "lease": None, "token": SecretStr("")})


def finish(job: Job, result: Result, *, untaken: bool = False) -> Job | None:
    """Keep the result of a job, if it is of one of its leases and the first.

    Arguments:
        untaken: take it from any account, since somebody else has handed the job out, and we have not.
    """
    if job.ended:
        return None
    account = bare(result.agent)
    leases = [lease for lease, taker in job.takers.items() if taker == account and result.lease in (lease, "")]
    if not leases and (job.takers or not untaken):
        return None
    result = result.model_copy(update={"lease": leases[-1] if leases else "", **_place(job, leases)})
    reason = "" if not result.exit_status else f"its command ended with {describe_status(result.exit_status)}"
    if result.limit:
        reason = f"{result.limit}{f'; {reason}' if reason else ''}"[:REASON_LENGTH]
    if not reason and result.validation_status:
        reason = f"its validation ended with {describe_status(result.validation_status)}"
    status = JobStatus.FAILED if reason else JobStatus.DONE
    return job.model_copy(update={"status": status, "changed": result.ended, "result": result, "reason": reason})


def cancel(job: Job, reason: str, *, now: datetime) -> Job | None:
    """End a job before it has ended by itself."""
    if job.ended:
        return None
    return job.model_copy(
        update={"status": JobStatus.CANCELLED, "changed": now, "reason": reason[:REASON_LENGTH], "token": SecretStr("")}
    )


def owns(machine: Machine | None, jid: str) -> bool:
    """Whether an account may speak for a machine: the one that did so first."""
    return machine is None or bare(machine.jid) in ("", bare(jid))


def refuse(machine: Machine, jid: str) -> Machine:
    """Note that an account has spoken for a machine of another one."""
    return machine.model_copy(update={"refused": machine.refused + 1, "refused_from": jid})


def claim(machine: Machine | None, machine_id: str, jid: str, host: str, instance_id: str, *, now: datetime) -> Machine:
    """Note that an account speaks for a machine, which is its own from then on if it was nobody's.

    What there is no need to write down comes back as it was. Where its events come from stays where orders go: some
    other program on the machine may have asked.
    """
    known = machine or Machine(machine_id=machine_id, seen=now)
    if not owns(known, jid):
        return refuse(known, jid)
    return known.model_copy(
        update={
            "jid": known.jid or jid,
            "host": host or known.host,
            "instance_id": instance_id or known.instance_id,
            "seen": now if now - known.seen > HEARD else known.seen,
        }
    )


def observe(machine: Machine | None, event: Event, jid: str, *, now: datetime) -> Machine:
    """Bring a machine up to date with what it reports; one that is not known is made."""
    machine = machine or Machine(machine_id=event.machine_id, seen=now)
    change: dict[str, object] = {"jid": jid, "boot_id": event.boot_id, "seen": now}
    if isinstance(event.body, StateChanged):
        change |= {"state": event.body.state, "reason": event.body.reason, "since": event.time}
        if event.body.state in (State.DEGRADED, State.FAILED):
            change["failure"] = event.body.reason
    return machine.model_copy(update=change)


def meet(machine: Machine, jid: str, *, online: bool, now: datetime) -> Machine | None:
    """Note that a machine has come, or has gone."""
    return machine.model_copy(update={"jid": jid, "online": online, "seen": now}) if owns(machine, jid) else None


def _place(job: Job, leases: list[str]) -> dict[str, str]:
    """Return where a job has run, as far as the lease tells: who names another account's machine is not believed."""
    if job.lease is None or job.lease.id not in leases[-1:]:
        return {"machine_id": ""}
    return {"machine_id": job.lease.machine_id, "host": job.lease.host}


def _held(job: Job, lease: str) -> Lease | None:
    return job.lease if job.status is JobStatus.RUNNING and job.lease and job.lease.id == lease else None
