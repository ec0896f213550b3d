"""The other end of the HTTP API: how the command line asks a controller.

Importing it loads aiohttp.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, unquote, urlsplit

import aiohttp
from pydantic import BaseModel, ValidationError
from yarl import URL

from ucvm_agent.controller.settings import Settings
from ucvm_agent.controller.tables import clean
from ucvm_agent.errors import ControllerAway, SettingsError, UsageError
from ucvm_agent.network import http

API = "/api/v1"

ANSWER_SECONDS = 150.0
"""For an answer; a plan of a VM takes longest."""

READ_SECONDS = 15.0
"""For a record."""

SILENCE_SECONDS = 30.0
"""Without a byte in a stream or a file, after which a connection counts as broken."""

PATIENCE_SECONDS = 300.0
"""How long a controller may be away in the middle of something."""

PAUSE_SECONDS = 1.0
"""Between two attempts to reach it."""

MAX_LINE = 8 * 1024 * 1024
"""Bytes of one event of a stream."""

_CHUNK = 256 * 1024

M = TypeVar("M", bound=BaseModel)


class Client:
    """Asks one controller; `connect` makes it.

    Every method raises `UsageError` if the controller does not do what it is asked, with its reason, and
    `ControllerAway` if it cannot be asked, or cannot do it now.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url.rstrip("/")
        self._heard = asyncio.get_running_loop().time()

    async def get(self, path: str, model: type[M], **query: object) -> M:
        """Return an answer."""
        params = {name: str(value) for name, value in query.items() if value}
        # A record is there at once; a controller that is just being stopped may take a question and never answer.
        return await self._ask("GET", path, model, params=params, timeout=aiohttp.ClientTimeout(total=READ_SECONDS))

    async def post(self, path: str, model: type[M], body: BaseModel | None = None) -> M:
        """Have something done."""
        document = body.model_dump(mode="json") if body is not None else {}
        return await self._ask("POST", path, model, json=document)

    async def delete(self, path: str) -> None:
        """Have something forgotten."""
        async with self._request("DELETE", path) as response:
            await self._check(response)

    async def upload(self, path: Path, sha256: str) -> None:
        """Bring an input file to the controller, unless it has it already."""
        place = f"inputs/{sha256}"
        async with self._request("HEAD", place) as response:
            if response.status < 300:
                return
        with await asyncio.to_thread(path.open, "rb") as file:
            async with self._request("PUT", place, data=file, timeout=_moving()) as response:
                await self._check(response)

    async def download(self, path: str, target: Callable[[bytes], object]) -> None:
        """Fetch a file, piece by piece."""
        async with self._request("GET", path, timeout=_moving()) as response:
            await self._check(response)
            async for data in response.content.iter_chunked(_CHUNK):
                await asyncio.to_thread(target, data)

    async def follow(self, path: str, **query: object) -> AsyncIterator[tuple[str, Any]]:
        """Yield the kinds and the data of events as they come; first `open`, and never an end but an error."""
        params = {name: str(value) for name, value in query.items() if value is not None}
        kind = ""
        async with self._request("GET", path, params=params, timeout=_moving(), read_bufsize=MAX_LINE) as response:
            await self._check(response)
            yield "open", None
            async for line in response.content:
                self._heard = asyncio.get_running_loop().time()
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name == "event":
                    kind = value
                elif name == "data":
                    yield kind, json.loads(value)
        raise ControllerAway("it ended the connection", where=self._url)

    async def persist(self, watch: Callable[[], Awaitable[None]]) -> None:
        """Call until it returns; a controller that is away in the middle may come back.

        Raises:
            ControllerAway: it did not.
        """
        while True:
            try:
                return await watch()
            except ControllerAway:
                if asyncio.get_running_loop().time() - self._heard > PATIENCE_SECONDS:
                    raise
            await asyncio.sleep(PAUSE_SECONDS)

    async def _ask(self, method: str, path: str, model: type[M], **more: Any) -> M:
        async with self._request(method, path, **more) as response:
            await self._check(response)
            try:
                return model.model_validate_json(await response.read())
            except ValidationError:
                raise ControllerAway("what it answers is not understood", where=self._url) from None

    @asynccontextmanager
    async def _request(self, method: str, path: str, **more: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        url = URL(f"{self._url}{API}/{path}", encoded=True)
        try:
            async with self._session.request(method, url, **more) as response:
                self._heard = asyncio.get_running_loop().time()
                yield response
        except http.AnswerRefused as error:
            raise ControllerAway(str(error), where=self._url) from None
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ControllerAway(
                f"cannot be reached: {http.explain(error)}", where=self._url, hint="does `ucvm-controller serve` run?"
            ) from None

    async def _check(self, response: aiohttp.ClientResponse) -> None:
        if response.status < 300:
            return
        try:
            problem = json.loads(await http.read_bounded(response, 1024 * 1024))
            text, hint = str(problem["error"]), str(problem["hint"])
            fields = "; ".join(f"{name}: {fault}" for name, fault in problem["fields"].items())
        except (ValueError, KeyError, TypeError, AttributeError, http.AnswerRefused):
            text, hint, fields = f"it answers {response.status}", "is this the address of a controller?", ""
        if response.status == 401:
            raise UsageError("the controller does not accept the token", where=self._url, hint="set client.token_file")
        if response.status >= 500:
            raise ControllerAway(text, where=self._url, hint=hint)
        if response.status == 404 and text.startswith("no such"):
            kind, name = map(unquote, response.url.raw_path.removeprefix(f"{API}/").split("/")[:2])
            raise UsageError(text, where=clean(f"{kind[:-1]} {name}"), hint=f"`ucvm-controller {kind}` lists them")
        raise UsageError(text, hint=fields or hint)


@asynccontextmanager
async def connect(settings: Settings) -> AsyncIterator[Client]:
    """Yield a client of the controller that the settings name.

    Raises:
        SettingsError: there is no token, or no address.
    """
    url = settings.client.url or _own_url(settings)
    token = settings.client.token.get_secret_value() or await asyncio.to_thread(_read_token, settings)
    near = _is_loopback(urlsplit(url).hostname or "")
    async with http.session(total=ANSWER_SECONDS, ca_file=settings.client.ca_file, link_local=near) as session:
        session.headers["Authorization"] = f"Bearer {token}"
        yield Client(session, url)


def segment(name: str) -> str:
    """Return a name as a part of a path."""
    return quote(name, safe="")


def _moving() -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, sock_connect=http.CONNECT_TIMEOUT, sock_read=SILENCE_SECONDS)


def _own_url(settings: Settings) -> str:
    if not settings.http.listen:
        raise SettingsError("the controller's address is not known", where="client.url", hint="say --url")
    return f"http://{settings.http.listen}"


def _read_token(settings: Settings) -> str:
    path = settings.client.token_file or settings.token_file
    hint = "name it by --token-file, or set UCVM_CONTROLLER_CLIENT__TOKEN; a controller makes it when it starts first"
    try:
        token = path.read_text("ascii").strip()
    except FileNotFoundError:
        raise SettingsError("there is no token", where=str(path), hint=hint) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not ASCII"
        raise SettingsError(f"the token cannot be read: {reason}", where=str(path), hint=hint) from None
    if not token.isprintable():
        raise SettingsError("not a token", where=str(path), hint=hint)
    return token


def _is_loopback(host: str) -> bool:
    """Whether no proxy can stand between: the environment's is for the rest of the world."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
