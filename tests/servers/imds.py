r"""An EC2 metadata service on loopback, to the letter of references/clouds.md, section 2.1, good or bad.

In a test:

    async with Imds(b"#!/bin/sh\n") as imds:
        … imds.url …

By hand, for the quick start; the first line of its output is its URL:

    python -m tests.servers.imds --port 0 --user-data FILE
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from aiohttp import web

from tests.servers.web import deliver

TOKEN_HEADER = "X-aws-ec2-metadata-token"
TTL_HEADER = "X-aws-ec2-metadata-token-ttl-seconds"
INSTANCE_ID = "i-0123456789abcdef0"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ2mNbJzBBfYFZgW5sVyKxHMtBvOyAgRZxY9rQ6c1yYb physicist@example.org"
MAC = "0a:ff:de:ad:be:ef"
METADATA = {
    "ami-id": "ami-0abcdef1234567890",
    "local-hostname": "ip-10-0-0-7.eu-west-1.compute.internal",
    "local-ipv4": "10.0.0.7",
    "public-ipv4": "192.0.2.7",
    f"network/interfaces/macs/{MAC}/local-ipv4s": "10.0.0.7",
    f"network/interfaces/macs/{MAC}/ipv6s": "2001:db8::7",
    "placement/availability-zone": "eu-west-1a",
    "placement/region": "eu-west-1",
    "public-keys/0/openssh-key": KEY,
}


@dataclass(frozen=True, slots=True)
class Request:
    """What the service was asked."""

    method: str
    path: str
    headers: Mapping[str, str]


class Imds:
    """The service.

    Arguments:
        user_data: None = the instance has none (404).
        metadata: items below `meta-data/` beside `instance-id`.
        document: the identity document; None = there is none (a clone).
        put_status: instead of a token; 404 and 405 = a service without IMDSv2.
        get_status: instead of any item.
        require_token: plain requests get 401.
        versions: the trees that there are.
        clock: seconds; tokens age by it.
        failures: so many requests get 503 before it recovers.
        broken: so many GETs get half an answer before it recovers.
        silent: methods that never get an answer.
        redirect: where every GET is sent instead, by 302.
        page: a web page that every request gets, with 200 (a captive portal).
        chunked: user-data comes in chunks, without its length.

    Attributes:
        url: the endpoint for `sources.ec2.endpoints`.
        requests: what it was asked.
        tokens: those it gave, with the time of their end.
    """

    def __init__(
        self,
        user_data: bytes | None = b"#!/bin/sh\n",
        *,
        instance_id: str | None = INSTANCE_ID,
        metadata: Mapping[str, str] = METADATA,
        document: str | None = None,
        put_status: int = 200,
        get_status: int = 200,
        require_token: bool = True,
        versions: tuple[str, ...] = ("latest", "2009-04-04"),
        clock: Callable[[], float] = time.monotonic,
        failures: int = 0,
        broken: int = 0,
        silent: frozenset[str] = frozenset(),
        redirect: str = "",
        page: str = "",
        chunked: bool = False,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.url = ""
        self.requests: list[Request] = []
        self.tokens: dict[str, float] = {}
        self.user_data = user_data
        self.failures = failures
        self.broken = broken
        self._items = {f"meta-data/{name}": text for name, text in metadata.items()}
        if instance_id is not None:
            self._items["meta-data/instance-id"] = instance_id
        if document is not None:
            self._items["dynamic/instance-identity/document"] = document
        self._put_status, self._get_status, self._require_token = put_status, get_status, require_token
        self._versions, self._clock, self._silent = versions, clock, silent
        self._redirect, self._page, self._chunked = redirect, page, chunked
        self._host, self._port = host, port
        self._closing = asyncio.Event()

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(application, shutdown_timeout=1.0, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing.set()
        await self._runner.cleanup()

    def count(self, method: str, suffix: str = "") -> int:
        """Return how many requests with that method there were for paths that end so."""
        return sum(request.method == method and request.path.endswith(suffix) for request in self.requests)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(Request(request.method, request.path, dict(request.headers)))
        if request.method in self._silent:
            await self._closing.wait()
        if self._page:
            return web.Response(text=self._page, content_type="text/html")
        if self.failures:
            self.failures -= 1
            return web.Response(status=503)
        if request.path == "/latest/api/token":
            return self._give_token(request)
        if request.method != "GET":
            return web.Response(status=405)
        return await self._give_item(request)

    def _give_token(self, request: web.Request) -> web.Response:
        if self._put_status != 200:
            return web.Response(status=self._put_status)
        if request.method != "PUT":
            return web.Response(status=405)
        if "X-Forwarded-For" in request.headers:
            return web.Response(status=403)
        lifetime = request.headers.get(TTL_HEADER, "")
        if not lifetime.isdecimal() or not 1 <= int(lifetime) <= 21600:
            return web.Response(status=400)
        token = secrets.token_urlsafe(40) + "=="
        self.tokens[token] = self._clock() + int(lifetime)
        return web.Response(text=token, headers={TTL_HEADER: lifetime})

    async def _give_item(self, request: web.Request) -> web.StreamResponse:
        if self._get_status != 200:
            return web.Response(status=self._get_status)
        if self._redirect:
            return web.Response(status=302, headers={"Location": self._redirect})
        token = request.headers.get(TOKEN_HEADER)
        if (token is None and self._require_token) or (token and self.tokens.get(token, 0) <= self._clock()):
            return web.Response(status=401)
        version, _, item = request.path.removeprefix("/").partition("/")
        # A folder is listed without its slash as well.
        body = self._body(item) if version in self._versions else None
        if body is None and version in self._versions:
            body = self._body(f"{item}/")
        if body is None:
            return web.Response(status=404, text="<html><body>404 - Not Found</body></html>", content_type="text/html")
        return await self._send(request, body, chunked=self._chunked and item == "user-data")

    def _body(self, item: str) -> bytes | None:
        if item == "user-data":
            return self.user_data
        if (text := self._items.get(item)) is not None:
            return text.encode()
        if item == "meta-data/public-keys/":
            numbers = [name.split("/")[2] for name in self._items if name.startswith(item)]
            return "\n".join(f"{number}=key-{number}" for number in numbers).encode() if numbers else None
        if item.endswith("/"):
            below = [name.removeprefix(item) for name in self._items if name.startswith(item)]
            listing = dict.fromkeys(name.partition("/")[0] + "/" * ("/" in name) for name in below)
            return "\n".join(listing).encode() if listing else None
        return None

    async def _send(self, request: web.Request, body: bytes, *, chunked: bool) -> web.StreamResponse:
        half = self.broken > 0
        self.broken -= half
        return await deliver(request, body, {"Content-Type": "text/plain"}, half=half, chunked=chunked)


async def serve(arguments: argparse.Namespace) -> None:
    """Run the service until SIGTERM or SIGINT."""
    user_data = await asyncio.to_thread(arguments.user_data.read_bytes) if arguments.user_data else None
    metadata = METADATA | {"local-hostname": arguments.hostname}
    document = {"instanceId": arguments.instance_id, "region": "eu-west-1", "availabilityZone": "eu-west-1a"}
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Imds(
        user_data,
        instance_id=arguments.instance_id,
        metadata=metadata,
        document=json.dumps(document),
        host=arguments.host,
        port=arguments.port,
    ) as imds:
        print(imds.url, flush=True)
        await stop.wait()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description="An EC2 metadata service on loopback.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 = any that is free")
    parser.add_argument("--user-data", type=Path, help="without it, the instance has none")
    parser.add_argument("--instance-id", default=INSTANCE_ID)
    parser.add_argument("--hostname", default=METADATA["local-hostname"])
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
