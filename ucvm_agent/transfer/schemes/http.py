"""`https://…` and `http://…`: GET with ranges, PUT.

A fetch goes on from where it broke if the server names the version by a strong ETag (RFC 9110, sections 13.1.5 and
14.2), and begins anew if that has changed. Redirects are followed on the same host only, and never away from TLS.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import aiohttp
from yarl import URL

from ucvm_agent.errors import SettingsError, TransferDelayed, TransferRefused
from ucvm_agent.network import http
from ucvm_agent.transfer import base
from ucvm_agent.transfer.location import Location
from ucvm_agent.transfer.partial import Partial, disk

CONNECT = 10.0
"""Seconds for the TCP connection: file servers are farther away than metadata services."""
STALLED = 60.0
"""Seconds without a byte after which a connection counts as broken."""

_HERE, _STORED = frozenset({200, 206, 416}), frozenset({200, 201, 204})
_CHUNK = 256 * 1024
_STRONG = re.compile(r'"[\x21\x23-\x7e]{1,256}"')
_RANGE = re.compile(r"bytes ([0-9]{1,19})-[0-9]{1,19}/(?:[0-9]{1,19}|\*)")


class Transfer(base.Transfer):
    """Moves files from and to web servers."""

    async def fetch(self, source: Location, partial: Partial) -> None:
        """See `Transfer.fetch`."""
        headers = await self._authorization(source)
        if partial.size:
            headers |= {"Range": f"bytes={partial.size}-", "If-Range": partial.version}
        async with (
            self._session() as session,
            _answer(session.get(URL(source.url, encoded=True), headers=headers), _HERE) as response,
        ):
            await _begin(response, partial)
            async for data in response.content.iter_chunked(_CHUNK):
                await asyncio.to_thread(partial.write, data)

    async def send(self, source: Path, target: Location) -> None:
        """See `Transfer.send`."""
        headers = {"Content-Type": "application/octet-stream", **await self._authorization(target)}
        with disk(source):
            file = await asyncio.to_thread(source.open, "rb")
        with file:
            async with self._session() as session:
                put = session.put(URL(target.url, encoded=True), data=file, headers=headers, allow_redirects=False)
                async with _answer(put, _STORED):
                    pass

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[aiohttp.ClientSession]:
        try:
            async with http.session(
                connect=CONNECT, total=self.settings.timeout, stalled=STALLED, ca_file=self.settings.ca_file
            ) as session:
                yield session
        except SettingsError as error:
            raise TransferRefused(error.message, where=error.where, hint=error.hint) from None

    async def _authorization(self, location: Location) -> dict[str, str]:
        """Return a header with the token of the URL or its host; that is read anew each time, for it may be renewed."""
        if location.token:
            return _bearer(location.token)
        files = {host.lower(): file for host, _, file in (item.partition("=") for item in self.settings.token_files)}
        name = files.get(location.host)
        if name is None or location.scheme != "https":
            return {}
        try:
            token = (await asyncio.to_thread(Path(name).read_text, "ascii")).strip()
        except (OSError, UnicodeDecodeError):
            raise TransferDelayed("the token cannot be read", where=name, hint="transfer.token_files") from None
        return _bearer(token)


def _bearer(token: str) -> dict[str, str]:
    if not token.isprintable() or not token.isascii():
        raise TransferDelayed("the token has characters that no header may have")
    return {"Authorization": f"Bearer {token}"}


@asynccontextmanager
async def _answer(
    request: AbstractAsyncContextManager[aiohttp.ClientResponse], expected: frozenset[int]
) -> AsyncIterator[aiohttp.ClientResponse]:
    """Send a request; yields an answer with one of the expected statuses, and turns aiohttp's errors into ours."""
    try:
        async with request as response:
            _judge(response, expected)
            yield response
    except http.AnswerRefused as refused:
        raise TransferRefused(str(refused)) from None
    except aiohttp.InvalidURL:
        raise TransferRefused("this is no URL", hint="write https://…") from None
    except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError) as error:
        reason = http.certificate_fault(error)
        raise TransferRefused(
            f"its TLS certificate is not trusted: {reason}", hint="transfer.ca_file names certificates to trust"
        ) from None
    except (aiohttp.ClientError, TimeoutError) as error:
        raise TransferDelayed(http.explain(error), hint="is the server up, and reachable?") from None


def _judge(response: aiohttp.ClientResponse, expected: frozenset[int]) -> None:
    status = response.status
    if status in http.RETRYABLE or status >= 500:
        after = http.seconds_of(response.headers.get("Retry-After", ""))
        raise TransferDelayed(f"the server answered {status}", after=after)
    if status not in expected:
        raise TransferRefused(f"the server answered {status}")


async def _begin(response: aiohttp.ClientResponse, partial: Partial) -> None:
    """Bring the partial file to where the answer begins."""
    version = response.headers.get("ETag", "")
    start = 0
    if response.status == 206:
        match = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        start = int(match[1]) if match else -1
        if not partial.size or start != partial.size or version not in ("", partial.version):
            await asyncio.to_thread(partial.restart)
            raise TransferDelayed("the server sent another part than was asked for")
    elif response.status == 200:
        await asyncio.to_thread(partial.restart, version if _STRONG.fullmatch(version) else "")
    else:
        await asyncio.to_thread(partial.restart)
        raise TransferDelayed(f"the server answered {response.status}")
    await asyncio.to_thread(partial.expect, start + (response.content_length or 0))
