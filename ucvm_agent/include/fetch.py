"""Fetches one include: by https (http if the settings allow it), from S3, or from a file of this machine.

Whatever goes wrong is told in the result and not raised: it becomes a problem at the line that names the URL.
"""

from __future__ import annotations

import asyncio
import os
import stat
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Self
from urllib.parse import unquote, urlsplit

from ucvm_agent.errors import SecretError, SettingsError, SourceError, SourceRefused, SourceUnavailable
from ucvm_agent.sources.base import Fetched
from ucvm_agent.userdata.bounds import MAX_UNPACKED

if TYPE_CHECKING:
    import aiohttp

    from ucvm_agent.network.aws import Cloud
    from ucvm_agent.settings import Include as Settings
    from ucvm_agent.userdata.context import Include

MAX_SIZE = MAX_UNPACKED
"""Most bytes of all includes together."""

TRIES = 3
"""Most tries of one include, after faults that may pass."""


class Fetcher:
    """Fetches the includes of one user-data; an asynchronous context manager, that opens what it needs when it does.

    Arguments:
        region: of S3, from the platform's metadata; empty = what boto3 finds by itself.
    """

    def __init__(self, settings: Settings, region: str) -> None:
        self._settings = settings
        self._region = region
        self._left = MAX_SIZE
        self._opened = AsyncExitStack()
        self._opening = asyncio.Lock()
        self._session: aiohttp.ClientSession | None = None
        self._cloud: Cloud | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._opened.aclose()

    def refuse(self, include: Include) -> Fetched | None:
        """Return why an include is not even tried; None if it may be."""
        try:
            scheme = urlsplit(include.url).scheme.lower()
        except ValueError:
            scheme = ""
        if scheme == "http" and not self._settings.http:
            hint = "use https; include.http = true in the settings allows it nevertheless"
            return Fetched(None, "plain http is not allowed", hint)
        if scheme == "file" and not include.local:
            return Fetched(None, "only user-data that is itself a local file may include files", "use https")
        if scheme not in ("https", "http", "s3", "file"):
            return Fetched(None, "this is not a URL that can be included", "use https://, s3:// or file://")
        return None

    async def fetch(self, include: Include) -> Fetched:
        """Return what an include that is not refused brings now."""
        from ucvm_agent.network.retry import retry  # loads tenacity

        scheme = urlsplit(include.url).scheme.lower()
        fetch = {"s3": self._fetch_s3, "file": _fetch_file}.get(scheme, self._fetch_http)
        try:
            async with asyncio.timeout(self._settings.timeout):
                data = await retry(partial(fetch, include.url), on=SourceUnavailable, tries=TRIES)
            self._count(len(data))
        except TimeoutError:
            return Fetched(None, f"no answer within {self._settings.timeout:g} s", "is the server up, and reachable?")
        except (SourceError, SecretError, SettingsError) as error:
            return Fetched(None, error.message, error.hint)
        return Fetched(data)

    def _count(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise SourceRefused(f"all includes together have more than {MAX_SIZE // 2**20} MiB")

    async def _fetch_http(self, url: str) -> bytes:
        import aiohttp

        from ucvm_agent.network import http

        try:
            async with (await self._http_session()).get(url) as response:
                if response.status in http.RETRYABLE:
                    raise SourceUnavailable(f"the server answered {response.status}")
                if response.status != 200:
                    raise SourceRefused(f"the server answered {response.status}")
                return await http.read_bounded(response, max(0, self._left))
        except http.AnswerRefused as refused:
            raise SourceRefused(str(refused)) from None
        except aiohttp.InvalidURL:
            raise SourceRefused("this is no URL", hint="write https://…") from None
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError):
            hint = "include.ca_file in the settings names certificates to trust"
            raise SourceRefused("its TLS certificate is not trusted", hint=hint) from None
        except aiohttp.ClientError as error:
            raise SourceUnavailable(http.explain(error), hint="is the server up, and reachable?") from None

    async def _http_session(self) -> aiohttp.ClientSession:
        from ucvm_agent.network import http

        async with self._opening:
            if self._session is None:
                opened = http.session(total=self._settings.timeout, ca_file=self._settings.ca_file)
                self._session = await self._opened.enter_async_context(opened)
            return self._session

    async def _fetch_s3(self, url: str) -> bytes:
        from ucvm_agent.network.aws import Cloud
        from ucvm_agent.network.http import CONNECT_TIMEOUT

        self._cloud = self._cloud or Cloud(self._region, connect=CONNECT_TIMEOUT, read=self._settings.timeout, tries=1)
        return await asyncio.to_thread(partial(self._cloud.read_object, url, max(0, self._left)))


async def _fetch_file(url: str) -> bytes:
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise SourceRefused("a file is on this machine", hint="write file:///path")
    return await asyncio.to_thread(_read_file, unquote(parts.path))


def _read_file(path: str) -> bytes:
    try:
        # O_NONBLOCK: a FIFO must not keep the thread for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise SourceRefused("it cannot be read: it is a device or a pipe")
            return file.read(MAX_SIZE + 1)
    except OSError as error:
        raise SourceRefused(f"it cannot be read: {error.strerror}") from None
