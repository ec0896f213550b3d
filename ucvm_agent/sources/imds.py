"""The EC2 metadata service (IMDS): its tokens, its statuses, and its clones that have no tokens.

Everything follows references/clouds.md, section 2.1. What is read from it is the business of `ec2.py`.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from enum import Enum, auto
from typing import TYPE_CHECKING

import structlog

from ucvm_agent.errors import SourceAbsent, SourceError, SourceRefused, SourceUnavailable
from ucvm_agent.network.retry import TRIES, retry
from ucvm_agent.sources.claims import sound_instance_id
from ucvm_agent.sources.service import MAX_ITEM, METADATA_TRIES, AnswerTimedOut, PassingFault, Service, together

if TYPE_CHECKING:
    from ucvm_agent.settings import Ec2

log = structlog.get_logger()

TOKEN_HEADER = "X-aws-ec2-metadata-token"  # noqa: S105 - the name of a header
TTL_HEADER = "X-aws-ec2-metadata-token-ttl-seconds"
TOKEN_PATH = "/latest/api/token"  # noqa: S105 - a path
TOKEN_TIMEOUT = 2.0
"""Seconds for a token, which the host makes without asking anybody; all that a probe of a dark address costs."""
VERSIONS = ("latest", "2009-04-04")
"""The second one is all that some clones have."""
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


class MetadataService:
    """The metadata service at one address.

    Arguments:
        service: the server; made with `http.session(link_local=True)`.
        settings: of the tokens; None = a dialect that never had any.
        clock: monotonic seconds; tokens age by it.
        versions: the trees that it may have, best first.
    """

    def __init__(
        self,
        service: Service,
        settings: Ec2 | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        versions: tuple[str, ...] = VERSIONS,
    ) -> None:
        self.version = versions[0]
        self.protocol = Protocol.UNKNOWN if settings else Protocol.NO_TOKENS
        self.instance_id = ""
        self._service = service
        self._settings = settings
        self._clock = clock
        self._versions = versions
        self._token = ""
        self._renew_at = 0.0
        self._renewing = asyncio.Lock()

    async def connect(self, *, within: float | None = None) -> None:
        """Find out how the service is spoken to, and whose metadata it has.

        A dark address is not tried twice, so that the next one gets its chance; a faulty answer is.

        Arguments:
            within: seconds for its first answer; None = as for all others.

        Raises:
            SourceAbsent: there is a server, but it knows of no instance.
            SourceUnavailable: nobody answers.
            SourceRefused: the service does not want us, or is no metadata service.
        """
        item = "meta-data/instance-id"
        for version in self._versions:
            self.version = version
            body = await retry(lambda: self._get(item, MAX_ITEM, within), on=PassingFault)
            if body is not None:
                self.instance_id = sound_instance_id(body.decode(errors="replace"))
                break
        else:
            raise SourceAbsent("the server there has no instance-id", where=self._service.url(""))
        if not self.instance_id:
            raise SourceRefused("what it gives as instance-id cannot be one", where=self.url(item))

    async def get(self, item: str, *, limit: int = MAX_ITEM, tries: int = TRIES) -> bytes | None:
        """Return an item (`user-data`, `meta-data/mac`, …), or None if there is none.

        Raises:
            SourceUnavailable: it did not answer properly in so many tries.
            SourceRefused: it answered that it will not, or with more than `limit` bytes.
        """
        return await retry(lambda: self._get(item, limit), on=SourceUnavailable, tries=tries)

    async def text(self, item: str) -> str:
        """Return an item of metadata, or an empty string if there is none or, with a warning, if it cannot be had."""
        try:
            body = await self.get(item, tries=METADATA_TRIES)
        except SourceError as error:
            log.warning("an item of metadata is missing", url=self.url(item), reason=error.message)
            return ""
        return (body or b"").decode(errors="replace")

    async def texts(self, *items: str) -> list[str]:
        """Return several items, asked for at the same time."""
        return await together(*(self.text(item) for item in items))

    def url(self, item: str) -> str:
        """Return the address of an item, for people."""
        return self._service.url(f"/{self.version}/{item}")

    async def _get(self, item: str, limit: int, within: float | None = None) -> bytes | None:
        path = f"/{self.version}/{item}"
        token = await self._valid_token()
        headers = {TOKEN_HEADER: token} if token else {}
        answer = await self._service.request("GET", path, headers, limit=limit, within=within)
        if answer.status == 401 and token:
            headers = {TOKEN_HEADER: await self._valid_token(refused=token)}
            answer = await self._service.request("GET", path, headers, limit=limit)
        if answer.status == 401 and self.protocol is Protocol.TOKENS_LOST:
            raise SourceUnavailable(
                "it wants a token, but gives none in time", where=self._service.url(""), hint=HOP_LIMIT
            )
        return self._service.taken(answer, path)

    async def _valid_token(self, refused: str = "") -> str:
        """Return a token that is neither about to expire nor the one that was refused; empty if there are none."""
        async with self._renewing:
            if self.protocol in (Protocol.NO_TOKENS, Protocol.TOKENS_LOST):
                return ""
            if self._settings and (self._token == refused or self._clock() >= self._renew_at):
                await self._renew_token(self._settings)
            return self._token

    async def _renew_token(self, settings: Ec2) -> None:
        asked, headers = self._clock(), {TTL_HEADER: str(settings.token_ttl)}
        try:
            answer = await self._service.request("PUT", TOKEN_PATH, headers, within=TOKEN_TIMEOUT)
        except AnswerTimedOut as error:
            if self.protocol is Protocol.TOKENS or settings.require_imdsv2:
                raise AnswerTimedOut(error.message, where=error.where, hint=HOP_LIMIT) from None
            self.protocol = Protocol.TOKENS_LOST
            return
        body = self._service.taken(answer, TOKEN_PATH)
        if body is None:
            self._go_without(settings)
            return
        token = body.decode("ascii", errors="replace").strip()
        if not _TOKEN.fullmatch(token):
            raise SourceRefused("what it gives as token cannot be one", where=self._service.url(TOKEN_PATH))
        lifetime = answer.headers.get(TTL_HEADER, "")
        given = int(lifetime) if lifetime.isdecimal() else settings.token_ttl
        self.protocol, self._token, self._renew_at = Protocol.TOKENS, token, asked + _RENEWAL * given

    def _go_without(self, settings: Ec2) -> None:
        where = self._service.url("")
        if self.protocol is Protocol.TOKENS:
            raise SourceRefused("it gave a token before, and knows of none now", where=where)
        if settings.require_imdsv2:
            raise SourceRefused(
                "it has no IMDSv2, which the settings require",
                where=where,
                hint="set sources.ec2.require_imdsv2 = false to trust it nevertheless",
            )
        self.protocol = Protocol.NO_TOKENS
