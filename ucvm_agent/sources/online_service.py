"""The service CernVM Online: one request, and what each of its answers means (references/cernvm-online.md, 1 and 3).

The query of the request holds the PIN or context id and the checksum, both secrets; no log and no error shows it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp
import structlog

from ucvm_agent import __version__
from ucvm_agent.errors import SettingsError, SourceError, SourceRefused, SourceUnavailable
from ucvm_agent.network import http
from ucvm_agent.network.retry import retry
from ucvm_agent.sources.base import MAX_BODY
from ucvm_agent.sources.online_context import ENCRYPTED, Ticket, decrypt, read_context

if TYPE_CHECKING:
    from pathlib import Path

    from ucvm_agent.settings import CernvmOnline

log = structlog.get_logger()

PATH = "/api/context"
CONNECT_TIMEOUT = 10.0
"""Seconds for the connection, as the original waited."""
TOTAL_TIMEOUT = 60.0
"""Seconds for the whole answer."""
TRIES = 4
"""Most tries of a request that did no harm."""

RETRYABLE = frozenset({429, 502, 503, 504})
NEW_PIN = "ask for a new PIN on the page of the context; it serves once, within 5 minutes"
OTHER_SERVER = "this is another server, or a proxy: check the URL of the service"


class Unsent(SourceUnavailable):
    """The request did not leave this machine, so that it can be sent again in any case."""


class Unanswered(SourceUnavailable):
    """The request may have been heard: a PIN may be used up by it."""


class InternalFault(SourceUnavailable):
    """Status 500, by which the service means a context that it does not know, or a fault of its own."""


class WrongSecret(SourceRefused):
    """The service, or the context itself, does not accept the secret."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A status and what came with it."""

    status: int
    content_type: str
    body: bytes = field(repr=False)


def checked_url(url: str, *, insecure: bool, where: str) -> str:
    """Return the address of a service without a slash at its end; without a scheme it is one of https.

    Raises:
        SettingsError: it is no URL of https, nor one of http that is allowed explicitly.
    """
    url = url if "://" in url else f"https://{url}"
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("https", "http") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or parts.query or parts.fragment or parts.username is not None:
        raise SettingsError("not the address of a service", where=where, hint="write https://HOST")
    if parts.scheme == "http":
        if not insecure:
            raise SettingsError(
                "http:// would give the context to whoever listens",
                where=where,
                hint=f"write https://, or allow it by {where.rpartition('.')[0]}.insecure = true",
            )
        log.warning("secrets go over the network in the clear", url=url)
    return url.rstrip("/")


