"""The ledger of several controllers that share one Redis, and their work with original job managers.

The original's keys are `waiting_jobs`, `job:<id>:description` and `agentseen::<account>`
(references/copilot-protocol.md, section 4.1): an original tool submits jobs to us, and an original job manager hands
out ours. All else is below `ucvm:`. A job that an original tool has submitted is known here once it is handed out.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from pydantic import SecretStr

from ucvm_agent.controller import rules
from ucvm_agent.controller.base import Admission, Kind, Notice
from ucvm_agent.controller.fields import read_job, read_original, write_job, write_original
from ucvm_agent.controller.model import (
    Description,
    Job,
    JobStatus,
    Lease,
    Machine,
    Result,
    Summary,
    Throughput,
    check_id,
    new_token,
    spans,
)
from ucvm_agent.controller.redis_link import NOTICES, RedisLink
from ucvm_agent.controller.redis_scripts import ADMIT, APPEND, TAKE
from ucvm_agent.copilot.stanza import bare
from ucvm_agent.errors import JobExists, LedgerError
from ucvm_agent.events import Event, State

KEPT_EVENTS = 200_000
"""Events that are kept, of all machines together."""

KNOWN_SECONDS = 30 * 86_400
"""How long the id of an event is remembered."""

EXPIRED = 100
"""Most leases that are given back at a time."""

QUEUE = "waiting_jobs"

J = TypeVar("J", Job, Job | None)


class RedisLedger:
    """See `Ledger`.

    Arguments:
        url: of Redis.
        max_tries: of a job that an original tool has submitted.
    """

    def __init__(self, url: SecretStr, *, max_tries: int = 3) -> None:
        self._max_tries = max_tries
        self.on_notice: Callable[[Notice], None] = lambda _: None
        self._link = RedisLink(url, self._hear)
        self._redis = self._link.redis
        self._take = self._redis.register_script(TAKE)
        self._admit = self._redis.register_script(ADMIT)

    async def open(self) -> None:
        """Connect."""
        await self._link.open()

    async def close(self) -> None:
        """Let go; what was written stays."""
        await self._link.close()

    # Jobs

    async def submit(self, description: Description, *, now: datetime, id: str = "", max_tries: int = 3) -> Job:  # noqa: A002 - as the field is called
        """See `Ledger`."""
        original = write_original(description)
        job = Job(
            id=check_id(id or str(uuid.uuid4())),
            description=description,
            submitted=now,
            changed=now,
            max_tries=max_tries,
        )

        async def work(pipe: Any) -> Job:
            if await pipe.exists(_job(job.id), f"job:{job.id}:description"):
                raise JobExists("was submitted before", where=f"job {job.id}", hint="choose another id")
            number = await self._redis.incr("ucvm:number")
            pipe.multi()
            pipe.hset(_job(job.id), mapping={"number": number, **write_job(job)})
            pipe.set(f"job:{job.id}:description", original)
            pipe.zadd("ucvm:jobs", {job.id: number})
            pipe.zadd(_status(job.status), {job.id: number})
            pipe.rpush(QUEUE, job.id)
            pipe.publish(NOTICES, f"{Kind.JOB} {job.id}")
            return job

        return await self._link.transact((_job(job.id), f"job:{job.id}:description"), work)

    async def waiting(self) -> int:
        """See `Ledger`."""
        with self._link.errors():
            return int(await self._redis.llen(QUEUE))

    async def take(self, agent: str, *, machine_id: str, host: str, now: datetime, seconds: float) -> Job | None:
        """See `Ledger`."""
        lease = Lease(
            id=str(uuid.uuid4()),
            agent=agent,
            machine_id=machine_id,
            host=host,
            since=now,
            expires=now + timedelta(seconds=seconds),
        )
        arguments = (
            lease.id,
            lease.model_dump_json(),
            bare(agent),
            new_token(),
            now.isoformat(),
            lease.expires.timestamp(),
            machine_id,
            self._max_tries,
        )
        with self._link.errors():
            answer = await self._take(keys=[QUEUE], args=arguments)
        if not answer:
            return None
        id_, original, flat = answer
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        if fields["description"]:
            return read_job(id_, fields)
        return await self._adopt(id_, original, lease.id)

    async def extend(self, id: str, lease: str, *, now: datetime, seconds: float) -> bool:  # noqa: A002 - as the field is called
        """See `Ledger`."""
        changed = await self._change(id, lambda job: rules.extend(job, lease, now=now, seconds=seconds), quiet=True)
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
        return await self._change(id, lambda job: rules.give_back(job, lease, reason, now=now, tried=tried))

    async def finish(self, id: str, result: Result) -> Job | None:  # noqa: A002 - as the field is called
        """See `Ledger`."""
        job = await self.job(id)
        # One that waits, but not in the queue, was handed out by an original job manager, which leaves no name.
        untaken = job is not None and not job.takers and await self._out_of_queue(id)
        return await self._change(id, lambda job: rules.finish(job, result, untaken=untaken))

    async def cancel(self, id: str, reason: str, *, now: datetime) -> Job | None:  # noqa: A002 - as the field is called
        """See `Ledger`."""
        before: list[Job] = []

        def rule(job: Job) -> Job | None:
            before[:] = [job]
            return rules.cancel(job, reason, now=now)

        changed = await self._change(id, rule)
        return before[0] if changed else None

    async def expired(self, *, now: datetime) -> Sequence[Job]:
        """See `Ledger`."""
        with self._link.errors():
            ids = await self._redis.zrangebyscore("ucvm:leases", "-inf", now.timestamp(), start=0, num=EXPIRED)
        return await self._jobs(ids)

    async def job(self, id: str) -> Job | None:  # noqa: A002 - as the field is called
        """See `Ledger`."""
        found = await self._jobs([id])
        return found[0] if found else None

    async def jobs(self, status: JobStatus | None = None, *, limit: int = 100, before: str = "") -> Sequence[Job]:
        """See `Ledger`."""
        key = _status(status) if status else "ucvm:jobs"
        with self._link.errors():
            number = await self._redis.hget(_job(before), "number") if before else None
            latest = f"({number}" if number else "+inf"
            ids = await self._redis.zrevrangebyscore(key, latest, "-inf", start=0, num=limit)
        return await self._jobs(ids)

    async def throughput(self, *, since: datetime, now: datetime, seconds: int) -> Sequence[Throughput]:
        """See `Ledger`."""
        begins = list(spans(since, now, seconds))
        async with self._link.pipeline() as pipe:
            for begin in begins:
                end = f"({begin.timestamp() + seconds}"
                pipe.zcount(_ended(JobStatus.DONE), begin.timestamp(), end)
                pipe.zcount(_ended(JobStatus.FAILED), begin.timestamp(), end)
            counts = await pipe.execute()
        pairs = zip(begins, counts[::2], counts[1::2], strict=True)
        return [Throughput(begin=begin, seconds=seconds, done=done, failed=failed) for begin, done, failed in pairs]

    # Machines and events

    async def admit(self, account: str, question: str, *, now: datetime, cooldown: float) -> Admission:
        """See `Ledger`."""
        with self._link.errors():
            name = account.partition("@")[0]
            return Admission(await self._admit(keys=[], args=(name, question, now.timestamp(), cooldown)))

    async def record(self, event: Event, jid: str, *, now: datetime) -> bool:
        """See `Ledger`."""
        known = f"ucvm:event:{event.id}"

        async def work(pipe: Any) -> bool:
            if await pipe.exists(known):
                pipe.multi()
                return False
            before = _read_machine(await pipe.get(_machine(event.machine_id)))
            pipe.multi()
            pipe.set(known, "", ex=KNOWN_SECONDS)
            pipe.eval(APPEND, 0, event.machine_id, event.model_dump_json(), KEPT_EVENTS)
            _save_machine(pipe, before, rules.observe(before, event, jid, now=now))
            return True

        return await self._link.transact((known, _machine(event.machine_id)), work)

    async def present(self, machine_id: str, jid: str, host: str, *, online: bool, now: datetime) -> None:
        """See `Ledger`."""

        async def work(pipe: Any) -> None:
            before = _read_machine(await pipe.get(_machine(machine_id)))
            pipe.multi()
            _save_machine(pipe, before, rules.meet(before, machine_id, jid, host, online=online, now=now))

        await self._link.transact((_machine(machine_id),), work)

    async def machines(self, *, limit: int = 1000) -> Sequence[Machine]:
        """See `Ledger`."""
        with self._link.errors():
            return await self._machines(await self._redis.zrevrange("ucvm:machines", 0, limit - 1))

    async def machine(self, machine_id: str) -> Machine | None:
        """See `Ledger`."""
        found = await self._machines([machine_id])
        return found[0] if found else None

    async def events(self, machine_id: str = "", *, limit: int = 100, after: int = 0) -> Sequence[tuple[int, Event]]:
        """See `Ledger`."""
        key = f"ucvm:events:{machine_id}" if machine_id else "ucvm:events"
        with self._link.errors():
            if after:
                rows = await self._redis.xrange(key, min=f"({_stream_id(after)}", count=limit)
            else:
                rows = (await self._redis.xrevrange(key, count=limit))[::-1]
        return [(_number(id_), Event.model_validate_json(fields["event"])) for id_, fields in rows]

    async def summary(self) -> Summary:
        """See `Ledger`."""
        async with self._link.pipeline() as pipe:
            pipe.llen(QUEUE)
            for status in JobStatus:
                pipe.zcard(_status(status))
            pipe.zcard("ucvm:machines")
            pipe.scard("ucvm:online")
            for state in State:
                pipe.scard(f"ucvm:state:{state}")
            waiting, *counts = await pipe.execute()
        statuses = dict(zip((status.value for status in JobStatus), counts, strict=False))
        machines, online, *states = counts[len(JobStatus) :]
        return Summary(
            **statuses | {"waiting": waiting},
            machines=machines,
            online=online,
            states={state.value: count for state, count in zip(State, states, strict=True) if count},
        )

    # What several methods do

    def _hear(self, text: str) -> None:
        kind, _, id_ = text.partition(" ")
        self.on_notice(Notice(Kind(kind), str(_number(id_)) if kind == Kind.EVENT else id_))

    async def _change(
        self,
        id: str,  # noqa: A002 - as the field is called
        rule: Callable[[Job], Job | None],
        *,
        quiet: bool = False,
    ) -> Job | None:
        async def work(pipe: Any) -> Job | None:
            fields = await pipe.hgetall(_job(id))
            before = read_job(id, fields) if fields else None
            job = rule(before) if before else None
            pipe.multi()
            if before and job:
                _save_job(pipe, before, job, fields["number"])
                if not quiet:
                    pipe.publish(NOTICES, f"{Kind.JOB} {id}")
            return job

        return await self._link.transact((_job(id),), work)

    async def _adopt(self, id: str, original: str | None, lease: str) -> Job:  # noqa: A002 - as the field is called
        """Return a job that an original tool has submitted; fail it if it has no description."""
        description = Description(command="") if original is None else read_original(original)
        with self._link.errors():
            await self._redis.hset(_job(id), "description", description.model_dump_json(exclude_defaults=True))

        def fail(job: Job) -> Job | None:
            reason = "an original tool has submitted it without a description"
            return job.model_copy(update={"status": JobStatus.FAILED, "reason": reason})

        job = await self._change(id, fail) if original is None else await self.job(id)
        if job is None:
            raise LedgerError("a job is gone", where=f"job {id}")
        return job

    async def _out_of_queue(self, id: str) -> bool:  # noqa: A002 - as the field is called
        with self._link.errors():
            return await self._redis.lpos(QUEUE, id) is None

    async def _jobs(self, ids: Sequence[str]) -> list[Job]:
        async with self._link.pipeline() as pipe:
            for id_ in ids:
                pipe.hgetall(_job(id_))
            found = await pipe.execute()
        return [read_job(id_, fields) for id_, fields in zip(ids, found, strict=True) if fields.get("description")]

    async def _machines(self, ids: Sequence[str]) -> list[Machine]:
        async with self._link.pipeline() as pipe:
            for machine_id in ids:
                pipe.get(_machine(machine_id))
                pipe.smembers(f"ucvm:holds:{machine_id}")
            found = await pipe.execute()
        machines = [(_read_machine(text), jobs) for text, jobs in zip(found[::2], found[1::2], strict=True)]
        return [machine.model_copy(update={"jobs": tuple(sorted(jobs))}) for machine, jobs in machines if machine]


def _job(id: str) -> str:  # noqa: A002 - as the field is called
    return f"ucvm:job:{id}"


def _status(status: JobStatus) -> str:
    return f"ucvm:jobs:{status}"


def _ended(status: JobStatus) -> str:
    return f"ucvm:ended:{status}"


def _machine(machine_id: str) -> str:
    return f"ucvm:machine:{machine_id}"


def _read_machine(text: str | None) -> Machine | None:
    return Machine.model_validate_json(text) if text else None


def _number(stream_id: str) -> int:
    """Return the number of an entry of a stream: its milliseconds, and up to a thousand in each."""
    milliseconds, _, place = stream_id.partition("-")
    return int(milliseconds) * 1000 + int(place or 0)


def _stream_id(number: int) -> str:
    return f"{number // 1000}-{number % 1000}"


def _save_job(pipe: Any, before: Job, job: Job, number: str) -> None:
    """Write a job that has changed; one that waits again goes to the head of the queue."""
    pipe.hset(_job(job.id), mapping=write_job(job))
    if job.status is JobStatus.RUNNING and job.lease is not None:
        pipe.zadd("ucvm:leases", {job.id: job.lease.expires.timestamp()})
        return
    pipe.zrem("ucvm:leases", job.id)
    if before.lease is not None:
        pipe.srem(f"ucvm:holds:{before.lease.machine_id}", job.id)
    pipe.zrem(_status(before.status), job.id)
    pipe.zadd(_status(job.status), {job.id: number})
    if job.status is JobStatus.WAITING:
        pipe.lpush(QUEUE, job.id)
        return
    pipe.zadd(_ended(job.status), {job.id: job.changed.timestamp()})
    # An original job manager that still takes it finds nothing to hand out.
    pipe.delete(f"job:{job.id}:description")
    if before.status is JobStatus.WAITING:
        pipe.lrem(QUEUE, 0, job.id)


def _save_machine(pipe: Any, before: Machine | None, machine: Machine) -> None:
    pipe.set(_machine(machine.machine_id), machine.model_dump_json())
    pipe.zadd("ucvm:machines", {machine.machine_id: machine.seen.timestamp()})
    (pipe.sadd if machine.online else pipe.srem)("ucvm:online", machine.machine_id)
    if before is not None and before.state and before.state is not machine.state:
        pipe.srem(f"ucvm:state:{before.state}", machine.machine_id)
    if machine.state:
        pipe.sadd(f"ucvm:state:{machine.state}", machine.machine_id)
    pipe.publish(NOTICES, f"{Kind.MACHINE} {machine.machine_id}")
