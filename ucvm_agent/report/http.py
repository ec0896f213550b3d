"""A controller that is told by HTTP: one POST of JSON an event."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack

import aiohttp

from ucvm_agent.errors import DeliveryDelayed, DeliveryRefused, SettingsError
from ucvm_agent.events import Event
from ucvm_agent.network.http import certificate_fault, seconds_of, session
from ucvm_agent.report.base import Reporter
from ucvm_agent.settings import Http

PASSING = frozenset({408, 425, 429})
"""Statuses below 500 that ask for another try (RFC 9110, RFC 8470, RFC 6585)."""

MENDABLE = frozenset({401, 403, 404})
"""Statuses that tell of a wrong token or a wrong URL, at one end or the other: nothing may be lost for them."""


class HttpReporter(Reporter):
    """One URL that takes events.

    Arguments:
        settings: `[http]`.
    """

    def __init__(self, settings: Http) -> None:
        super().__init__(f"http:{settings.url}")
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None
        self._open = AsyncExitStack()

    async def send(self, event: Event) -> None:
        """POST the event; its id is the `Idempotency-Key`, by which the receiver can drop a second copy.

        Raises:
            DeliveryDelayed: no connection, or an answer that may change.
            DeliveryRefused: the answer says that this event will never be taken.
        """
        headers = {"Content-Type": "application/json", "Idempotency-Key": event.id, **await self._authorization()}
        client = await self._client()
        try:
            async with client.post(
                self._settings.url, data=event.model_dump_json().encode(), headers=headers, allow_redirects=False
            ) as response:
                judge(response.status, response.headers.get("Retry-After", ""))
        except aiohttp.ConnectionTimeoutError:
            raise DeliveryDelayed("no connection in time") from None
        except TimeoutError:
            raise DeliveryDelayed("no answer in time") from None
        except (aiohttp.ClientError, OSError) as error:
            raise DeliveryDelayed(f"cannot be reached: {_explain(error)}") from None

    async def close(self) -> None:
        """Close the connections."""
        self._session = None
        await self._open.aclose()

    async def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            try:
                self._session = await self._open.enter_async_context(
                    session(ca_file=self._settings.ca_file, verify=self._settings.verify)
                )
            except SettingsError as error:
                raise DeliveryDelayed(str(error)) from error
        return self._session

    async def _authorization(self) -> dict[str, str]:
        """Read the token anew each time, for it may be one that somebody renews."""
        token = self._settings.token.get_secret_value()
        if self._settings.token_file is not None:
            try:
                token = (await asyncio.to_thread(self._settings.token_file.read_text, "utf-8")).strip()
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "is not text"
                raise DeliveryDelayed(f"token file: {reason}", where=str(self._settings.token_file)) from None
        if not (token.isascii() and token.isprintable()):
            raise DeliveryDelayed("the token has characters that no header may have", hint="check http.token")
        return {"Authorization": f"Bearer {token}"} if token else {}


def _explain(error: aiohttp.ClientError | OSError) -> str:
    """Return the cause; the error's own text repeats the URL."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"TLS failed: {certificate_fault(error)}"
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        return os.strerror(error.errno)  # asyncio's words repeat its arguments
    return error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__


def judge(status: int, retry_after: str) -> None:
    """Return if a status means delivered.

    Raises:
        DeliveryDelayed: it does not, but another try may; a redirect counts here, since it is not followed.
        DeliveryRefused: the controller does not want this event.
    """
    if 200 <= status < 300:
        return
    if 400 <= status < 500 and status not in PASSING | MENDABLE:
        raise DeliveryRefused(f"HTTP status {status}")
    hint = ""
    if 300 <= status < 400:
        hint = "redirects are not followed; set http.url to the final address"
    elif status in MENDABLE:
        hint = "check http.url and http.token"
    raise DeliveryDelayed(f"HTTP status {status}", hint=hint, after=seconds_of(retry_after))
