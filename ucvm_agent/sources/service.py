"""A server on the local link that gives out metadata over HTTP: what all clouds' services have in common.

What is retried, what is an answer and what is none follows references/clouds.md ("Ours, unless a source says
otherwise"). Each dialect says which headers and paths it wants.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

import aiohttp
import structlog

from ucvm_agent.errors import SourceAbsent, SourceError, SourceRefused, SourceUnavailable, ours
from ucvm_agent.network.http import RETRYABLE, AnswerRefused, read_bounded, without_secrets
from ucvm_agent.network.retry import TRIES, retry

log = structlog.get_logger()

T = TypeVar("T")

MAX_ITEM = 64 * 1024
"""Most bytes of one item of metadata."""
PROBE_TIMEOUT = 2.0
"""Seconds for the first answer of a server of which nobody said that it is there."""
METADATA_TRIES = 3
"""Tries for metadata beside user-data: good to have, not worth a slow start."""
_MISSING = (404, 405)
_WITH_INTERFACE = re.compile(r"\w+://(\[[0-9A-Fa-f:.]+)%25[^\]/]+(\][^/]*)")
_FORBIDDEN = "the metadata service is switched off or forbidden for this instance"


class PassingFault(SourceUnavailable):
    """The service is there, but this one answer was not usable."""


class AnswerTimedOut(SourceUnavailable):
    """The service took the connection and then said nothing."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, the headers and, for 200, what came with them."""

    status: int
    content_type: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class Service:
    """The server at one address.

    Arguments:
        session: made with `http.session(link_local=True)`.
        endpoint: its URL without a path; the interface of a link-local address is written as RFC 6874 wants it
            (`http://[fe80::1%25eth0]`).
        headers: of each request.
        passing: statuses that tell of a passing fault.
        setting: where a wrong endpoint is corrected.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        endpoint: str,
        *,
        headers: Mapping[str, str] | None = None,
        passing: frozenset[int] = RETRYABLE,
        setting: str = "",
    ) -> None:
        self.endpoint = endpoint.rstrip("/").replace("%25", "%")  # aiohttp takes the interface without escapes
        self._session = session
        # The name of an interface means nothing to a server, and RFC 6874 says not to send it.
        host = {"Host": match[1] + match[2]} if (match := _WITH_INTERFACE.match(endpoint)) else {}
        self._headers = {**(headers or {}), **host}
        self._passing = passing
        self._setting = setting

    def url(self, path: str) -> str:
        """Return the address of `path` (which begins with a slash), for people."""
        return without_secrets(self.endpoint + path)

    async def ask(self, path: str, *, limit: int = MAX_ITEM, within: float | None = None) -> bytes | None:
        """Return the body of a first question, or None if the server does not know the path.

        A dark address is not tried twice, so that the next one gets its chance; a faulty answer is.

        Raises:
            SourceUnavailable, SourceRefused: as `get`.
        """
        return await retry(lambda: self.get_once(path, limit=limit, within=within), on=PassingFault)

    async def get(self, path: str, *, limit: int = MAX_ITEM, tries: int = TRIES) -> bytes | None:
        """Return the body, or None if the server does not know the path.

        Raises:
            SourceUnavailable: it did not answer properly in so many tries.
            SourceRefused: it answered that it will not, or with something that is not its protocol.
        """
        return await retry(lambda: self.get_once(path, limit=limit), on=SourceUnavailable, tries=tries)

    async def get_optional(self, path: str, *, limit: int = MAX_ITEM) -> bytes | None:
        """Return the body, or None also if it cannot be had; then a warning says so."""
        try:
            return await self.get(path, limit=limit, tries=METADATA_TRIES)
        except SourceError as error:
            log.warning("an item of metadata is missing", url=self.url(path), reason=error.message)
            return None

    async def get_once(self, path: str, *, limit: int = MAX_ITEM, within: float | None = None) -> bytes | None:
        """As `get`, without trying again."""
        return self.taken(await self.request("GET", path, limit=limit, within=within), path)

    async def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        *,
        limit: int = MAX_ITEM,
        within: float | None = None,
    ) -> Answer:
        """Return the answer, whatever its status.

        Arguments:
            headers: beside those of all requests.
            limit: most bytes that are read.
            within: seconds in which something has to come once there is a connection; None = what the session allows.

        Raises:
            SourceUnavailable: there is no answer, or half of one.
            SourceRefused: it is no HTTP, is too large, or redirects to another server.
        """
        allowed = self._session.timeout
        if within is not None:
            # Counted from the connection on, so that a dark address and a silent server stay two things.
            allowed = aiohttp.ClientTimeout(total=allowed.total, sock_connect=allowed.sock_connect, sock_read=within)
        try:
            # X-Forwarded-For is what the services know proxies by, and never sent.
            async with self._session.request(
                method, self.endpoint + path, headers={**self._headers, **(headers or {})}, timeout=allowed
            ) as response:
                body = await read_bounded(response, limit) if response.status == 200 else b""
                return Answer(response.status, response.content_type, response.headers, body)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._translated(error, path) from None

    def taken(self, answer: Answer, path: str) -> bytes | None:
        """Return the body of an answer, or None if it says that there is none.

        Raises:
            PassingFault: it asks to come again.
            SourceRefused: it says no, or is a web page.
        """
        where = self.url(path)
        if answer.status in self._passing:
            raise PassingFault(f"it answered {answer.status}", where=where)
        if answer.status in _MISSING:
            return None
        if answer.status == 403:
            raise SourceRefused("it answered 403", where=where, hint=_FORBIDDEN)
        if answer.status != 200:
            raise SourceRefused(f"it answered {answer.status}", where=where)
        if answer.content_type == "text/html" and answer.body.lstrip().startswith(b"<"):
            raise SourceRefused("a web page came instead, so this is another server", where=where)
        return answer.body

    def _translated(self, error: Exception, path: str) -> SourceError:
        where = self.url(path)
        match error:
            case AnswerRefused():
                return SourceRefused(str(error), where=where)
            case aiohttp.InvalidURL():
                return SourceRefused("this is no URL", where=where, hint=f"correct {self._setting}")
            case aiohttp.ConnectionTimeoutError():
                return SourceUnavailable(f"no connection within {self._session.timeout.sock_connect:g} s", where=where)
            case TimeoutError():
                return AnswerTimedOut("no answer in time", where=where)
            case aiohttp.ClientConnectorError():
                # asyncio's own text repeats the address as a tuple.
                reason = os.strerror(error.os_error.errno) if error.os_error.errno else "failed"
                return SourceUnavailable(f"no connection: {reason}", where=where)
            case aiohttp.ClientResponseError():
                return SourceRefused("what it answers is not HTTP", where=where)
            case _:
                return PassingFault("the connection broke off in the middle of the answer", where=where)


async def together(*calls: Coroutine[object, object, T]) -> list[T]:
    """Run calls at the same time and return their results; the first error of ours ends the others and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(call) for call in calls]
    except BaseExceptionGroup as error:
        if reason := ours(error):
            raise reason from None
        raise
    return [task.result() for task in tasks]


