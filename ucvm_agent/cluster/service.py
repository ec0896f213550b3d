"""The cluster PIN service of CernVM Online (references/cernvm-online.md, section 6).

The PIN is name and password in one, and part of every URL; no log and no error shows it.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp

from ucvm_agent.errors import SourceError, SourceRefused, SourceUnavailable
from ucvm_agent.network import http
from ucvm_agent.network.http import seconds_of
from ucvm_agent.sources.online_service import Answer, checked_url

if TYPE_CHECKING:
    from ucvm_agent.cluster.membership import Membership
    from ucvm_agent.settings import Cluster

TOTAL_TIMEOUT = 10.0
"""Seconds for a request; the original had no limit."""
MAX_ANSWER = 64 * 1024
"""Most bytes of an answer (section 7)."""
PIN_LIFE = "a PIN lives for 24 hours; make a new cluster at CernVM Online"


@asynccontextmanager
async def open_service(membership: Membership, settings: Cluster) -> AsyncIterator[ClusterService]:
    """Open the service for one cluster.

    Raises:
        SettingsError: its URL is none, or is one of http, which the settings do not allow.
    """
    url = checked_url(membership.service_url, insecure=settings.insecure, where="cluster.service_url")
    async with http.session(total=TOTAL_TIMEOUT, ca_file=settings.ca_file, hidden=membership.pin) as session:
        yield ClusterService(session, url, membership.pin)


class ClusterService:
    """The keys of one cluster; each call is one request.

    Each raises `SourceUnavailable` for a fault that may pass, and `SourceRefused` for one that will not.

    Attributes:
        where: its address, for people.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str, pin: str) -> None:
        self.where = url
        self._session = session
        self._cluster = f"{url}/api/v1/clusters/{pin}"
        self._retry_after = 0.0

    async def get(self, key: str) -> str | None:
        """Return a key's value; None if it is not there (or the PIN is not: `check_pin` tells)."""
        answer = await self._request("GET", f"/keys/{key}")
        if answer.status == 404:
            return None
        self._check(answer, 200)
        return self._value(answer, key)

    async def post(self, key: str, value: str) -> bool:
        """Set a key; False if it was there already."""
        answer = await self._request("POST", "/keys", {"key": key, "value": value})
        if answer.status == 404:
            raise self._unknown()
        if answer.status == 409:
            return False
        self._check(answer, 201)
        return True

    async def check_pin(self) -> None:
        """Raise `SourceRefused` if there is no cluster with this PIN."""
        answer = await self._request("GET", "")
        if answer.status == 404:
            raise self._unknown()
        self._check(answer, 200)

    async def own_address(self) -> str:
        """Return the address by which this machine reaches the service: others can reach it there."""
        parts = urlsplit(self.where)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(TOTAL_TIMEOUT):
                found = await loop.getaddrinfo(parts.hostname, port, type=socket.SOCK_DGRAM)
        except (OSError, TimeoutError):
            raise SourceUnavailable("its name cannot be looked up", where=self.where) from None
        for family, kind, protocol, _, address in found:
            with socket.socket(family, kind, protocol) as probe:
                try:
                    probe.connect(address)  # sends nothing: UDP
                except OSError:
                    continue
                return str(probe.getsockname()[0])
        raise SourceUnavailable("there is no route to it", where=self.where)

    def take_retry_after(self) -> float:
        """Return the seconds that the service asked to be left alone, once."""
        seconds, self._retry_after = self._retry_after, 0.0
        return seconds

    def _unknown(self) -> SourceRefused:
        return SourceRefused("there is no cluster with this PIN", where=self.where, hint=PIN_LIFE)

    def _check(self, answer: Answer, wanted: int) -> None:
        if answer.status == 429 or answer.status >= 500:
            raise SourceUnavailable(f"it answered {answer.status}", where=self.where)
        if answer.status != wanted:
            raise SourceRefused(f"it answered {answer.status}", where=self.where, hint="is this a cluster PIN service?")

    def _value(self, answer: Answer, key: str) -> str:
        """Read `{"key": …, "value": …}`, or `KEY: VALUE` from a service that does not give JSON."""
        text = answer.body.decode(errors="replace")
        if answer.content_type == "text/plain":
            name, separator, value = text.partition(": ")
            if separator and name == key:
                return value.strip()
        elif answer.content_type == "application/json":
            try:
                document = json.loads(text)
            except (json.JSONDecodeError, RecursionError):
                document = None
            if isinstance(document, dict) and isinstance(given := document.get("value"), str):
                return given.strip()
        raise SourceRefused("what it gives for a key is none", where=self.where, hint="is this a cluster PIN service?")

    async def _request(self, method: str, path: str, body: dict[str, str] | None = None) -> Answer:
        headers = {"Accept": "application/json", "Cache-Control": "no-cache"}
        try:
            async with self._session.request(
                method, self._cluster + path, json=body, headers=headers, allow_redirects=False
            ) as response:
                self._retry_after = seconds_of(response.headers.get("Retry-After", ""))
                return Answer(response.status, response.content_type, await http.read_bounded(response, MAX_ANSWER))
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._translated(error) from None

    def _translated(self, error: Exception) -> SourceError:
        match error:
            case http.AnswerRefused():
                return SourceRefused(str(error), where=self.where)
            case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
                message = f"its TLS certificate is not trusted ({http.certificate_fault(error)})"
                return SourceRefused(message, where=self.where, hint="name its authority by cluster.ca_file")
            case TimeoutError():
                return SourceUnavailable("no answer in time", where=self.where)
            case aiohttp.ClientResponseError():
                return SourceRefused("what it answers is not HTTP", where=self.where)
            case _:
                return SourceUnavailable("no connection", where=self.where)
