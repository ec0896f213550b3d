"""The EC2 metadata service (IMDS): its tokens, its statuses, and its clones that have no tokens.

Everything follows references/clouds.md, section 2.1. What is read from it is the business of `ec2.py`.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING

import aiohttp

from ucvm_agent.errors import SourceAbsent, SourceError, SourceRefused, SourceUnavailable
from ucvm_agent.http import RETRYABLE, AnswerRefused, read_bounded, without_secrets
from ucvm_agent.retry import TRIES, retry
from ucvm_agent.sources.claims import sound_instance_id

if TYPE_CHECKING:
    from ucvm_agent.settings import Ec2

TOKEN_HEADER = "X-aws-ec2-metadata-token"  # noqa: S105 - the name of a header
TTL_HEADER = "X-aws-ec2-metadata-token-ttl-seconds"
TOKEN_PATH = "/latest/api/token"  # noqa: S105 - a path
TOKEN_TIMEOUT = 2.0
"""Seconds for a token, which the host makes without asking anybody; all that a probe of a dark address costs."""
VERSIONS = ("latest", "2009-04-04")
"""The second one is all that some clones have."""
MAX_ITEM = 64 * 1024
"""Most bytes of one item of metadata."""
HOP_LIMIT = "if this is a container, raise the instance's HttpPutResponseHopLimit"

_TOKEN = re.compile(r"[!-;=-~]{1,4096}")
_RENEWAL = 5 / 6


class Protocol(Enum):
    """How a service is spoken to."""

    UNKNOWN = auto()
    TOKENS = auto()
    NO_TOKENS = auto()
    TOKENS_LOST = auto()
    """It may have tokens, but they do not arrive here; plain requests do."""


class PassingFault(SourceUnavailable):
    """The service is there, but this one answer was not usable."""


class AnswerTimedOut(SourceUnavailable):
    """The service took the connection and then said nothing."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A status and, for 200, what came with it."""

    status: int
    content_type: str
    lifetime: str
    body: bytes = field(repr=False)


