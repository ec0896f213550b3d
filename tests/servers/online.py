r"""CernVM Online on loopback, to the letter of references/cernvm-online.md (contexts and cluster PINs), good or bad.

async with Online() as online:
    pin = online.offer(context_file(b"#!/bin/sh\n"), secret="higgs")
    … online.url …

By hand, `python -m tests.servers.online` serves a context without a secret by `CONTEXT_ID`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import secrets
import signal
import ssl
import subprocess
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Self

from aiohttp import web

from tests.servers.web import deliver
from ucvm_agent.sources.online_context import Ticket

CONTEXT_ID = "5f2a9c3eaa014c7b9a550c1d2e3f4a5b"
CLUSTER_PIN = re.compile(r"[a-z0-9]{12}")
KEY = re.compile(r"[a-zA-Z0-9_-]+")


def context_file(user_data: bytes, *, name: str = "demo", root_key: str = "") -> bytes:
    """Return a context as the service stores it."""
    lines = [f"VM_CONTEXT_UUID={CONTEXT_ID}", f'VM_CONTEXT_NAME="{name}"']
    lines += [f"EC2_USER_DATA={b64encode(user_data).decode()}"]
    lines += [f"ROOT_PUBKEY={b64encode(root_key.encode()).decode()}"] if root_key else []
    return "\n".join(lines).encode() + b"\n"


def encrypt(text: bytes, secret: str, digest: str = "md5") -> bytes:
    """Encrypt with the installed openssl, as the service (`md5`) or newer command lines (`sha256`) do."""
    command = ["openssl", "enc", "-aes-256-cfb8", "-md", digest, "-k", secret]
    done = subprocess.run(command, input=text, capture_output=True, check=True)
    return b"ENCRYPTED:" + b64encode(done.stdout)


@dataclass
class Offer:
    """A context that waits for its ticket; `checksum` is empty if it is not encrypted."""

    body: bytes
    checksum: str
    once: bool


@dataclass
class Cluster:
    """A cluster PIN's keys."""

    created: datetime
    keys: dict[str, str] = field(default_factory=dict)


