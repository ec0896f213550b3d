"""The jobs in Redis as records: read one by one or many at once, and changed by a rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ucvm_agent.controller.ledger.fields import read_job, read_original, write_job, write_original
from ucvm_agent.controller.ledger.redis_keys import job_key, queue_of
from ucvm_agent.controller.ledger.redis_link import RedisLink
from ucvm_agent.controller.ledger.redis_scripts import FORGET, SAVE, SUBMIT
from ucvm_agent.controller.model import Job, JobStatus

SEEN = ("status", "submitted", "lease", "takers")
"""The fields of which each change changes one: if they are as they were, all of the job is."""


class JobRecords:
    """Reads and writes jobs; what is written is there as a whole or not at all, whoever dies in the middle."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._redis = link.redis
        self._submit = self._redis.register_script(SUBMIT)
        self._save = self._redis.register_script(SAVE)
        self._forget = self._redis.register_script(FORGET)

    async def add(self, job: Job) -> bool:
        """Put a job at the end of its queue; False if its id is taken.

        Raises:
            UsageError: an original job manager would misread its description.
        """
        original = "" if job.description.needs_ours else write_original(job.description)
        arguments = (job.id, queue_of(job), original, *_flat(write_job(job)))
        with self._link.errors():
            return bool(await self._submit(args=arguments))

    async def job(self, id: str) -> Job | None:  # noqa: A002 - as the field is called
        """Return a job."""
        fields = await self._fields(id)
        return await self.read(id, fields) if fields else None

    async def jobs(self, ids: Sequence[str]) -> list[Job]:
        """Return those of the jobs that are there."""
        async with self._link.pipeline() as pipe:
            for id_ in ids:
                pipe.hgetall(job_key(id_))
            found = await pipe.execute()
        return [await self.read(id_, fields) for id_, fields in zip(ids, found, strict=True) if fields]

    async def read(self, id: str, fields: dict[str, str]) -> Job:  # noqa: A002 - as the field is called
        """Return a job from its fields.

        That of an original tool has its description under the original's key until it changes here.
        """
        if not fields["description"]:
            with self._link.errors():
                original = await self._redis.get(f"job:{id}:description")
            fields = fields | {"description": read_original(original or "").model_dump_json()}
        return read_job(id, fields)

    async def change(
        self,
        id: str,  # noqa: A002 - as the field is called
        rule: Callable[[Job], Job | None],
        *,
        quiet: bool = False,
    ) -> Job | None:
        """Return a job as a rule makes it; None if it is not there, or the rule does not allow it.

        Arguments:
            rule: called again if somebody else has changed the job meanwhile.
            quiet: tell nobody.
        """
        while True:
            fields = await self._fields(id)
            job = rule(await self.read(id, fields)) if fields else None
            if job is None or await self._replace(fields, job, quiet=quiet):
                return job

    async def remove(self, job: Job) -> bool:
        """Remove a job that has ended; False if this one is not there."""
        with self._link.errors():
            return bool(await self._forget(args=(job.id, job.submitted.isoformat())))

    async def _fields(self, id: str) -> dict[str, str]:  # noqa: A002 - as the field is called
        with self._link.errors():
            fields: dict[str, str] = await self._redis.hgetall(job_key(id))
        return fields

    async def _replace(self, fields: dict[str, str], job: Job, *, quiet: bool) -> bool:
        """Write a job, unless it is another one by now than was read."""
        changes = {name: text for name, text in write_job(job).items() if fields.get(name) != text}
        if not changes:
            return True
        running = job.lease if job.status is JobStatus.RUNNING else None
        score = (running.expires if running else job.changed).timestamp()
        seen = [fields[name] for name in SEEN]
        arguments = (job.id, queue_of(job), "quiet" if quiet else "", score, *seen, *_flat(changes))
        with self._link.errors():
            return bool(await self._save(args=arguments))


def _flat(fields: dict[str, str]) -> list[Any]:
    return [part for pair in fields.items() for part in pair]
