"""CernVM Online as a source, against a service built to references/cernvm-online.md, in good days and bad ones."""

from __future__ import annotations

import asyncio
import os
import ssl
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from aiohttp import web
from pydantic import SecretStr

from tests.servers.imds import KEY
from tests.servers.online import CONTEXT_ID, Online, context_file
from ucvm_agent.errors import SettingsError, SourceAbsent, SourceError, SourceRefused, SourceUnavailable
from ucvm_agent.settings import CernvmOnline
from ucvm_agent.sources import online_service
from ucvm_agent.sources.cernvm_online import PAIRED, Source
from ucvm_agent.sources.machine import Machine
from ucvm_agent.sources.online_context import Ticket
from ucvm_agent.sources.online_service import OnlineService, WrongSecret
from ucvm_agent.store.store import Store

CONTEXT = context_file(b"#cloud-config\nhostname: w\n", root_key=KEY)
VM = "0b7ad1f4-5d6f-4a0e-9d8c-0d6c5f1a2b3c"


def settings(online: Online, key: str = CONTEXT_ID, **more: object) -> CernvmOnline:
    return CernvmOnline.model_validate({"url": online.url, "key": key, "insecure": True, **more})


async def pair(online: Online, pin: str, secret: str = "") -> bytes:
    return await OnlineService(settings(online)).fetch(Ticket.parse(pin), secret, VM)


async def test_a_context_by_its_id() -> None:
    """User-data and root's key; the VM is known to the service by its UUID, which does not change."""
    async with Online() as online:
        online.offer(CONTEXT, ticket=CONTEXT_ID)
        source = Source(settings(online))
        found, again = await source.fetch(), await source.fetch()
    assert found == again
    assert found.user_data == b"#cloud-config\nhostname: w\n"
    assert len(found.metadata.public_keys) == 1
    assert found.metadata.public_keys[0] in KEY
    assert found.metadata.instance_id == ""
    assert {uuid.UUID(machine).version for machine in online.machines} == {5}
    assert list(online.machines.values()) == ["C"]
    assert CONTEXT_ID not in found.origin


async def test_the_identity_of_the_store(tmp_path: Path) -> None:
    """Where an agent has run, the service gets the machine id that controllers know."""
    store = Store(tmp_path / "state.db", "boot")
    store.close()
    async with Online() as online:
        online.offer(CONTEXT, ticket=CONTEXT_ID)
        await Source(settings(online), tmp_path).fetch()
    assert list(online.machines) == [store_id(tmp_path)]


def store_id(folder: Path) -> str:
    store = Store(folder / "state.db", "boot")
    try:
        return store.machine_id
    finally:
        store.close()


@pytest.mark.parametrize("digest", ["md5", "sha256"])
async def test_an_encrypted_context_by_id_and_secret(digest: str, tmp_path: Path) -> None:
    """From the settings, or from a file of which the settings tell; the secret is all after the first colon."""
    file = tmp_path / "key"
    file.write_text(f"{CONTEXT_ID}:hig:gs\n")
    async with Online() as online:
        online.offer(CONTEXT, secret="hig:gs", ticket=CONTEXT_ID, digest=digest)
        for source in (
            Source(settings(online, f"{CONTEXT_ID}:hig:gs")),
            Source(settings(online, "", key_file=file)),
        ):
            assert (await source.fetch()).user_data == b"#cloud-config\nhostname: w\n"
        with pytest.raises(WrongSecret, match="does not accept the secret"):
            await Source(settings(online, f"{CONTEXT_ID}:wrong")).fetch()


@pytest.mark.parametrize("secret", ["", "higgs"])
async def test_a_pin_serves_once(secret: str) -> None:
    """Its last digit tells whether to ask for a secret; a wrong secret does not use it up."""
    async with Online() as online:
        pin = online.offer(CONTEXT, secret=secret)
        assert Ticket.parse(pin).is_encrypted is bool(secret)
        if secret:
            with pytest.raises(WrongSecret):
                await pair(online, pin, "wrong")
        assert await pair(online, pin, secret) == CONTEXT
        with pytest.raises(SourceRefused, match=r"no context waits for this PIN.*ask for a new PIN"):
            await pair(online, pin, secret)
    assert online.machines == {VM: "P"}


async def test_a_paired_context_is_used_without_asking(tmp_path: Path) -> None:
    """Even if the settings name another one: a person has chosen."""
    (tmp_path / PAIRED).write_bytes(CONTEXT)
    async with Online() as online:
        source = Source(settings(online), tmp_path)
        assert source.candidate(Machine()).likely is True
        assert (await source.fetch()).user_data == b"#cloud-config\nhostname: w\n"
    assert online.queries == []


async def test_nothing_to_go_by(tmp_path: Path) -> None:
    """Without a PIN and a key it is no candidate, and says what it waits for."""
    source = Source(CernvmOnline(), tmp_path)
    assert source.candidate(Machine()).likely is False
    with pytest.raises(SourceAbsent, match=r"waiting-for-pin.*ucvm-agent pair"):
        await source.fetch()


