"""The jobs in a ledger that several controllers share; `RedisLedger` adds the machines, and tells of the keys."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import chain
from operator import itemgetter
from typing import Any

from pydantic import SecretStr

from ucvm_agent.controller.ledger import rules
from ucvm_agent.controller.ledger.base import Kind, Notice
from ucvm_agent.controller.ledger.fields import read_job, read_original, uploads_of, write_job, write_original
from ucvm_agent.controller.ledger.redis_keys import (
    OURS,
    QUEUE,
    ended_key,
    event_number,
    job_key,
    queue_of,
    save_job,
    status_key,
)
from ucvm_agent.controller.ledger.redis_link import NOTICES, RedisLink
from ucvm_agent.controller.ledger.redis_scripts import ADMIT, TAKE
from ucvm_agent.controller.model import (
    Description,
    Job,
    JobStatus,
    Lease,
    Result,
    Throughput,
    check_id,
    new_token,
    spans,
)
from ucvm_agent.copilot.stanza import bare
from ucvm_agent.errors import JobExists

EXPIRED = 100
"""Most leases that are given back at a time."""

PAGE = 500
"""Jobs that are read at once."""

ENDS = (JobStatus.DONE, JobStatus.FAILED, JobStatus.CANCELLED)


class RedisJobs:
    """The jobs of a `Ledger`.

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
        original = "" if description.needs_ours else write_original(description)
        job = Job(
            id=check_id(id or str(uuid.uuid4())),
            description=description,
            submitted=now,
            changed=now,
            max_tries=max_tries,
        )

        async def work(pipe: Any) -> Job:
            if await pipe.exists(job_key(job.id), f"job:{job.id}:description"):
                raise JobExists("was submitted before", where=f"job {job.id}", hint="choose another id")
            # By the pipeline's connection: those who hold one and want another would wait for each other.
            number = await pipe.incr("ucvm:number")
            pipe.multi()
            pipe.hset(job_key(job.id), mapping={"number": number, **write_job(job)})
            if original:
                pipe.set(f"job:{job.id}:description", original)
            pipe.zadd("ucvm:jobs", {job.id: number})
            pipe.zadd(status_key(job.status), {job.id: number})
            pipe.rpush(queue_of(job), job.id)
            pipe.publish(NOTICES, f"{Kind.JOB} {job.id}")
            return job

        return await self._link.transact((job_key(job.id), f"job:{job.id}:description"), work)

    async def waiting(self) -> int:
        """See `Ledger`."""
        return sum(await self._lengths(QUEUE, OURS))

    async def offers(self, machine_id: str) -> bool:
        """See `Ledger`."""
        return any(await self._lengths(QUEUE, *([OURS] if machine_id else [])))

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
        id_, flat = answer
        job = await self._read(id_, dict(zip(flat[::2], flat[1::2], strict=True)))
        return job if job.description.command else await self._change(id_, _fail)

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
        untaken = job is not None and not job.takers and await self._out_of_queue(job)
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

    async def ended(self, before: datetime, *, limit: int = 100, offset: int = 0) -> Sequence[Job]:
        """See `Ledger`."""
        async with self._link.pipeline() as pipe:
            for status in ENDS:
                latest = f"({before.timestamp()}"
                pipe.zrangebyscore(ended_key(status), "-inf", latest, start=0, num=offset + limit, withscores=True)
            found = await pipe.execute()
        ids = [id_ for id_, _ in sorted(chain(*found), key=itemgetter(1))]
        return await self._jobs(ids[offset : offset + limit])

    async def strayed(self, before: datetime) -> Sequence[Job]:
        """See `Ledger`; at most 500, those that were submitted first."""
        with self._link.errors():
            ids = await self._redis.zrange(status_key(JobStatus.WAITING), 0, PAGE - 1)
        async with self._link.pipeline() as pipe:
            for id_ in ids:
                pipe.lpos(QUEUE, id_)
                pipe.hgetall(job_key(id_))
            found = await pipe.execute()
        out = [(id_, fields) for id_, place, fields in zip(ids, found[::2], found[1::2], strict=True) if place is None]
        jobs = [await self._read(id_, fields) for id_, fields in out if fields]
        return [
            job for job in jobs if job.status is JobStatus.WAITING and job.changed < before and queue_of(job) == QUEUE
        ]

    async def forget(self, job: Job) -> bool:
        """See `Ledger`."""

        async def work(pipe: Any) -> bool:
            fields = await pipe.hgetall(job_key(job.id))
            now = await self._read(job.id, fields, pipe) if fields else None
            pipe.multi()
            if now is None or not now.ended or now.submitted != job.submitted:
                return False
            # Not what is the original's: if it is there again, somebody has submitted another job of this id.
            pipe.delete(job_key(job.id))
            for key in ("ucvm:jobs", status_key(now.status), ended_key(now.status)):
                pipe.zrem(key, job.id)
            return True

        return await self._link.transact((job_key(job.id),), work)

    async def uploads(self) -> set[str]:
        """See `Ledger`."""
        with self._link.errors():
            ids = await self._redis.zrange("ucvm:jobs", 0, -1)
        found: set[str] = set()
        for begin in range(0, len(ids), PAGE):
            async with self._link.pipeline() as pipe:
                for id_ in ids[begin : begin + PAGE]:
                    pipe.hget(job_key(id_), "description")
                texts = await pipe.execute()
            found.update(chain.from_iterable(uploads_of(text) for text in texts if text))
        return found

    async def job(self, id: str) -> Job | None:  # noqa: A002 - as the field is called
        """See `Ledger`."""
        found = await self._jobs([id])
        return found[0] if found else None

    async def jobs(self, status: JobStatus | None = None, *, limit: int = 100, before: str = "") -> Sequence[Job]:
        """See `Ledger`."""
        key = status_key(status) if status else "ucvm:jobs"
        with self._link.errors():
            number = await self._redis.hget(job_key(before), "number") if before else None
            latest = f"({number}" if number else "+inf"
            ids = await self._redis.zrevrangebyscore(key, latest, "-inf", start=0, num=limit)
        return await self._jobs(ids)

    async def throughput(self, *, since: datetime, now: datetime, seconds: int) -> Sequence[Throughput]:
        """See `Ledger`."""
        begins = list(spans(since, now, seconds))
        async with self._link.pipeline() as pipe:
            for begin in begins:
                end = f"({begin.timestamp() + seconds}"
                pipe.zcount(ended_key(JobStatus.DONE), begin.timestamp(), end)
                pipe.zcount(ended_key(JobStatus.FAILED), begin.timestamp(), end)
            counts = await pipe.execute()
        pairs = zip(begins, counts[::2], counts[1::2], strict=True)
        return [Throughput(begin=begin, seconds=seconds, done=done, failed=failed) for begin, done, failed in pairs]

    # What several methods do

    def _hear(self, text: str) -> None:
        kind, _, id_ = text.partition(" ")
        self.on_notice(Notice(Kind(kind), str(event_number(id_)) if kind == Kind.EVENT else id_))

    async def _change(
        self,
        id: str,  # noqa: A002 - as the field is called
        rule: Callable[[Job], Job | None],
        *,
        quiet: bool = False,
    ) -> Job | None:
        async def work(pipe: Any) -> Job | None:
            fields = await pipe.hgetall(job_key(id))
            before = await self._read(id, fields, pipe) if fields else None
            job = rule(before) if before else None
            pipe.multi()
            if before and job:
                save_job(pipe, before, job, fields["number"])
                if not quiet:
                    pipe.publish(NOTICES, f"{Kind.JOB} {id}")
            return job

        return await self._link.transact((job_key(id),), work)

    async def _read(self, id: str, fields: dict[str, str], pipe: Any = None) -> Job:  # noqa: A002 - as the field is called
        """Return a job; that of an original tool has its description under the original's key until it changes here.

        Arguments:
            pipe: of the transaction that reads it, whose connection is to be used, as in `submit`.
        """
        if not fields["description"]:
            with self._link.errors():
                original = await (self._redis if pipe is None else pipe).get(f"job:{id}:description")
            fields |= {"description": read_original(original or "").model_dump_json()}
        return read_job(id, fields)

    async def _out_of_queue(self, job: Job) -> bool:
        with self._link.errors():
            return await self._redis.lpos(queue_of(job), job.id) is None

    async def _lengths(self, *queues: str) -> list[int]:
        async with self._link.pipeline() as pipe:
            for queue in queues:
                pipe.llen(queue)
            lengths: list[int] = await pipe.execute()
        return lengths

    async def _jobs(self, ids: Sequence[str]) -> list[Job]:
        async with self._link.pipeline() as pipe:
            for id_ in ids:
                pipe.hgetall(job_key(id_))
            found = await pipe.execute()
        return [await self._read(id_, fields) for id_, fields in zip(ids, found, strict=True) if fields]


def _fail(job: Job) -> Job:
    reason = "an original tool has submitted it without a description, or without a command in it"
    return job.model_copy(update={"status": JobStatus.FAILED, "reason": reason})