async def first_of(calls: Sequence[Coroutine[object, object, T]], *, same: bool = False) -> T:
    """Run calls at the same time, return the result of the first that succeeds, and cancel the others.

    Arguments:
        same: all ask the same service, so one that says who it is not speaks for those that are dark.

    Raises:
        SourceError: none succeeded; tells the reason of each.
    """
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        for ended in asyncio.as_completed(tasks):
            with suppress(SourceError):
                return await ended
        failures = [error for task in tasks if isinstance(error := task.exception(), SourceError)]
        if same and any(isinstance(failure, SourceAbsent) for failure in failures):
            failures = [failure for failure in failures if isinstance(failure, SourceAbsent)]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    raise none_of(failures)


def none_of(failures: list[SourceError]) -> SourceError:
    """Return one error for a source that has several addresses, none of which served.

    A faint hope is a hope: it is `SourceUnavailable` if any of them is.
    """
    if len(failures) == 1:
        return failures[0]
    message = "; ".join(f"{failure.where}: {failure.message}" for failure in failures) or "no address is known"
    hint = next((failure.hint for failure in failures if failure.hint), "")
    kinds = {type(failure) for failure in failures}
    if kinds <= {SourceAbsent, SourceRefused} and kinds:
        return (SourceAbsent if SourceAbsent in kinds else SourceRefused)(message, hint=hint)
    return SourceUnavailable(message, hint=hint)
