"""A controller with its site, and a client that checks each answer against the description of the API."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from jsonschema import Draft202012Validator

from tests.servers.ports import LOOPBACK, free_port
from ucvm_agent.controller.controller import Controller, open_controller
from ucvm_agent.controller.settings import Settings

JSON = "application/json"


@dataclass
class Answer:
    """What came."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, which is JSON."""
        return json.loads(self.body)


@dataclass
class Api:
    """A client of one site.

    Arguments:
        token: that it shows unless told otherwise.
        described: the description of the API.
    """

    url: str
    token: str
    session: aiohttp.ClientSession
    described: dict[str, Any] = field(default_factory=dict)

    async def ask(self, method: str, path: str, *, token: str | None = None, **more: Any) -> Answer:
        """Ask, and check the answer."""
        async with self.session.request(method, self.url + path, **self._with(token, more)) as response:
            answer = Answer(response.status, response.headers, await response.read())
        self.check(method, path.partition("?")[0], answer)
        return answer

    @asynccontextmanager
    async def follow(self, path: str) -> AsyncIterator[AsyncIterator[tuple[str, Any]]]:
        """Yield the events of a stream, each checked."""
        operation = self._operation("GET", path.partition("?")[0])
        assert operation is not None
        kinds = operation["responses"]["200"]["content"]["text/event-stream"]["x-events"]
        async with self.session.get(self.url + path, **self._with(None, {})) as response:
            assert response.status == 200, await response.text()
            yield self._events(response, kinds)

    async def _events(self, response: aiohttp.ClientResponse, kinds: dict[str, Any]) -> AsyncIterator[tuple[str, Any]]:
        kind = ""
        async with asyncio.timeout(30):
            async for line in response.content:
                name, _, value = line.decode().strip().partition(": ")
                if name == "event":
                    kind = value
                elif name == "data":
                    self._validate(json.loads(value), kinds[kind])
                    yield kind, json.loads(value)

    def check(self, method: str, path: str, answer: Answer) -> None:
        """Compare an answer with what the description promises."""
        operation = self._operation(method, path)
        if operation is None or method == "HEAD":
            return
        expected = operation["responses"].get(str(answer.status), operation["responses"]["default"])
        for media, content in expected.get("content", {}).items():
            assert answer.headers["Content-Type"].partition(";")[0] == media
            if media == JSON:
                self._validate(answer.json, content["schema"])

    def _operation(self, method: str, path: str) -> Any:
        for template, methods in self.described.get("paths", {}).items():
            if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path):
                return methods.get(method.lower())
        return None

    def _validate(self, value: Any, schema: dict[str, Any]) -> None:
        Draft202012Validator({**schema, "components": self.described["components"]}).validate(value)

    def _with(self, token: str | None, more: dict[str, Any]) -> dict[str, Any]:
        shown = self.token if token is None else token
        headers = more.pop("headers", {})
        return {"headers": {"Authorization": f"Bearer {shown}", **headers} if shown else headers, **more}


@asynccontextmanager
async def client(controller: Controller, url: str) -> AsyncIterator[Api]:
    """Yield a client that knows the description."""
    async with aiohttp.ClientSession() as session:
        api = Api(url, controller.settings.token_file.read_text().strip(), session)
        api.described = (await api.ask("GET", "/api/v1/openapi.json")).json
        yield api


@asynccontextmanager
async def lonely_controller(folder: Path, **http: Any) -> AsyncIterator[Controller]:
    """Run a controller that finds no XMPP server."""
    settings = Settings.model_validate(
        {
            "state_dir": folder / "state",
            "instance": "alpha",
            "xmpp": {"jid": "jm@nowhere.example", "password": "pw", "host": "127.0.0.1", "port": 1},
            "http": {"listen": "127.0.0.1:0", "public_url": "http://jm.example", **http},
            "jobs": {"chirp": {"folder": folder / "chirp", "done_dir": folder / "done"}},
            "contexts": {"folder": folder / "contexts"},
        }
    )
    for name in ("chirp", "contexts"):
        (folder / name).mkdir(exist_ok=True)
    async with open_controller(settings) as controller:
        task = asyncio.create_task(controller.run())
        try:
            yield controller
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def free_address() -> str:
    """Return an address that can be listened to, for a site that goes and comes back."""
    return f"{LOOPBACK}:{free_port()}"


def operations(description: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield method and path of each operation that is described."""
    for path, methods in description["paths"].items():
        yield from ((method.upper(), path) for method in methods)
