"""Who may ask, and how every answer is dressed: the middlewares of the site."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import socket
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from multidict import CIMultiDict

from ucvm_agent.controller.web.operation import BadFields, Problem
from ucvm_agent.errors import (
    DeliveryError,
    JobExists,
    LedgerError,
    OrderError,
    SettingsError,
    StoreError,
    UcvmError,
    UsageError,
)
from ucvm_agent.files import private_file

log = structlog.get_logger()

STATUSES: tuple[tuple[type[UcvmError], HTTPStatus], ...] = (
    (JobExists, HTTPStatus.CONFLICT),
    (UsageError, HTTPStatus.BAD_REQUEST),
    (OrderError, HTTPStatus.CONFLICT),
    (LedgerError, HTTPStatus.SERVICE_UNAVAILABLE),
    (StoreError, HTTPStatus.SERVICE_UNAVAILABLE),
    (DeliveryError, HTTPStatus.SERVICE_UNAVAILABLE),
)
"""How each error is told; the first that fits."""

HINTS: Mapping[int, str] = {
    HTTPStatus.UNAUTHORIZED: "send `Authorization: Bearer TOKEN`, with what the file http.token_file holds",
    HTTPStatus.MISDIRECTED_REQUEST: "if it was meant for this controller, set http.public_url to the address in use",
}
"""What to do about what the web server itself tells."""

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Of every answer. Whatever a job or a VM has written must not become a script of the page."""


def load_token(path: Path) -> str:
    """Return the token in a file; make one (0600) if there is none. May block.

    Raises:
        SettingsError: the file cannot be read or made, or holds no token.
    """
    try:
        if not path.exists():
            private_file.make(path, f"{secrets.token_urlsafe(24)}\n".encode())
        private_file.tighten(path)
        token = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not ASCII"
        raise SettingsError(f"the token cannot be read or made: {reason}", where=str(path)) from None
    if len(token) < 16 or not token.isprintable() or " " in token:
        hint = "move it away to have one made"
        raise SettingsError("not a token of at least 16 characters", where=str(path), hint=hint)
    return token


def bears(request: web.Request, token: str) -> bool:
    """Whether a request shows a token; an empty one is nobody's."""
    scheme, _, shown = request.headers.get("Authorization", "").partition(" ")
    equal = hmac.compare_digest(shown.strip().encode(errors="replace"), token.encode())
    return equal and bool(token) and scheme.lower() == "bearer"


def stranger() -> web.HTTPUnauthorized:
    """Return what whoever shows no good token is told."""
    return web.HTTPUnauthorized(reason="no good token", headers={"WWW-Authenticate": 'Bearer realm="ucvm-controller"'})


def only_with(token: str, handler: Handler) -> Handler:
    """Return a handler for those who show a token."""

    async def check(request: web.Request) -> web.StreamResponse:
        if not bears(request, token):
            raise stranger()
        return await handler(request)

    return check


class Hosts:
    """The names of this site. Others are how a web page that somebody looks at gets at it (DNS rebinding).

    Arguments:
        public_url: at which agents reach it; empty if they do not.
    """

    def __init__(self, public_url: str) -> None:
        self._names = {"localhost", socket.gethostname().lower(), (urlsplit(public_url).hostname or "").lower()}

    def __contains__(self, header: object) -> bool:
        """Whether a `Host` header names this site; an address cannot be rebound."""
        try:
            name = urlsplit(f"//{header}").hostname or ""
        except ValueError:
            return False
        return bool(name) and (name in self._names or _is_address(name))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def only_for(hosts: Hosts) -> Middleware:
    """Refuse requests for other sites."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.headers.get("Host", "") not in hosts:
            hint = HINTS[HTTPStatus.MISDIRECTED_REQUEST]
            log.warning("a request for another site was refused", peer=request.remote, hint=hint)
            raise web.HTTPMisdirectedRequest(reason="this is another site")
        return await handler(request)

    return check


@web.middleware
async def tell_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every refusal into a `Problem`."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < HTTPStatus.BAD_REQUEST:
            raise
        hint = HINTS.get(error.status, "")
        return _told(error.status, Problem(error=error.reason, hint=hint), error.headers)
    except UcvmError as error:
        status = next((status for kind, status in STATUSES if isinstance(error, kind)), None)
        if status is None:
            raise
        text = f"{error.where}: {error.message}" if error.where else error.message
        fields = error.fields if isinstance(error, BadFields) else {}
        return _told(status, Problem(error=text, hint=error.hint, fields=fields))


def _told(status: int, problem: Problem, headers: CIMultiDict[str] | None = None) -> web.Response:
    kept = {name: value for name, value in (headers or {}).items() if name in ("WWW-Authenticate", "Allow")}
    return web.json_response(text=problem.model_dump_json(), status=status, headers=kept)


async def dress(_: web.Request, response: web.StreamResponse) -> None:
    """Give an answer the headers that all have."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
