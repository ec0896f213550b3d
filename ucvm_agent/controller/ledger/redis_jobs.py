"""The jobs in a ledger that several controllers share; `RedisLedger` adds the machines, and tells of the keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import chain
from operator import itemgetter

from pydantic import SecretStr

from ucvm_agent.controller.ledger import rules
from ucvm_agent.controller.ledger.base import Kind, Notice
from ucvm_agent.controller.ledger.fields import uploads_of
from ucvm_agent.controller.ledger.redis_keys import OURS, QUEUE, ended_key, event_number, job_key, queue_of, status_key
from ucvm_agent.controller.ledger.redis_link import RedisLink
from ucvm_agent.controller.ledger.redis_records import JobRecords
from ucvm_agent.controller.ledger.redis_scripts import ADMIT, FORGET_EVENTS, TAKE
from ucvm_agent.controller.model import (
    Description,
    Job,
    JobStatus,
    Lease,
    Result,
    Throughput,
    new_token,
    spans,
)
from ucvm_agent.copilot.stanza import bare
from ucvm_agent.errors import JobExists, LedgerError

EXPIRED = 100
"""Most leases that are given back at a time."""

PAGE = 500
"""Jobs that are read at once."""

UNTOLD = "Redis broke off while it was handed out"

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
        self._records = JobRecords(self._link)
        self._take = self._redis.register_script(TAKE)
        self._admit = self._redis.register_script(ADMIT)
        self._forget_events = self._redis.register_script(FORGET_EVENTS)
        self._untold: dict[str, str] = {}

    async def open(self) -> None:
        """Connect."""
        await self._link.open()

    async def close(self) -> None:
        """Let go; what was written stays."""
        await self._link.close()

    # Jobs

    async def submit(self, description: Description, *, now: datetime, id: str = "", max_tries: int = 3) -> Job:  # noqa: A002 - as the field is called
        """See `Ledger`."""
        job = rules.new_job(description, id, now=now, max_tries=max_tries)
        if not await self._records.add(job):
            raise JobExists("was submitted before", where=f"job {job.id}", hint="choose another id")
        return job

    async def waiting(self) -> int:
        """See `Ledger`."""
        async with self._link.pipeline() as pipe:
            pipe.llen(QUEUE)
            pipe.llen(OURS)
            return sum(await pipe.execute())

    async def offers(self, machine_id: str) -> bool:
        """See `Ledger`."""
        with self._link.errors():  # a list that is empty does not exist
            return bool(await self._redis.exists(QUEUE, *([OURS] if machine_id else [])))

    async def take(self, agent: str, *, machine_id: str, host: str, now: datetime, seconds: float) -> Job | None:
        """See `Ledger`."""
        lease = rules.new_lease(agent, machine_id=machine_id, host=host, now=now, seconds=seconds)
        await self._return_untold(now)
        try:
            return await self._hand_out(lease)
        except LedgerError:
            self._untold[lease.id] = machine_id
            raise

    async def extend(self, id: str, lease: str, *, now: datetime, seconds: float) -> bool:  # noqa: A002 - as the field is called
        """See `Ledger`."""
        changed = await self._records.change(
            id, lambda job: rules.extend(job, lease, now=now, seconds=seconds), quiet=True
        )
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
        return await self._records.change(id, lambda job: rules.give_back(job, lease, reason, now=now, tried=tried))

    async def finish(self, id: str, result: Result) -> Job | None:  # noqa: A002 - as the field is called
        """See `Ledger`."""
        job = await self._records.change(id, lambda job: rules.finish(job, result))
        if job is None and await self._strayed(id):
            job = await self._records.change(id, lambda job: rules.finish(job, result, untaken=True))
        return job

    async def cancel(self, id: str, reason: str, *, now: datetime) -> Job | None:  # noqa: A002 - as the field is called
        """See `Ledger`."""
        before: list[Job] = []

        def rule(job: Job) -> Job | None:
            before[:] = [job]
            return rules.cancel(job, reason, now=now)

        changed = await self._records.change(id, rule)
        return before[0] if changed else None

    async def expired(self, *, now: datetime) -> Sequence[Job]:
        """See `Ledger`."""
        with self._link.errors():
            ids = await self._redis.zrangebyscore("ucvm:leases", "-inf", now.timestamp(), start=0, num=EXPIRED)
        return await self._records.jobs(ids)

    async def ended(self, before: datetime, *, limit: int = 100, offset: int = 0) -> Sequence[Job]:
        """See `Ledger`."""
        async with self._link.pipeline() as pipe:
            for status in ENDS:
                latest = f"({before.timestamp()}"
                pipe.zrangebyscore(ended_key(status), "-inf", latest, start=0, num=offset + limit, withscores=True)
            found = await pipe.execute()
        ids = [id_ for id_, _ in sorted(chain(*found), key=itemgetter(1))]
        return await self._records.jobs(ids[offset : offset + limit])

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
        jobs = [await self._records.read(id_, fields) for id_, fields in out if fields]
        return [
            job for job in jobs if job.status is JobStatus.WAITING and job.changed < before and queue_of(job) == QUEUE
        ]

    async def forget(self, job: Job) -> bool:
        """See `Ledger`."""
        return await self._records.remove(job)

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
        return await self._records.job(id)

    async def jobs(self, status: JobStatus | None = None, *, limit: int = 100, before: str = "") -> Sequence[Job]:
        """See `Ledger`."""
        key = status_key(status) if status else "ucvm:jobs"
        with self._link.errors():
            number = await self._redis.hget(job_key(before), "number") if before else None
            latest = f"({number}" if number else "+inf"
            ids = await self._redis.zrevrangebyscore(key, latest, "-inf", start=0, num=limit)
        return await self._records.jobs(ids)

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

    async def _hand_out(self, lease: Lease) -> Job | None:
        arguments = (
            lease.id,
            lease.model_dump_json(),
            bare(lease.agent),
            new_token(),
            lease.since.isoformat(),
            lease.expires.timestamp(),
            lease.machine_id,
            self._max_tries,
        )
        with self._link.errors():
            answer = await self._take(args=arguments)
        if not answer:
            return None
        id_, flat = answer
        job = await self._records.read(id_, dict(zip(flat[::2], flat[1::2], strict=True)))
        return job if job.description.command else await self._records.change(id_, _fail)

    async def _return_untold(self, now: datetime) -> None:
        """Put back what `take` may have leased although its answer was lost, since nobody was told of it.

        That of an original agent, which has no machine to find it by, waits for the end of its lease.
        """
        while self._untold:
            lease, machine_id = self._untold.popitem()
            try:
                with self._link.errors():
                    held = await self._redis.smembers(f"ucvm:holds:{machine_id}")
                for id_ in sorted(held):
                    await self.give_back(id_, lease, UNTOLD, now=now, tried=False)
            except LedgerError:
                self._untold[lease] = machine_id
                raise

    async def _strayed(self, id: str) -> bool:  # noqa: A002 - as the field is called
        """Whether a job waits, but not in the queue: an original manager has handed it out, which leaves no name."""
        job = await self._records.job(id)
        if job is None or job.ended or job.takers:
            return False
        with self._link.errors():
            return await self._redis.lpos(queue_of(job), id) is None


def _fail(job: Job) -> Job:
    reason = "an original tool has submitted it without a description, or without a command in it"
    return job.model_copy(update={"status": JobStatus.FAILED, "reason": reason})
