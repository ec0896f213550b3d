"""A web server with the documents of a NoCloud seed, good or bad (references/clouds.md, section 2.8)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from aiohttp import web


class SeedServer:
    """The server; use it with `async with`.

    Arguments:
        documents: what it has, by name; everything else is 404.
        failures: so many requests are answered 503 first.
        redirect: answer each request with this place.
        content_type: of the documents.
    """

    def __init__(
        self,
        documents: Mapping[str, bytes],
        *,
        failures: int = 0,
        redirect: str = "",
        content_type: str = "text/plain",
    ) -> None:
        self.requests: list[str] = []
        self.url = ""
        self._documents = documents
        self._failures = failures
        self._redirect = redirect
        self._content_type = content_type

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_get("/seed/{name}", self._answer)
        self._runner = web.AppRunner(application)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/seed/"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        self.requests.append(name)
        if self._redirect:
            raise web.HTTPFound(self._redirect)
        if self._failures > 0:
            self._failures -= 1
            return web.Response(status=503)
        if name not in self._documents:
            return web.Response(status=404)
        return web.Response(body=self._documents[name], content_type=self._content_type)
