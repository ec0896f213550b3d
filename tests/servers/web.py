"""A web server that answers as a test says, well or badly."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web


@dataclass
class Page:
    """What a path answers.

    Arguments:
        statuses: of the first answers; afterwards it is 200.
        headers: of each answer.
        announced: bytes more than the body has, as Content-Length says; the connection ends after the body.
    """

    body: bytes = b""
    statuses: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    announced: int = 0
    dark: bool = False


@dataclass
class Web:
    """A running server.

    Arguments:
        pages: by their paths; another one is 404.
        asked: the paths that were asked for, with their queries.
    """

    url: str = ""
    pages: dict[str, Page] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        self.asked.append(request.path_qs)
        page = self.pages.get(request.path)
        if page is None:
            return web.Response(status=404)
        if page.dark:
            await asyncio.Event().wait()
        status = page.statuses.pop(0) if page.statuses else 200
        response = web.StreamResponse(status=status, headers=page.headers)
        response.content_length = len(page.body) + page.announced
        await response.prepare(request)
        await response.write(page.body)
        if page.announced and request.transport:
            request.transport.close()
        return response


async def deliver(
    request: web.Request, body: bytes, headers: Mapping[str, str], *, half: bool = False, chunked: bool = False
) -> web.StreamResponse:
    """Answer with a body, or with half of it before the connection breaks."""
    response = web.StreamResponse(headers=headers)
    if chunked:
        response.enable_chunked_encoding()
    else:
        response.content_length = len(body)
    await response.prepare(request)
    await response.write(body[: len(body) // 2] if half else body)
    if half:
        assert request.transport is not None
        request.transport.close()
    else:
        await response.write_eof()
    return response


@asynccontextmanager
async def serve(context: ssl.SSLContext | None = None) -> AsyncIterator[Web]:
    """Serve on loopback, by TLS if there is a context."""
    served = Web()
    application = web.Application()
    application.router.add_get("/{path:.*}", served.answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    served.url = f"{'https' if context else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield served
    finally:
        await runner.cleanup()