class Online:
    """The service.

    Arguments:
        tls: serve https with this context.
        failures: so many requests get `failure` before it recovers.
        broken: so many contexts are cut in the middle before it recovers.
        silent: no request gets an answer.
        answer: what every request for a context gets instead.
        host: address to listen on.
        port: port to listen on; 0 = any that is free.

    Attributes:
        url: its address.
        queries: what it was asked for contexts.
        machines: the VMs it knows, by uuid, with their state (`P` or `C`).
        clusters: by PIN.
        requests: method and path of each request of the cluster service.
        posted: notified of each of these, and of each key.
    """

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        failures: int = 0,
        failure: int = 503,
        broken: int = 0,
        silent: bool = False,
        answer: Callable[[], web.Response] | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.url = ""
        self.queries: list[dict[str, str]] = []
        self.machines: dict[str, str] = {}
        self.clusters: dict[str, Cluster] = {}
        self.requests: list[str] = []
        self.failures, self.failure, self.broken, self.silent, self.answer = failures, failure, broken, silent, answer
        self._offers: dict[str, Offer] = {}
        self._tls = tls
        self._address = host, port
        self._closing = asyncio.Event()
        self.posted = asyncio.Condition()

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_get("/api/context", self._context)
        application.router.add_get("/vm/api/context", self._login)
        application.router.add_route("*", "/api/v1/clusters{path:.*}", self._rest)
        self._runner = web.AppRunner(application, shutdown_timeout=1.0, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, *self._address, ssl_context=self._tls).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"https://localhost:{port}" if self._tls else f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing.set()
        await self._runner.cleanup()

    def offer(
        self, text: bytes, *, secret: str = "", ticket: str = "", context_id: str = CONTEXT_ID, digest: str = "md5"
    ) -> str:
        """Offer a context and return its PIN; with `ticket` by that PIN or id.

        The digits of the PIN give the same checksum as the id, and its last one tells whether there is a secret.
        """
        ticket = ticket or _pin(sum(_digits(context_id)), odd=bool(secret))
        body = encrypt(text, secret, digest) if secret else text
        checksum = Ticket(context_id).checksum(secret) if secret else ""
        self._offers[ticket] = Offer(body, checksum, once=len(ticket) == 6)
        return ticket

    async def _spoil(self) -> web.Response | None:
        if self.silent:
            await self._closing.wait()
        if self.failures:
            self.failures -= 1
            return web.Response(status=self.failure, text="<h1>Server Error</h1>", content_type="text/html")
        return None

    async def _login(self, _: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "/login"})

    async def _context(self, request: web.Request) -> web.StreamResponse:
        query = dict(request.query)
        self.queries.append(query)
        if (spoilt := await self._spoil()) is not None:
            return spoilt
        if self.answer is not None:
            return self.answer()
        ticket = query.get("pin") or query.get("context_id")
        if not ticket or not {"uuid", "ver", "checksum"} <= set(query) or len(query["uuid"]) > 64:
            return web.Response(status=400, text="<h1>Bad Request</h1>", content_type="text/html")
        offer = self._offers.get(ticket)
        if offer is None:
            if "pin" in query:
                return web.Response(text="not-found")
            return web.Response(status=500, text="<h1>Server Error (500)</h1>", content_type="text/html")
        if offer.checksum and offer.checksum != query["checksum"]:
            return web.Response(text="invalid-checksum")
        if offer.once:
            del self._offers[ticket]
        self.machines[query["uuid"]] = "P" if "pin" in query else "C"
        return await self._send(request, offer.body)

    async def _send(self, request: web.Request, body: bytes) -> web.StreamResponse:
        half = self.broken > 0
        self.broken -= half
        return await deliver(request, body, {"Content-Type": "text/plain"}, half=half)

    # Cluster PINs (section 6)

    def new_cluster(self, **keys: str) -> str:
        """Make a cluster and return its PIN."""
        pin = secrets.token_hex(6)
        self.clusters[pin] = Cluster(datetime.now(UTC), dict(keys))
        return pin

    async def put(self, pin: str, **keys: str) -> None:
        """Set keys of a cluster, and tell those that wait for news."""
        async with self.posted:
            self.clusters[pin].keys |= keys
            self.posted.notify_all()

    async def key(self, pin: str, name: str) -> str:
        """Wait until a key is there, and return its value."""
        async with self.posted:
            await self.posted.wait_for(lambda: name in self.clusters[pin].keys)
            return self.clusters[pin].keys[name]

    async def _rest(self, request: web.Request) -> web.Response:
        async with self.posted:
            self.requests.append(f"{request.method} {request.path}")
            self.posted.notify_all()
        if (spoilt := await self._spoil()) is not None:
            return spoilt
        parts = request.path.removeprefix("/api/v1/clusters").strip("/").split("/")
        if parts == [""]:
            return self._make_cluster(request)
        if not CLUSTER_PIN.fullmatch(parts[0]) or (len(parts) > 1 and parts[1] != "keys") or len(parts) > 3:
            return web.Response(status=404, text="<h1>Not Found</h1>", content_type="text/html")
        cluster = self.clusters.get(parts[0])
        match request.method, len(parts):
            case "GET", 1:
                return self._described(parts[0], cluster) if cluster else _error(404, "Not found.")
            case "GET", 2:
                return web.json_response([{"key": k, "value": v} for k, v in cluster.keys.items()] if cluster else [])
            case "POST", 2:
                return await self._post_key(request, cluster)
            case (("GET" | "DELETE"), 3):
                return self._key(request, cluster, parts[2])
        return _error(405, "Method not allowed.")

    def _make_cluster(self, request: web.Request) -> web.Response:
        if request.method != "POST":
            return _error(405, "Method not allowed.")
        pin = self.new_cluster()
        return self._described(pin, self.clusters[pin], status=201)

    def _described(self, pin: str, cluster: Cluster, status: int = 200) -> web.Response:
        created = cluster.created.isoformat().replace("+00:00", "Z")
        return web.json_response({"pin": pin, "creation_time": created}, status=status)

    async def _post_key(self, request: web.Request, cluster: Cluster | None) -> web.Response:
        if cluster is None:
            return _error(404, "Not found.")
        try:
            given = await request.json()
            key, value = given["key"], str(given["value"]).strip()
        except (json.JSONDecodeError, KeyError, TypeError):
            return _error(400, "JSON parse error")
        if isinstance(given["value"], bool | list | None) or not 1 <= len(value) <= 1000 or not 1 <= len(key) <= 100:
            return web.json_response({"value": ["This field may not be blank."]}, status=400)
        if key in cluster.keys:
            return _error(409, "Key already exists.")
        async with self.posted:
            cluster.keys[key] = value
            self.posted.notify_all()
        return web.json_response({"key": key, "value": value}, status=201)

    def _key(self, request: web.Request, cluster: Cluster | None, key: str) -> web.Response:
        if cluster is None or not KEY.fullmatch(key) or key not in cluster.keys:
            return web.Response(status=404, text="", content_type="text/plain")
        if request.method == "DELETE":
            del cluster.keys[key]
            return web.Response(status=204)
        if "application/json" in request.headers.get("Accept", "*/*"):
            return web.json_response({"key": key, "value": cluster.keys[key]})
        return web.Response(text=f"{key}: {cluster.keys[key]}")


def _error(status: int, detail: str) -> web.Response:
    return web.json_response({"detail": detail}, status=status)


def _digits(text: str) -> list[int]:
    digits = [int(character) for character in text if character.isdecimal()][:4]
    return digits + list(range(len(digits) + 1, 5))


def _pin(total: int, *, odd: bool) -> str:
    """Return a PIN whose first four digits have a sum, and whose last one is odd or even."""
    digits = []
    for left in (3, 2, 1, 0):
        digit = min(9, max(0, total - 9 * left))
        digits.append(digit)
        total -= digit
    return "".join(map(str, digits)) + str(secrets.randbelow(10)) + ("7" if odd else "4")


async def serve(host: str, port: int) -> None:
    """Serve one context until SIGTERM; the first line of output says that it does."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with Online(host=host, port=port) as online:
        online.offer(context_file(b"#!/bin/sh\n"), ticket=CONTEXT_ID)
        print(online.url, flush=True)
        await stop.wait()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description="CernVM Online with one context.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 = any that is free")
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.host, arguments.port))


if __name__ == "__main__":
    main()
