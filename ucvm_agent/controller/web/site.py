"""The site: all that a controller serves over HTTP."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import structlog
from aiohttp import web
from pydantic import JsonValue, RootModel

from ucvm_agent.controller.archives import Archives
from ucvm_agent.controller.job_log import JobLog
from ucvm_agent.controller.submission import Submissions
from ucvm_agent.controller.web import guard
from ucvm_agent.controller.web.figures import FigureRoutes
from ucvm_agent.controller.web.files import FileRoutes
from ucvm_agent.controller.web.jobs import JobRoutes
from ucvm_agent.controller.web.live import Streams
from ucvm_agent.controller.web.machines import MachineRoutes
from ucvm_agent.controller.web.openapi import describe
from ucvm_agent.controller.web.operation import API, MAX_BODY, Access, Asked, Nothing, Operation
from ucvm_agent.errors import SettingsError

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

    from ucvm_agent.controller.controller import Controller

log = structlog.get_logger()

PAGE = Path(__file__).parent / "page"
"""Static files, which anybody may have: the page asks for the token, and keeps it for its tab."""

CLOSE_SECONDS = 3.0
"""For requests to end before they are cut off."""


class ApiDescription(RootModel[dict[str, JsonValue]]):
    """A description of the API (OpenAPI 3.1)."""


async def serve(controller: Controller) -> None:
    """Serve a controller over HTTP until cancelled; a `Companion`.

    Raises:
        SettingsError: the address or the token cannot be used; StoreError: nor the folder of files.
    """
    if not controller.settings.http.listen:
        return
    async with open_site(controller):
        await asyncio.get_running_loop().create_future()


@asynccontextmanager
async def open_site(controller: Controller) -> AsyncIterator[str]:
    """Serve until the block ends; yields the address.

    Raises:
        SettingsError: the address or the token cannot be used; StoreError: nor the folder of files.
    """
    settings = controller.settings
    host, port = _address(settings.http.listen)
    token = await asyncio.to_thread(guard.load_token, settings.token_file)
    await asyncio.to_thread(controller.files.open)
    runner = web.AppRunner(_application(controller, token), access_log=None, shutdown_timeout=CLOSE_SECONDS)
    await runner.setup()
    try:
        await _listen(runner, host, port)
        name = f"[{host}]" if ":" in host else host
        url = f"http://{name}:{runner.addresses[0][1]}"
        log.info("the page and the API are served", url=url, token_file=str(settings.token_file))
        if not ipaddress.ip_address(runner.addresses[0][0]).is_loopback:
            log.warning(
                "the token can be read on the way: there is no TLS", hint="let a proxy with TLS stand before it"
            )
        yield url
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, host: str, port: int) -> None:
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        raise SettingsError(
            f"cannot be listened to: {error.strerror}", where=f"http.listen {host}:{port}", hint="choose another port"
        ) from None


def _address(listen: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{listen}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or port is None or parts.netloc != parts.netloc.rpartition("@")[2] or parts.path:
        raise SettingsError("not an address and a port", where=f"http.listen {listen}", hint="such as 127.0.0.1:8480")
    return host, port


def operations(controller: Controller, streams: Streams) -> list[Operation]:
    """Return all that can be asked, the description of it among them."""
    files = controller.files
    archives = Archives(files, controller.settings.jobs.chirp)
    job_log = JobLog(controller, archives)

    async def description(_: Asked[Nothing, Nothing]) -> ApiDescription:
        return ApiDescription(describe(offered))

    offered: list[Operation] = [
        *JobRoutes(controller, Submissions(controller, files), archives, job_log, streams).operations(),
        *MachineRoutes(controller).operations(),
        *FigureRoutes(controller, streams).operations(),
        *FileRoutes(controller, files).operations(),
        Operation("GET", f"{API}/openapi.json", "Describe all of this", description, ApiDescription),
    ]
    return offered


def _application(controller: Controller, token: str) -> web.Application:
    hosts = guard.Hosts(controller.settings.http.public_url)
    application = web.Application(middlewares=[guard.tell_errors, guard.only_for(hosts)], client_max_size=MAX_BODY)
    streams = Streams()
    application.on_response_prepare.append(guard.dress)
    application.on_shutdown.append(streams.close)
    for operation in operations(controller, streams):
        ours = operation.access is Access.OPERATOR
        handler = guard.only_with(token, operation.handle) if ours else operation.handle
        application.router.add_route(operation.method, operation.path, handler)
    application.router.add_get("/healthz", _health)
    for file in PAGE.iterdir():
        application.router.add_get(f"/{'' if file.name == 'index.html' else file.name}", _page(file))
    return application


async def _health(_: web.Request) -> web.Response:
    return web.Response(text="ok\n")


def _page(file: Path) -> Handler:
    async def send(_: web.Request) -> web.FileResponse:
        return web.FileResponse(file, headers={"Cache-Control": "no-cache"})

    return send
