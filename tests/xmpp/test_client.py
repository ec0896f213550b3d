"""The connection against a real Prosody: login, trust, loss and return."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from xml.etree.ElementTree import Element

import pytest
from pydantic import ValidationError
from structlog.testing import capture_logs
from tenacity import wait_fixed

from tests.servers.controller import Controller
from tests.servers.prosody import Prosody
from tests.xmpp.conftest import MACHINE, PASSWORD, Connect
from ucvm_agent.errors import DeliveryDelayed, SettingsError
from ucvm_agent.network.retry import waits
from ucvm_agent.settings import Xmpp
from ucvm_agent.xmpp import client, stream
from ucvm_agent.xmpp.client import Connection
from ucvm_agent.xmpp.presence import Show
from ucvm_agent.xmpp.stream import MAX_STANZA


def message_to(jid: str, id: str) -> Element:  # noqa: A002 - as the attribute is called
    return Element("{jabber:client}message", {"to": jid, "id": id})


async def test_it_logs_in_and_the_server_acknowledges(connect: Connect, prosody: Prosody) -> None:
    """A message that was sent is taken over by the server, and one to ourselves comes back."""
    async with connect() as (connection, ear):
        assert await ear.next("started") is False
        assert connection.connected
        assert connection.jid == prosody.jid("agent") + "/ucvm-01234567"
        connection.send(message_to(prosody.jid("agent"), "m1"))
        assert (await ear.next("received")).get("id") == "m1"
        while await ear.next("acknowledged") != "m1":
            pass


async def test_what_is_said_at_once_is_acknowledged_at_once(connect: Connect, prosody: Prosody) -> None:
    """The server takes many messages over in order, and is asked about all of them together."""
    async with connect() as (connection, ear):
        await ear.next("started")
        names = [f"m{number}" for number in range(50)]
        for name in names:
            connection.send(message_to(prosody.jid("jm"), name))
        taken = [await ear.next("acknowledged") for _ in ["our presence", *names]]
        assert taken[1:] == names
    assert 0 < prosody.log_text().count("Received[c2s]: <r ") < 10


async def test_a_server_that_we_do_not_trust_gets_nothing(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown authority is refused before the password is sent; the reason is plain, and we go on trying."""
    monkeypatch.setattr(client, "LASTING", wait_fixed(0))
    with capture_logs() as logs:
        async with connect(ca_file=None) as (connection, ear):
            assert "unable to get local issuer certificate" in await ear.next("lost")
            await ear.next("lost")
            assert connection.lost.reason.startswith("TLS failed")
    assert not [line for line in logs if line.get("stanza") == "auth"]


async def test_a_certificate_for_another_name_is_refused(tmp_path: Path, connect: Connect) -> None:
    """The certificate has to name the JID's domain, whatever address we connect to."""
    folder = tmp_path / "other"
    folder.mkdir()
    async with (
        Prosody(folder, {"agent": PASSWORD}, certified="other.example") as other,
        connect(port=other.port, ca_file=other.ca_file) as (_, ear),
    ):
        assert "site.example" in await ear.next("lost")


async def test_an_unverified_connection_works_and_warns(connect: Connect) -> None:
    """`verify = false` is the operator's word, and it is on record."""
    with capture_logs() as logs:
        async with connect(ca_file=None, verify=False) as (_, ear):
            await ear.next("started")
    assert [line["log_level"] for line in logs if line["event"] == "xmpp certificate is not verified"] == ["warning"]


async def test_a_server_without_tls_gets_nothing(tmp_path: Path, connect: Connect) -> None:
    """Nothing but the wish for TLS is ever sent in the clear."""
    folder = tmp_path / "plain"
    folder.mkdir()
    with capture_logs() as logs:
        async with Prosody(folder, {"agent": PASSWORD}, tls=False) as plain, connect(port=plain.port) as (_, ear):
            assert await ear.next("lost") == "the server offers no TLS"
    assert not [line for line in logs if line["event"] == "xmpp stanza sent"]


