"""The HTTP client of the program: how every session is bounded, trusted and logged.

Importing it loads aiohttp, so import it where HTTP is spoken, not where it might be.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import structlog
from yarl import URL

from ucvm_agent import __version__
from ucvm_agent.errors import SettingsError

log = structlog.get_logger()

CONNECT_TIMEOUT = 2.0
"""Seconds for the TCP connection (references/clouds.md, "Ours, unless a source says otherwise")."""
TOTAL_TIMEOUT = 10.0
"""Seconds for a whole request, name resolution and body included."""
RETRYABLE = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses that tell of a passing fault (same place)."""
CONNECTIONS_PER_HOST = 4
"""Link-local services share a small packet budget (references/clouds.md, section 2.1)."""

RETRY_AFTER_LIMIT = 300.0
"""Longest that a `Retry-After` is followed, in seconds."""

_CHUNK = 64 * 1024


class AnswerRefused(aiohttp.ClientError):
    """The server answered with something that we do not take: too large, or a redirect to another host."""


@asynccontextmanager
async def session(
    *,
    connect: float = CONNECT_TIMEOUT,
    total: float = TOTAL_TIMEOUT,
    stalled: float | None = None,
    ca_file: Path | None = None,
    verify: bool = True,
    link_local: bool = False,
    hidden: str = "",
) -> AsyncIterator[aiohttp.ClientSession]:
    """Open a session for requests to one or a few servers, and close it with all its connections.

    Bodies are not decompressed, redirects to another host or away from TLS raise `AnswerRefused`, cookies are
    not kept, and each request and answer is one debug line without query, credentials, headers and body. Of the
    environment only the proxies count (`http_proxy`, `no_proxy`, …), not the passwords of `~/.netrc`.

    Arguments:
        connect: seconds for the TCP connection.
        total: seconds for a whole request.
        stalled: seconds without a byte of an answer; None = as long as `total` allows.
        ca_file: certificates to trust instead of the system's.
        verify: False accepts any certificate.
        link_local: the servers are on the local link, so no proxy of the environment can reach them, and another
            port is another server.
        hidden: a secret in the paths of URLs, which is not logged.

    Raises:
        SettingsError: `ca_file` cannot be used.
    """
    trust: ssl.SSLContext | bool = verify
    if verify and ca_file is not None:
        trust = await asyncio.to_thread(_trusting, ca_file)
    # Link-local addresses are never names; this resolver opens nothing until it is asked, unlike c-ares.
    resolver = aiohttp.ThreadedResolver() if link_local else None
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=trust, limit_per_host=CONNECTIONS_PER_HOST, resolver=resolver),
        timeout=aiohttp.ClientTimeout(total=total, sock_connect=connect, sock_read=stalled),
        headers={"User-Agent": f"ucvm-agent/{__version__}", "Accept-Encoding": "identity"},
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        middlewares=() if link_local else (_through_proxy,),
        trace_configs=[_logging(hidden), _redirect_check(same_port=link_local)],
    ) as opened:
        yield opened


async def read_bounded(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """Return the body as it came over the wire; one that is larger than `limit` bytes is not read to its end.

    Raises:
        AnswerRefused: the body is too large.
        aiohttp.ClientError: the connection ended before the body did.
        TimeoutError: the request took longer than its session allows.
    """
    announced = response.content_length or 0
    if announced > limit:
        response.close()
        raise AnswerRefused(f"the answer has {announced} bytes, more than the {limit} that are read")
    body = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK):
        body += chunk
        if len(body) > limit:
            response.close()
            raise AnswerRefused(f"the answer has more than the {limit} bytes that are read")
    return bytes(body)


def without_secrets(url: str) -> str:
    """Return a URL as it may be logged and shown: without credentials, query and fragment."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def certificate_fault(error: aiohttp.ClientError) -> str:
    """Return what is wrong with a certificate that was not trusted, without the error's own text."""
    cause = getattr(error, "certificate_error", error)
    return str(getattr(cause, "verify_message", "")) or type(cause).__name__


def explain(error: aiohttp.ClientError | TimeoutError) -> str:
    """Return why a request failed, without the error's own text, which quotes the URL."""
    match error:
        case aiohttp.ConnectionTimeoutError():
            return "no connection in time"
        case TimeoutError():
            return "the server says nothing any more"
        case aiohttp.ClientConnectorError():
            return f"no connection: {os.strerror(error.os_error.errno) if error.os_error.errno else 'failed'}"
        case aiohttp.ClientResponseError():
            return "what it answers is not HTTP"
        case _:
            return "the connection broke off in the middle of the answer"


def _trusting(ca_file: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one
        reason = "there is no certificate in it" if isinstance(error, ssl.SSLError) else error.strerror
        raise SettingsError(
            f"the certificates cannot be read: {reason}", where=str(ca_file), hint="name a file in PEM form"
        ) from None


async def _through_proxy(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    # Not trust_env: that sends what ~/.netrc holds, and fails where a request has an Authorization of its own.
    url = request.url
    if (proxy := getproxies().get(url.scheme)) and not proxy_bypass(f"{url.host}:{url.port}"):
        request.update_proxy(URL(proxy), None, None)
    return await handler(request)


def _logging(hidden: str) -> aiohttp.TraceConfig:
    def shown(url: object) -> str:
        text = without_secrets(str(url))
        return text.replace(hidden, "***") if hidden else text

    async def log_request(
        _: aiohttp.ClientSession, request: SimpleNamespace, params: aiohttp.TraceRequestStartParams
    ) -> None:
        request.started = time.monotonic()
        log.debug("http request", method=params.method, url=shown(params.url))

    def log_end(
        event: str,
        request: SimpleNamespace,
        params: aiohttp.TraceRequestEndParams | aiohttp.TraceRequestExceptionParams,
        **outcome: object,
    ) -> None:
        ms = round((time.monotonic() - request.started) * 1000)
        log.debug(event, method=params.method, url=shown(params.url), **outcome, ms=ms)

    async def log_answer(
        _: aiohttp.ClientSession, request: SimpleNamespace, params: aiohttp.TraceRequestEndParams
    ) -> None:
        answer = params.response
        log_end("http answer", request, params, status=answer.status, bytes=answer.content_length)

    async def log_failure(
        _: aiohttp.ClientSession, request: SimpleNamespace, params: aiohttp.TraceRequestExceptionParams
    ) -> None:
        log_end("http request failed", request, params, error=type(params.exception).__name__)

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(log_request)
    trace.on_request_end.append(log_answer)
    trace.on_request_exception.append(log_failure)
    return trace


def _redirect_check(*, same_port: bool) -> aiohttp.TraceConfig:
    async def check(_: aiohttp.ClientSession, __: SimpleNamespace, params: aiohttp.TraceRequestRedirectParams) -> None:
        location = params.response.headers.get("Location", "")
        if not _may_follow(str(params.url), location, same_port=same_port):
            params.response.close()
            raise AnswerRefused("the answer redirects to another host, or away from TLS")

    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(check)
    return trace


def _may_follow(url: str, location: str, *, same_port: bool) -> bool:
    try:
        here, there = URL(url), URL(url).join(URL(location))
    except ValueError:
        return False
    same_server = there.host == here.host and (there.port == here.port or not same_port)
    return same_server and not (here.scheme == "https" and there.scheme == "http")


def seconds_of(retry_after: str) -> float:
    """Return the seconds that a `Retry-After` asks for, a number or a date; 0 if it makes no sense."""
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), RETRY_AFTER_LIMIT)
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return 0.0
    wait = (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return max(0.0, min(wait, RETRY_AFTER_LIMIT))