class OnlineService:
    """The service at one address.

    Raises:
        SettingsError: the settings name no address that it may be asked at.
    """

    def __init__(self, settings: CernvmOnline) -> None:
        self._url = checked_url(settings.url, insecure=settings.insecure, where="sources.cernvm_online.url")
        self._ca_file: Path | None = settings.ca_file
        self.where = f"{self._url}{PATH}"

    async def fetch(self, ticket: Ticket, secret: str, machine_id: str) -> bytes:
        """Return the context file for a ticket, decrypted and sound.

        Arguments:
            secret: of the context; empty if it is not encrypted.
            machine_id: UUID of this VM, by which the service knows it again.

        Raises:
            SourceUnavailable: the service cannot be reached, or has a passing fault.
            WrongSecret: another secret may help; SourceRefused: only another ticket, or another address.
        """
        query = {
            "uuid": machine_id,
            "ver": f"ucvm-agent {__version__}",
            "pin" if ticket.is_pin else "context_id": ticket.text,
            "checksum": ticket.checksum(secret),
        }
        # A PIN is used up by a request that was heard, whatever became of the answer.
        again = (Unsent,) if ticket.is_pin else (Unsent, Unanswered)
        async with http.session(connect=CONNECT_TIMEOUT, total=TOTAL_TIMEOUT, ca_file=self._ca_file) as session:

            async def ask() -> bytes:
                return await retry(lambda: self._ask(session, query, ticket), on=again, tries=TRIES)

            try:
                body = await retry(ask, on=InternalFault, tries=1 if ticket.is_pin else 2)
            except InternalFault:
                raise self._unknown(ticket) from None
        return await asyncio.to_thread(self._opened, body, secret)

    async def _ask(self, session: aiohttp.ClientSession, query: dict[str, str], ticket: Ticket) -> bytes:
        try:
            answer = await self._get(session, query)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._translated(error, ticket) from None
        self._check_status(answer, ticket)
        self._check_word(answer, ticket)
        return answer.body

    async def _get(self, session: aiohttp.ClientSession, query: dict[str, str]) -> Answer:
        headers = {"Cache-Control": "no-cache", "Accept": "text/plain"}
        async with session.get(self.where, params=query, headers=headers, allow_redirects=False) as response:
            body = await http.read_bounded(response, MAX_BODY) if response.status == 200 else b""
            return Answer(response.status, response.content_type, body)

    def _check_status(self, answer: Answer, ticket: Ticket) -> None:
        if answer.status == 500:
            raise InternalFault("it answered 500", where=self.where)
        if answer.status in RETRYABLE:
            raise Unanswered(f"it answered {answer.status}", where=self.where, hint=_after(ticket))
        if answer.status == 400:
            hint = "this is a bug of ucvm-agent, or a newer service; please report it"
            raise SourceRefused("it misses something in our request", where=self.where, hint=hint)
        if answer.status != 200:
            raise SourceRefused(f"it answered {answer.status}", where=self.where, hint=OTHER_SERVER)
        if answer.content_type != "text/plain" or answer.body.lstrip()[:1] == b"<":
            raise SourceRefused(f"{answer.content_type} came instead of a context", where=self.where, hint=OTHER_SERVER)

    def _check_word(self, answer: Answer, ticket: Ticket) -> None:
        """Raise what the first line says, if it is one of the error words."""
        word = answer.body.split(b"\n", 1)[0].strip()
        if word.startswith(ENCRYPTED) or b"=" in word:
            return
        match word:
            case b"invalid-checksum":
                message = "the service does not accept the secret"
                raise WrongSecret(message, where=self.where, hint="type the secret that was given to the context")
            case b"not-found":
                raise self._unknown(ticket)
            case b"not-authorized":
                hint = "pair it as that user, or give it a new identity"
                raise SourceRefused("this machine belongs to another user", where=self.where, hint=hint)
            case b"invalid-request":
                hint = "check what was typed; if it is right, please report this"
                raise SourceRefused("the service does not understand our request", where=self.where, hint=hint)
            case b"" if not answer.body.strip():
                hint = "save the context again at CernVM Online"
                raise SourceRefused("the context is empty", where=self.where, hint=hint)
            case _ if b" " not in word and b"\n" not in answer.body.strip():
                shown = word[:40].decode("ascii", "replace")
                raise SourceRefused(f"it answered {shown!r}, which this version does not know", where=self.where)

    def _unknown(self, ticket: Ticket) -> SourceRefused:
        if ticket.is_pin:
            return SourceRefused("no context waits for this PIN", where=self.where, hint=NEW_PIN)
        hint = "copy the context id anew from CernVM Online; it may have been deleted"
        return SourceRefused("the service does not know this context", where=self.where, hint=hint)

    def _opened(self, body: bytes, secret: str) -> bytes:
        encrypted = body.startswith(ENCRYPTED)
        try:
            text = decrypt(body, secret) if encrypted else body
            read_context(text)
        except SourceRefused as error:
            kind = WrongSecret if encrypted else SourceRefused
            raise kind(error.message, where=self.where, hint=error.hint) from None
        return text

    def _translated(self, error: Exception, ticket: Ticket) -> SourceError:
        match error:
            case http.AnswerRefused():
                return SourceRefused(str(error), where=self.where)
            case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
                message = f"its TLS certificate is not trusted ({http.certificate_fault(error)})"
                hint = "name its authority by ca_file, or set the clock of this machine"
                return SourceRefused(message, where=self.where, hint=hint)
            case aiohttp.ClientConnectorError() | aiohttp.ConnectionTimeoutError():
                return Unsent("no connection", where=self.where, hint="check network, proxy and firewall")
            case TimeoutError():
                return Unanswered("no answer in time", where=self.where, hint=_after(ticket))
            case aiohttp.ClientResponseError():
                return SourceRefused("what it answers is not HTTP", where=self.where, hint=OTHER_SERVER)
            case _:
                message = "the connection broke off before the answer was complete"
                return Unanswered(message, where=self.where, hint=_after(ticket))


def _after(ticket: Ticket) -> str:
    return f"the PIN may be used up: {NEW_PIN}" if ticket.is_pin else ""
