"""`/files` for agents: inputs of the job that they have, and its archive; `/api/v1/inputs` for who submits jobs."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import web

from ucvm_agent.controller.files import Arrival, Files
from ucvm_agent.controller.model import Job, JobStatus
from ucvm_agent.controller.web.guard import bears, stranger
from ucvm_agent.controller.web.operation import API, Access, Asked, Content, Nothing, Operation
from ucvm_agent.errors import UsageError

if TYPE_CHECKING:
    from ucvm_agent.controller.controller import Controller

STALLED_SECONDS = 60.0
"""Without a byte, after which an upload is given up."""

MANIFEST = ".sha256"
"""Behind the name of an archive: its manifest (docs/protocol-jobs.md, "Inputs, output, limits")."""

CHUNK = 256 * 1024

BYTES = Content("application/octet-stream")
PARTS = Content("application/octet-stream", ranges=True)

_SHA256 = re.compile("[0-9a-f]{64}")


class FileRoutes:
    """The operations on files."""

    def __init__(self, controller: Controller, files: Files) -> None:
        self._ledger = controller.ledger
        self._files = files
        self._limit = controller.settings.http.max_bytes

    def operations(self) -> list[Operation]:
        """All of them."""
        upload, file = f"{API}/inputs/{{sha256}}", "/files/{job}/{name}"
        created, lease = HTTPStatus.CREATED, Access.LEASE
        return [
            Operation("HEAD", upload, "Ask whether a file was uploaded", self.known, status=HTTPStatus.NO_CONTENT),
            Operation("PUT", upload, "Upload an input file", self.upload, content=BYTES, status=created),
            Operation("GET", file, "Fetch an input of a job", self.fetch, PARTS, access=lease),
            Operation("HEAD", file, "Ask for the size of an input", self.fetch, access=lease),
            Operation("PUT", file, "Put the archive of a job", self.put, content=BYTES, status=created, access=lease),
        ]

    async def known(self, asked: Asked[Nothing, Nothing]) -> None:
        """Say whether an input is here already."""
        if not await asyncio.to_thread(self._files.keep_input, _checksum(asked)):
            raise web.HTTPNotFound(reason="was not uploaded")

    async def upload(self, asked: Asked[Nothing, Nothing]) -> web.Response:
        """Keep an input, which has to have the checksum that its name says."""
        sha256 = _checksum(asked)
        async with self._received(asked.request) as arrival:
            if arrival.sha256 != sha256:
                raise UsageError("its SHA-256 is another", where=f"input {sha256[:12]}…", hint="send it again")
            await asyncio.to_thread(arrival.publish, self._files.input(sha256))
        return web.Response(status=HTTPStatus.CREATED)

    async def fetch(self, asked: Asked[Nothing, Nothing]) -> web.StreamResponse:
        """Send an input, or a range of it, to whoever has the job."""
        job, _ = await self._held(asked)
        for file in job.description.inputs:
            if file.name == asked["name"] and not file.url:
                return web.FileResponse(self._files.input(file.sha256))
        raise web.HTTPNotFound(reason="the job has no such file here")

    async def put(self, asked: Asked[Nothing, Nothing]) -> web.Response:
        """Keep the archive of a job, or its manifest, for the lease that whoever has the job holds now."""
        job, lease = await self._held(asked)
        name = asked["name"]
        if name not in (f"{job.id}.tgz", f"{job.id}.tgz{MANIFEST}"):
            raise web.HTTPNotFound(reason="the job leaves no such file")
        async with self._received(asked.request) as arrival:
            await asyncio.to_thread(arrival.publish, self._files.archive(job.id, lease, name))
        return web.Response(status=HTTPStatus.CREATED)

    async def _held(self, asked: Asked[Nothing, Nothing]) -> tuple[Job, str]:
        """Return the job of a request and its present lease, if the request shows the token of that."""
        job = await self._ledger.job(asked["job"])
        if job is None or not bears(asked.request, job.token.get_secret_value()):
            raise stranger()
        if job.status is not JobStatus.RUNNING or job.lease is None:
            raise web.HTTPConflict(reason="the job is not running")
        return job, job.lease.id

    @asynccontextmanager
    async def _received(self, request: web.Request) -> AsyncIterator[Arrival]:
        """Yield the body, which is on the disk, if it is whole; unless it is published, it is gone afterwards."""
        if (request.content_length or 0) > self._limit:
            raise self._too_large()
        arrival = await asyncio.to_thread(self._files.receive)
        try:
            async for data in _chunks(request):
                if arrival.size + len(data) > self._limit:
                    raise self._too_large()
                await asyncio.to_thread(arrival.write, data)
            yield arrival
        finally:
            await asyncio.to_thread(arrival.close)

    def _too_large(self) -> web.HTTPException:
        return web.HTTPRequestEntityTooLarge(max_size=self._limit, reason=f"more than {self._limit} bytes")


async def _chunks(request: web.Request) -> AsyncIterator[bytes]:
    while True:
        try:
            async with asyncio.timeout(STALLED_SECONDS):
                data = await request.content.read(CHUNK)
        except TimeoutError:
            raise web.HTTPRequestTimeout(reason="nothing more has come") from None
        if not data:
            return
        yield data


def _checksum(asked: Asked[Nothing, Nothing]) -> str:
    if not _SHA256.fullmatch(asked["sha256"]):
        raise UsageError("not a SHA-256", where="sha256", hint="64 of 0-9 a-f")
    return asked["sha256"]
