"""A web server with one file at every path, that keeps what is put there and fails as a test says."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

ETAG = '"1"'


@dataclass
class Fault:
    """How one request goes wrong.

    Arguments:
        breaks_after: bytes of the answer after which the connection breaks; -1 = it does not.
        changes_to: what the file is from then on, with another ETag.
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    breaks_after: int = -1
    changes_to: bytes = b""


@dataclass
class Files:
    """A running server.

    Arguments:
        content: of the file.
        faults: of the first requests.
        ranges: it answers with the part of the file that is asked for.
        asked: method and range of each request.
        authorization: of each request.
        put: what came, by path.
    """

    content: bytes = b""
    etag: str = ETAG
    faults: list[Fault] = field(default_factory=list)
    ranges: bool = True
    announced: bool = True
    url: str = ""
    port: int = 0
    asked: list[tuple[str, str]] = field(default_factory=list)
    authorization: list[str] = field(default_factory=list)
    put: dict[str, bytes] = field(default_factory=dict)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        self.asked.append((request.method, request.headers.get("Range", "")))
        self.authorization.append(request.headers.get("Authorization", ""))
        fault = self.faults.pop(0) if self.faults else Fault()
        if request.method == "PUT":
            return await self._store(request, fault)
        if fault.status:
            return web.Response(status=fault.status, headers=fault.headers)
        return await self._send(request, fault)

    async def _store(self, request: web.Request, fault: Fault) -> web.StreamResponse:
        content = await request.read()
        if fault.status:
            return web.Response(status=fault.status, headers=fault.headers)
        self.put[request.path] = content
        return web.Response(status=201)

    async def _send(self, request: web.Request, fault: Fault) -> web.StreamResponse:
        wanted = request.http_range.start or 0
        partly = self.ranges and wanted > 0 and request.headers.get("If-Range") == self.etag
        start = wanted if partly else 0
        body, size = self.content[start:], len(self.content)
        response = web.StreamResponse(status=206 if partly else 200)
        if self.etag:
            response.headers["ETag"] = self.etag
        if partly:
            response.headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        if self.announced:
            response.content_length = len(body)
        await response.prepare(request)
        if fault.breaks_after < 0:
            await response.write(body)
            return response
        await response.write(body[: fault.breaks_after])
        if fault.changes_to:
            self.content, self.etag = fault.changes_to, f'"{len(self.asked)}-changed"'
        if request.transport:
            request.transport.close()
        return response


@asynccontextmanager
async def serve(context: ssl.SSLContext | None = None) -> AsyncIterator[Files]:
    """Serve on loopback, by TLS if there is a context."""
    served = Files()
    application = web.Application(client_max_size=2**30)
    application.router.add_route("*", "/{path:.*}", served.answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    served.port = runner.addresses[0][1]
    served.url = f"{'https' if context else 'http'}://127.0.0.1:{served.port}"
    try:
        yield served
    finally:
        await runner.cleanup()
        await asyncio.sleep(0)