def text(body: str, content_type: str = "text/plain", status: int = 200) -> Callable[[], web.Response]:
    return lambda: web.Response(text=body, content_type=content_type, status=status)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (text("invalid-checksum"), "does not accept the secret"),
        (text("invalid-checksum\r\n"), "does not accept the secret"),
        (text("not-found"), "does not know this context"),
        (text("not-authorized \n"), "belongs to another user"),
        (text("invalid-request\n"), "does not understand"),
        (text("gone-fishing\n"), "gone-fishing"),
        (text(""), "empty"),
        (text("\n\n"), "empty"),
        (text("some words that are no context\n"), "lacks EC2_USER_DATA"),
        (text("EC2_USER_DATA=!!\n"), "no base64"),
        (text("ENCRYPTED:AAAA"), "damaged"),
        (text("<html>Log in</html>", "text/html"), "another server, or a proxy"),
        (text("<html>Log in</html>"), "another server, or a proxy"),
        (text(CONTEXT.decode(), "application/octet-stream"), "another server, or a proxy"),
        (text("", status=400), "misses something"),
        (text("", status=404), "answered 404"),
        (lambda: web.Response(status=302, headers={"Location": "http://169.254.169.254/x"}), "answered 302"),
    ],
)
async def test_each_refusal_says_what_to_do(answer: Callable[[], web.Response], said: str) -> None:
    """A sentence for each of the service's words and for what is not the service; one request is enough for it."""
    async with Online(answer=answer) as online:
        with pytest.raises(SourceRefused, match=said) as caught:
            await Source(settings(online)).fetch()
    assert len(online.queries) == 1
    assert caught.value.hint or "gone-fishing" in said or "lacks" in said


async def test_more_than_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer beyond the bound is not read to its end."""
    monkeypatch.setattr(online_service, "MAX_BODY", 100)
    async with Online(answer=text("EC2_USER_DATA=" + "A" * 200)) as online:
        with pytest.raises(SourceRefused, match="more than the 100"):
            await Source(settings(online)).fetch()


@pytest.mark.parametrize("failure", [429, 502, 503, 504])
async def test_a_passing_fault_passes(failure: int) -> None:
    """By id the request is sent again; a PIN may be used up by it, and its owner has to be told."""
    async with Online(failures=2, failure=failure) as online:
        online.offer(CONTEXT, ticket=CONTEXT_ID)
        assert (await Source(settings(online)).fetch()).user_data
        assert len(online.queries) == 3
        online.failures = 1
        with pytest.raises(SourceUnavailable, match="may be used up"):
            await pair(online, online.offer(CONTEXT))
        assert len(online.queries) == 4


async def test_half_an_answer() -> None:
    """By id it is fetched again; by PIN it is lost."""
    async with Online(broken=1) as online:
        online.offer(CONTEXT, ticket=CONTEXT_ID)
        assert (await Source(settings(online)).fetch()).user_data
        online.broken = 1
        with pytest.raises(SourceUnavailable, match=r"broke off.*may be used up"):
            await pair(online, online.offer(CONTEXT))


async def test_an_unknown_id_is_asked_for_twice() -> None:
    """The service says 500 to it, which may mean something else."""
    async with Online() as online:
        with pytest.raises(SourceRefused, match="does not know this context"):
            await Source(settings(online)).fetch()
    assert len(online.queries) == 2


async def test_a_service_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its time is bounded, and cancellation ends it at once."""
    monkeypatch.setattr(online_service, "TOTAL_TIMEOUT", 0.2)
    monkeypatch.setattr(online_service, "TRIES", 2)
    async with Online(silent=True) as online:
        with pytest.raises(SourceUnavailable, match="no answer in time"):
            await Source(settings(online)).fetch()
        assert len(online.queries) == 2
        monkeypatch.setattr(online_service, "TOTAL_TIMEOUT", 60.0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await Source(settings(online)).fetch()


async def test_nobody_there_and_no_http(dead_end: str, garbage: str) -> None:
    """No connection may pass, what is not HTTP does not."""
    with pytest.raises(SourceUnavailable, match="no connection"):
        await OnlineService(CernvmOnline(url=dead_end, insecure=True)).fetch(Ticket("123456"), "", VM)
    with pytest.raises(SourceError, match="not HTTP"):
        await OnlineService(CernvmOnline(url=garbage, insecure=True)).fetch(Ticket("123456"), "", VM)


async def test_tls_is_verified(tmp_path: Path) -> None:
    """Against the system's roots, or the authority of the settings."""
    authority = trustme.CA()
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    async with Online(tls=context) as online:
        online.offer(CONTEXT, ticket=CONTEXT_ID)
        with pytest.raises(SourceRefused, match="certificate is not trusted"):
            await Source(settings(online, insecure=False)).fetch()
        assert online.queries == []
        assert (await Source(settings(online, insecure=False, ca_file=ca_file)).fetch()).user_data


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://online.example.org", "insecure = true"),
        ("https://h:x", "not the address"),
    ],
)
def test_addresses_that_are_not_asked(url: str, said: str) -> None:
    """Without TLS only on request."""
    with pytest.raises(SettingsError, match=said):
        OnlineService(CernvmOnline(url=url))


@pytest.mark.parametrize("key", ["123456:x", "nonsense"])
async def test_a_key_that_is_none(key: str) -> None:
    """A PIN in the settings would serve for one boot only."""
    with pytest.raises(SettingsError) as caught:
        await Source(CernvmOnline(key=SecretStr(key))).fetch()
    assert key not in str(caught.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
def test_an_unprivileged_dry_run_is_not_told(tmp_path: Path) -> None:
    """Whether something was paired is root's business; that is no crash of the source."""
    (tmp_path / "state").mkdir(mode=0o700)
    os.seteuid(65534)
    try:
        candidate = Source(CernvmOnline(), tmp_path / "state").candidate(Machine())
    finally:
        os.seteuid(0)
    assert (candidate.likely, "only root" in candidate.why) == (None, True)