async def test_a_wrong_password_is_tried_again_but_seldom(
    connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason is plain, the waiting time starts high, and a mended password file is taken up."""
    file = tmp_path / "password"
    file.write_text("wrong\n")
    monkeypatch.setattr(client, "LASTING", wait_fixed(0.5))
    with capture_logs() as logs:
        async with connect(waits(0.05, 0.1), password_file=file) as (_, ear):
            assert "login refused: not-authorized (check" in await ear.next("lost")
            file.write_text(PASSWORD + "\n")
            await ear.next("started")
    line = next(line for line in logs if line["event"] == "xmpp not connected")
    assert line["reason"].startswith("login refused")
    assert line["retry_seconds"] == 0.5


async def test_a_missing_password_file_is_a_reason_and_no_crash(connect: Connect, tmp_path: Path) -> None:
    """It may appear later."""
    async with connect(password_file=tmp_path / "none") as (_, ear):
        assert "none" in await ear.next("lost")


async def test_a_lost_stream_is_resumed(connect: Connect, prosody: Prosody) -> None:
    """After a broken TCP connection the same session goes on, and what was under way arrives."""
    async with connect() as (connection, ear):
        await ear.next("started")
        connection.send(message_to(prosody.jid("agent"), "m1"))
        break_stream(connection)
        await ear.next("lost")
        assert await ear.next("started") is True
        assert "hibernat" in prosody.log_text().lower()
        assert (await ear.next("received")).get("id") == "m1"
        while await ear.next("acknowledged") != "m1":
            pass


async def test_waits_begin_anew_after_a_session(connect: Connect) -> None:
    """However often the connection was lost before, the first wait is a short one."""
    with capture_logs() as logs:
        async with connect(waits(0.01, 60.0)) as (connection, ear):
            for _ in range(12):
                await ear.next("started")
                break_stream(connection)
                await ear.next("lost")
            await ear.next("started")
    assert [line["retry_seconds"] for line in logs if line["event"] == "xmpp not connected"] == [0.0] * 12


async def test_a_silent_network_is_noticed(connect: Connect, prosody: Prosody, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ping without an answer ends the stream, and the session is resumed when the network speaks again."""
    monkeypatch.setattr(stream, "PING_SECONDS", 0.2)
    monkeypatch.setattr(stream, "PING_ANSWER_SECONDS", 0.2)
    async with connect() as (_, ear):
        await ear.next("started")
        prosody.freeze()
        try:
            assert (await ear.next("lost")).startswith("Ping timeout")
        finally:
            prosody.thaw()
        await ear.next("started")


async def test_a_newer_session_under_the_same_address_is_not_fought(connect: Connect) -> None:
    """The one that was pushed out knows why, and waits long."""
    async with connect(waits(0.05, 60.0)) as (_, first):
        await first.next("started")
        async with connect() as (_, second):
            await second.next("started")
            assert await first.next("lost") == "the server ended the stream: conflict"


@pytest.mark.parametrize("kind", ["stop", "kill"])
async def test_a_restarted_server_gets_us_back(connect: Connect, prosody: Prosody, kind: str) -> None:
    """However it went away; until then sending says why it cannot."""
    async with connect() as (connection, ear):
        await ear.next("started")
        await (prosody.stop() if kind == "stop" else prosody.kill())
        await ear.next("lost")
        with pytest.raises(DeliveryDelayed, match="no XMPP connection"):
            connection.send(message_to(prosody.jid("agent"), "m1"))
        await prosody.start()
        await ear.next("started")
        connection.send(message_to(prosody.jid("agent"), "m2"))
        assert (await ear.next("received")).get("id") == "m2"


async def test_a_controller_that_subscribes_sees_the_status(connect: Connect, prosody: Prosody) -> None:
    """It sees each change, the present status after our reconnection, and at once that we stopped."""
    agent = prosody.jid("agent")
    controller = Controller(prosody.jid("jm"), "pw", prosody.host, prosody.port, prosody.ca_file, watch=(agent,))
    async with controller:
        async with connect() as (connection, ear):
            await ear.next("started")
            connection.presence.set_status(Show.BUSY, "contextualizing: 3 of 5")
            await expect(controller, ("dnd", "contextualizing: 3 of 5"))
            break_stream(connection)
            connection.presence.set_status(Show.CHAT, "ready")
            await expect(controller, ("chat", "ready"))
        await expect(controller, ("unavailable", ""))


@pytest.mark.parametrize("show", Show)
async def test_another_is_seen_however_it_is_there(connect: Connect, prosody: Prosody, show: Show) -> None:
    """Busy, away or free: who watches learns that it is there, and that it has gone."""
    seen: asyncio.Queue[tuple[str, bool]] = asyncio.Queue()
    async with connect(jid=prosody.jid("jm"), password="pw", controllers=()) as (watcher, ear):
        await ear.next("started")
        watcher.presence.watch(lambda jid, there: seen.put_nowait((jid, there)))
        async with connect() as (connection, ear):
            connection.presence.set_status(show, "")
            await ear.next("started")
            watcher.presence.subscribe(prosody.jid("agent"))
            async with asyncio.timeout(10):
                while await seen.get() != (connection.jid, True):
                    pass
        async with asyncio.timeout(10):
            while await seen.get() != (connection.jid, False):
                pass


async def test_a_stranger_may_not_watch(connect: Connect, prosody: Prosody) -> None:
    """Only the controllers in the settings see the status."""
    agent = prosody.jid("agent")
    async with (
        connect(controllers=()) as (_, ear),
        Controller(prosody.jid("jm"), "pw", prosody.host, prosody.port, prosody.ca_file, watch=(agent,)) as stranger,
    ):
        await ear.next("started")
        # Though we are there; Prosody puts the refusal so.
        assert await asyncio.wait_for(stranger.presences.get(), 10) == ("unavailable", "")


async def test_the_end_is_orderly_and_quick(
    connect: Connect, prosody: Prosody, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled, it closes the stream, so that the server keeps no session for it; nothing is waited for in vain."""
    monkeypatch.setattr(client, "CLOSE_SECONDS", 60.0)
    async with connect() as (_, ear):
        await ear.next("started")
        begun = time.monotonic()
    assert time.monotonic() - begun < 30
    assert not [task for task in asyncio.all_tasks() if "slixmpp" in repr(task)]
    await prosody.stop()
    assert "hibernat" not in prosody.log_text().lower()


@pytest.mark.parametrize("jid", ["", "site.example", "@", "a@b@c", "agent@"])
def test_what_is_no_account_is_a_mistake_in_the_settings(jid: str) -> None:
    """It is told at the start."""
    with pytest.raises((ValidationError, SettingsError)):
        Connection(Xmpp(jid=jid), "0123456789")


async def test_a_server_that_injects_before_tls_is_left(connect: Connect) -> None:
    """A message or a redirection that comes in the clear is nobody's; we hang up and do not follow."""
    async for port in speaking(b"<message from='jm@site.example'><body/></message>"):
        async with connect(port=port) as (_, ear):
            assert await ear.next("lost") == "the server sent message before TLS"
    redirect = (
        b"<stream:error><see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>evil.example</see-other-host>"
        b"</stream:error>"
    )
    async for port in speaking(redirect):
        async with connect(port=port) as (_, ear):
            assert await ear.next("lost") == "the server ended the stream: see-other-host"


async def test_a_stanza_without_end_is_not_kept(connect: Connect) -> None:
    """Whoever speaks for the server cannot fill the memory, before TLS least of all."""
    async for port in speaking(b"<message><body>" + b"x" * (2 * MAX_STANZA)):
        async with connect(port=port) as (_, ear):
            assert await ear.next("lost") == f"the server sent a stanza of more than {MAX_STANZA} bytes"


async def speaking(text: bytes) -> AsyncIterator[int]:
    """A server that says one thing; yields its port."""
    header = (
        b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' id='1'"
        b" from='site.example' version='1.0'>"
    )

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b">")
        writer.write(header + text)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def break_stream(connection: Connection) -> None:
    """Cut the TCP connection as a lost network does."""
    assert connection._stream is not None
    assert connection._stream.transport is not None
    connection._stream.transport.abort()


async def expect(controller: Controller, presence: tuple[str, str]) -> None:
    """Wait until the controller sees this presence."""
    async with asyncio.timeout(10):
        while await controller.presences.get() != presence:
            pass


async def test_a_name_without_address_is_told_with_the_remedy(connect: Connect) -> None:
    """Without `host` the domain's own records are asked for; the setting that helps is named."""
    async with connect(host="") as (_, ear):
        reason = await ear.next("lost")
        assert reason == "cannot find the address of site.example (check the DNS and xmpp.host)"


async def test_the_same_reason_is_logged_once(connect: Connect) -> None:
    """Who reads the log wants the news, not the beat of the tries."""
    with capture_logs() as logs:
        async with connect(port=1) as (_, ear):
            for _ in range(3):
                assert await ear.next("lost") == "cannot connect: Connection refused"
    told = [line["log_level"] for line in logs if line["event"] == "xmpp not connected"]
    assert told[:2] == ["warning", "debug"]
    assert "warning" not in told[1:]


def test_a_wrong_controller_is_an_error_of_the_settings() -> None:
    """It names the setting, whatever the XMPP library says of what looks like a JID."""
    with pytest.raises(ValidationError, match="controllers"):
        Xmpp(jid="agent@site.example", controllers=("@",))
    with pytest.raises(SettingsError, match="controllers"):
        Connection(Xmpp(jid="agent@site.example"), MACHINE, controllers=("a@b\u0000",))
