"""Reports to a real HTTP server that fails in every way."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import trustme
from aiohttp import web
from hypothesis import example, given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from ucvm_agent.errors import DeliveryDelayed, DeliveryError, DeliveryRefused
from ucvm_agent.events import Event, Note
from ucvm_agent.network.http import RETRY_AFTER_LIMIT, seconds_of
from ucvm_agent.report.http import HttpReporter
from ucvm_agent.settings import Http

EVENT = Event(
    id="5f0c", machine_id="m", boot_id="b", seq=1, time=datetime.now(UTC), monotonic=1.0, body=Note(message="µ")
)


class Hook:
    """A controller by HTTP: keeps what it got, and answers with what it is told."""

    def __init__(self) -> None:
        self.got: list[tuple[str, str, Event]] = []
        self.status = 204
        self.headers: dict[str, str] = {}
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        event = Event.model_validate_json(await request.read())
        self.got.append((request.headers.get("Authorization", ""), request.headers["Idempotency-Key"], event))
        return web.Response(status=self.status, headers=self.headers)


@asynccontextmanager
async def serve(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]], context: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """Serve on loopback; yields the URL."""
    application = web.Application()
    application.router.add_post("/events", handler)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    try:
        yield f"{'https' if context else 'http'}://127.0.0.1:{runner.addresses[0][1]}/events"
    finally:
        await runner.cleanup()


@pytest.fixture
async def hook() -> AsyncIterator[Hook]:
    hook = Hook()
    async with serve(hook.answer) as url:
        hook.url = url
        yield hook


@asynccontextmanager
async def reporting(url: str, **settings: object) -> AsyncIterator[HttpReporter]:
    reporter = HttpReporter(Http.model_validate({"url": url} | settings))
    try:
        yield reporter
    finally:
        await reporter.close()


async def test_an_event_is_posted_with_its_key_and_token(hook: Hook, tmp_path: Path) -> None:
    """The token may be in a file that changes; no log line holds it."""
    token = tmp_path / "token"
    token.write_text("secret-1\n")
    with capture_logs() as logs:
        async with reporting(hook.url, token_file=token) as reporter:
            await reporter.send(EVENT)
            token.write_text("secret-2\n")
            await reporter.send(EVENT)
    assert hook.got == [("Bearer secret-1", "5f0c", EVENT), ("Bearer secret-2", "5f0c", EVENT)]
    assert "secret" not in repr(logs)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, None),
        (202, None),
        (301, DeliveryDelayed),
        (400, DeliveryRefused),
        (401, DeliveryDelayed),
        (403, DeliveryDelayed),
        (404, DeliveryDelayed),
        (408, DeliveryDelayed),
        (410, DeliveryRefused),
        (413, DeliveryRefused),
        (422, DeliveryRefused),
        (425, DeliveryDelayed),
        (429, DeliveryDelayed),
        (500, DeliveryDelayed),
        (503, DeliveryDelayed),
    ],
)
async def test_the_status_decides(hook: Hook, status: int, outcome: type[DeliveryError] | None) -> None:
    """Delivered, worth another try, or never; redirects are not followed."""
    hook.status = status
    hook.headers = {"Location": "/events"} if status == 301 else {}
    async with reporting(hook.url) as reporter:
        if outcome is None:
            await reporter.send(EVENT)
        else:
            with pytest.raises(outcome, match=str(status)):
                await reporter.send(EVENT)
    assert len(hook.got) == 1


async def test_a_controller_may_ask_for_time(hook: Hook) -> None:
    """`Retry-After` is followed."""
    hook.status, hook.headers = 503, {"Retry-After": "17"}
    async with reporting(hook.url) as reporter:
        with pytest.raises(DeliveryDelayed) as delayed:
            await reporter.send(EVENT)
    assert delayed.value.after == 17.0


async def test_a_controller_that_is_not_there_is_a_delay(tmp_path: Path) -> None:
    """As is one that hangs up, a missing token file and a file of certificates without any."""

    async def hang_up(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with serve(hang_up) as url, reporting(url) as reporter:
        with pytest.raises(DeliveryDelayed, match="cannot be reached"):
            await reporter.send(EVENT)
    async with reporting(url) as reporter:
        with pytest.raises(DeliveryDelayed, match="cannot be reached"):
            await reporter.send(EVENT)
    async with reporting(url, token_file=tmp_path / "none") as reporter:
        with pytest.raises(DeliveryDelayed, match="token file"):
            await reporter.send(EVENT)
    async with reporting(url, ca_file=tmp_path / "none") as reporter:
        with pytest.raises(DeliveryDelayed, match="none"):
            await reporter.send(EVENT)


async def test_a_token_that_no_header_can_hold_is_a_delay(hook: Hook, tmp_path: Path) -> None:
    """Two lines, for example; the reason does not quote it."""
    token = tmp_path / "token"
    token.write_text("secret\nsecret\n")
    async with reporting(hook.url, token_file=token) as reporter:
        with pytest.raises(DeliveryDelayed, match="characters") as delayed:
            await reporter.send(EVENT)
    assert "secret" not in str(delayed.value)
    assert hook.got == []


async def test_a_server_that_we_do_not_trust_gets_nothing(tmp_path: Path) -> None:
    """With its authority in `ca_file` or with `verify = false` the same server is told."""
    hook, authority = Hook(), trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    async with serve(hook.answer, context) as url:
        async with reporting(url) as reporter:
            with pytest.raises(DeliveryDelayed, match="TLS failed: unable to get local issuer certificate"):
                await reporter.send(EVENT)
        assert hook.got == []
        async with reporting(url, ca_file=tmp_path / "ca.pem") as reporter:
            await reporter.send(EVENT)
        async with reporting(url, verify=False) as reporter:
            await reporter.send(EVENT)
    assert len(hook.got) == 2


def test_a_date_to_retry_after_is_understood() -> None:
    """Within the limit, and never negative."""
    soon = datetime.now(UTC) + timedelta(seconds=60)
    assert 50 < seconds_of(format_datetime(soon, usegmt=True)) <= 60
    assert seconds_of(format_datetime(soon - timedelta(days=1), usegmt=True)) == 0.0
    assert seconds_of("86400") == RETRY_AFTER_LIMIT


@given(st.text())
@example("Mon, 01 Jan 2024 00:00:00 +99999999999999")
@example(f"Mon, {'9' * 20} Jan 2024 00:00:00 GMT")
def test_no_retry_after_makes_us_fail_or_wait_too_long(text: str) -> None:
    """It is a stranger's text."""
    assert 0.0 <= seconds_of(text) <= RETRY_AFTER_LIMIT
