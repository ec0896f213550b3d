"""`/api/v1/jobs`: the queue, and what became of it."""

from __future__ import annotations

from base64 import b64encode
from contextlib import aclosing
from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import web
from pydantic import Field

from ucvm_agent.controller.job_log import JobLog
from ucvm_agent.controller.model import Job, JobStatus, Record
from ucvm_agent.controller.orders import Output, Stream
from ucvm_agent.controller.submission import Submissions
from ucvm_agent.controller.web.bodies import Cancellation, JobPage, Piece, Submission
from ucvm_agent.controller.web.live import MEDIA, Streams
from ucvm_agent.controller.web.operation import API, Asked, Content, Nothing, Operation, Problem
from ucvm_agent.errors import LedgerError, OrderError

if TYPE_CHECKING:
    from ucvm_agent.controller.archives import Archives
    from ucvm_agent.controller.controller import Controller


class JobQuery(Record):
    """Which jobs."""

    status: JobStatus | None = None
    limit: int = Field(100, ge=1, le=1000)
    before: str = Field("", description="id of the last job on the page before")


class LogQuery(Record):
    """What of a job's output."""

    stream: Stream = "stdout"
    offset: int = Field(0, ge=0)


class JobRoutes:
    """The operations on jobs."""

    def __init__(
        self, controller: Controller, submissions: Submissions, archives: Archives, log: JobLog, streams: Streams
    ) -> None:
        self._controller = controller
        self._ledger = controller.ledger
        self._submissions = submissions
        self._archives = archives
        self._log = log
        self._streams = streams

    def operations(self) -> list[Operation]:
        """All of them."""
        jobs, one = f"{API}/jobs", f"{API}/jobs/{{job}}"
        log = Content(MEDIA, {"output": Piece, "problem": Problem})
        return [
            Operation("GET", jobs, "List jobs", self.page, JobPage, JobQuery),
            Operation("POST", jobs, "Submit a job", self.submit, Job, body=Submission, status=HTTPStatus.CREATED),
            Operation("GET", one, "Show a job", self.show, Job),
            Operation("POST", f"{one}/cancel", "End a job", self.cancel, Job, body=Cancellation),
            Operation("DELETE", one, "Forget a job that has ended", self.forget, status=HTTPStatus.NO_CONTENT),
            Operation("GET", f"{one}/log", "Follow what a job writes", self.log, log, LogQuery),
            Operation("GET", f"{one}/output", "Download its archive", self.output, Content("application/gzip")),
        ]

    async def page(self, asked: Asked[JobQuery, Nothing]) -> JobPage:
        """Return a page of jobs."""
        query = asked.query
        jobs = tuple(await self._ledger.jobs(query.status, limit=query.limit, before=query.before))
        return JobPage(jobs=jobs, next=jobs[-1].id if len(jobs) == query.limit else "")

    async def submit(self, asked: Asked[Nothing, Submission]) -> Job:
        """Take a job in."""
        return await self._submissions.take(asked.body)

    async def show(self, asked: Asked[Nothing, Nothing]) -> Job:
        """Return a job."""
        return await self._job(asked["job"])

    async def cancel(self, asked: Asked[Nothing, Cancellation]) -> Job:
        """End a job, and return it as it is then."""
        job = await self._job(asked["job"])
        ended = await self._controller.orders.cancel(job.id, asked.body.reason)
        if ended is None:
            raise OrderError("has ended already", where=f"job {job.id}")
        return ended

    async def forget(self, asked: Asked[Nothing, Nothing]) -> None:
        """Remove a job that has ended, and its files."""
        await self._controller.forgetting.forget(await self._job(asked["job"]))

    async def log(self, asked: Asked[LogQuery, Nothing]) -> web.StreamResponse:
        """Stream what a job writes, until it has ended."""
        job = await self._job(asked["job"])
        self._log.check(job)
        async with self._streams.open(asked.request) as stream:
            try:
                async with aclosing(self._log.follow(job, asked.query.stream, asked.query.offset)) as pieces:
                    async for piece in pieces:
                        await stream.send("output", _piece(piece))
            except (OrderError, LedgerError) as error:
                await stream.send("problem", Problem(error=str(error)))
        return stream.response

    async def output(self, asked: Asked[Nothing, Nothing]) -> web.StreamResponse:
        """Send the archive of a job."""
        job = await self._job(asked["job"])
        file = await self._archives.open(job)
        name = f'attachment; filename="{job.id}.tgz"'
        return web.Response(body=file, content_type="application/gzip", headers={"Content-Disposition": name})

    async def _job(self, id: str) -> Job:  # noqa: A002 - as the field is called
        job = await self._ledger.job(id)
        if job is None:
            raise web.HTTPNotFound(reason="no such job")
        return job


def _piece(output: Output) -> Piece:
    return Piece(offset=output.offset, data=b64encode(output.data).decode(), end=output.end)