class MetadataService:
    """The metadata service at one address.

    Arguments:
        session: made with `http.session(link_local=True)`.
        endpoint: its URL without a path.
        clock: monotonic seconds.
    """

    def __init__(
        self, session: aiohttp.ClientSession, endpoint: str, settings: Ec2, clock: Callable[[], float]
    ) -> None:
        self.endpoint = endpoint.rstrip("/")
        self.version = VERSIONS[0]
        self.protocol = Protocol.UNKNOWN
        self.instance_id = ""
        self._session = session
        self._settings = settings
        self._clock = clock
        self._token = ""
        self._renew_at = 0.0
        self._renewing = asyncio.Lock()

    async def connect(self) -> None:
        """Find out how the service is spoken to, and whose metadata it has.

        A dark address is not tried twice, so that the next one gets its chance; a faulty answer is.

        Raises:
            SourceAbsent: there is a server, but it knows of no instance.
            SourceUnavailable: nobody answers.
            SourceRefused: the service does not want us, or is no metadata service.
        """
        for version in VERSIONS:
            self.version = version
            body = await retry(lambda: self._get("meta-data/instance-id", MAX_ITEM), on=PassingFault)
            if body is not None:
                self.instance_id = sound_instance_id(body.decode(errors="replace"))
                break
        else:
            raise SourceAbsent("the server there has no instance-id", where=self.endpoint)
        if not self.instance_id:
            raise SourceRefused("what it gives as instance-id cannot be one", where=self.url("meta-data/instance-id"))

    async def get(self, item: str, *, limit: int = MAX_ITEM, tries: int = TRIES) -> bytes | None:
        """Return an item (`user-data`, `meta-data/mac`, …), or None if there is none.

        Raises:
            SourceUnavailable: it did not answer properly in so many tries.
            SourceRefused: it answered that it will not, or with more than `limit` bytes.
        """
        return await retry(lambda: self._get(item, limit), on=SourceUnavailable, tries=tries)

    def url(self, item: str) -> str:
        """Return the address of an item, for people."""
        return f"{without_secrets(self.endpoint)}/{self.version}/{item}"

    async def _get(self, item: str, limit: int) -> bytes | None:
        path = f"/{self.version}/{item}"
        token = await self._valid_token()
        answer = await self._request("GET", path, {TOKEN_HEADER: token} if token else {}, limit)
        if answer.status == 401 and token:
            token = await self._valid_token(refused=token)
            answer = await self._request("GET", path, {TOKEN_HEADER: token}, limit)
        if answer.status in (404, 405):
            return None
        if answer.status == 401 and self.protocol is Protocol.TOKENS_LOST:
            raise SourceUnavailable("it wants a token, but gives none in time", where=self.endpoint, hint=HOP_LIMIT)
        self._check(answer, path)
        if answer.content_type == "text/html" and answer.body.lstrip().startswith(b"<"):
            raise SourceRefused("a web page came instead, so this is another server", where=self.url(item))
        return answer.body

    async def _valid_token(self, refused: str = "") -> str:
        """Return a token that is neither about to expire nor the one that was refused; empty if there are none."""
        async with self._renewing:
            if self.protocol in (Protocol.NO_TOKENS, Protocol.TOKENS_LOST):
                return ""
            if self._token == refused or self._clock() >= self._renew_at:
                await self._renew_token()
            return self._token

    async def _renew_token(self) -> None:
        asked, lifetime = self._clock(), self._settings.token_ttl
        try:
            answer = await self._request("PUT", TOKEN_PATH, {TTL_HEADER: str(lifetime)}, MAX_ITEM)
        except AnswerTimedOut as error:
            if self.protocol is Protocol.TOKENS or self._settings.require_imdsv2:
                raise AnswerTimedOut(error.message, where=error.where, hint=HOP_LIMIT) from None
            self.protocol = Protocol.TOKENS_LOST
            return
        if answer.status in (404, 405) and self.protocol is Protocol.UNKNOWN:
            if self._settings.require_imdsv2:
                raise SourceRefused(
                    "it has no IMDSv2, which the settings require",
                    where=self.endpoint,
                    hint="set sources.ec2.require_imdsv2 = false to trust it nevertheless",
                )
            self.protocol = Protocol.NO_TOKENS
            return
        self._check(answer, TOKEN_PATH)
        token = answer.body.decode("ascii", errors="replace").strip()
        if not _TOKEN.fullmatch(token):
            raise SourceRefused("what it gives as token cannot be one", where=self.endpoint + TOKEN_PATH)
        given = int(answer.lifetime) if answer.lifetime.isdecimal() else lifetime
        self.protocol, self._token, self._renew_at = Protocol.TOKENS, token, asked + _RENEWAL * given

    def _check(self, answer: Answer, path: str) -> None:
        where = without_secrets(self.endpoint) + path
        if answer.status in RETRYABLE:
            raise PassingFault(f"it answered {answer.status}", where=where)
        if answer.status == 403:
            hint = "the metadata service is switched off or forbidden for this instance"
            raise SourceRefused("it answered 403", where=where, hint=hint)
        if answer.status != 200:
            raise SourceRefused(f"it answered {answer.status}", where=where)

    async def _request(self, method: str, path: str, headers: dict[str, str], limit: int) -> Answer:
        try:
            # X-Forwarded-For is what the service knows proxies by, and never sent.
            async with self._session.request(
                method, self.endpoint + path, headers=headers, timeout=self._timeout(method)
            ) as response:
                body = await read_bounded(response, limit) if response.status == 200 else b""
                lifetime = response.headers.get(TTL_HEADER, "")
                return Answer(response.status, response.content_type, lifetime, body)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._translated(error, path) from None

    def _timeout(self, method: str) -> aiohttp.ClientTimeout:
        timeout = self._session.timeout
        if method != "PUT":
            return timeout
        return aiohttp.ClientTimeout(total=TOKEN_TIMEOUT, sock_connect=timeout.sock_connect)

    def _translated(self, error: Exception, path: str) -> SourceError:
        where = without_secrets(self.endpoint) + path
        match error:
            case AnswerRefused():
                return SourceRefused(str(error), where=where)
            case aiohttp.InvalidURL():
                return SourceRefused("this is no URL", where=where, hint="correct sources.ec2.endpoints")
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
