"""What only a person can mend shows in the state, and wrong settings cost no connection: real process, real Prosody."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.daemon.running import PATIENCE, Controller, Daemon
from tests.servers.controller import Controller as XmppController
from tests.servers.prosody import Prosody
from ucvm_agent.events import StateChanged


@pytest.fixture
async def prosody(tmp_path: Path) -> AsyncIterator[Prosody]:
    """A server with the accounts of the machine and of a controller."""
    folder = tmp_path / "prosody"
    folder.mkdir()
    async with Prosody(folder, {"vm": "hunter2", "jm": "pw"}) as server:
        yield server


def account(prosody: Prosody, password_file: Path) -> dict[str, object]:
    """Return the settings of the machine's account."""
    return {
        "jid": prosody.jid("vm"),
        "password_file": str(password_file),
        "host": prosody.host,
        "port": prosody.port,
        "ca_file": str(prosody.ca_file),
        "controllers": [prosody.jid("jm")],
    }


def file_of(tmp_path: Path) -> dict[str, dict[str, object]]:
    path = tmp_path / "user-data"
    path.write_text("#cloud-config\nhostname: one\n")
    return {"sources": {"names": ["file"], "deadline": 1.0}, "sources.file": {"path": str(path)}}


def listen(prosody: Prosody) -> XmppController:
    return XmppController(prosody.jid("jm"), "pw", prosody.host, prosody.port, prosody.ca_file)


async def hear_ready(jm: XmppController, reason: str) -> None:
    """Wait until the controller hears that the machine is ready, for this reason."""
    async with asyncio.timeout(PATIENCE):
        while True:
            body = (await jm.events.get()).body
            if isinstance(body, StateChanged) and (body.state, body.reason) == ("ready", reason):
                return


def logged(daemon: Daemon, event: str) -> list[dict[str, object]]:
    """Return the lines of the log with this event, without those at level debug."""
    lines = [json.loads(line) for line in daemon.log.read_text().splitlines()]
    return [line for line in lines if line["event"] == event and line["level"] != "debug"]


async def test_a_lost_connection_shows_although_nothing_waits(
    controller: Controller, daemon: Daemon, prosody: Prosody, tmp_path: Path
) -> None:
    """In `status`, which would say nothing of it before the next event; and no more when it is back."""
    (tmp_path / "password").write_text("hunter2")
    daemon.configure(controller, xmpp=account(prosody, tmp_path / "password"), **file_of(tmp_path))

    async def status(*, lost: bool) -> None:
        async with asyncio.timeout(PATIENCE):
            while ("nothing waiting (no XMPP connection: " in (await daemon.command("status"))[1]) is not lost:
                pass

    async with listen(prosody) as jm:
        await daemon.start()
        await hear_ready(jm, "")
    await status(lost=False)
    await prosody.kill()
    await status(lost=True)
    await prosody.start()
    await status(lost=False)


async def test_a_missing_password_is_the_reason_of_the_state(
    controller: Controller, daemon: Daemon, prosody: Prosody, tmp_path: Path
) -> None:
    """In `status`, and for the controllers that can be told; the log tells it once."""
    password = tmp_path / "password"
    daemon.configure(controller, xmpp=account(prosody, password), **file_of(tmp_path))
    await daemon.start()
    told = await controller.reason(f"no XMPP connection: cannot read the password of [xmpp]: {password}")
    assert (told.state, told.reason.count("password of")) == ("ready", 1)
    _, output, _ = await daemon.command("status")
    assert f"reason    {told.reason}" in output
    assert len(logged(daemon, "xmpp not connected")) == 1
    assert not [line for line in logged(daemon, "event not delivered") if "jm@" in str(line["controller"])]
    password.write_text("hunter2\n")
    async with listen(prosody) as jm:
        daemon.hang_up()
        await hear_ready(jm, told.reason)
        await hear_ready(jm, "")
    assert await daemon.end() == 0


async def test_wrong_settings_at_sighup_keep_the_connection(
    controller: Controller, daemon: Daemon, prosody: Prosody, tmp_path: Path
) -> None:
    """The old ones stay, and whoever watches the machine over XMPP sees nothing of it."""
    password = tmp_path / "password"
    password.write_text("hunter2\n")
    daemon.configure(controller, xmpp=account(prosody, password), **file_of(tmp_path))
    async with listen(prosody) as jm:
        await daemon.start()
        await hear_ready(jm, "")
        daemon.config.write_text(daemon.config.read_text() + "[jobs]\nenabledd = true\n")
        daemon.hang_up()
        assert "jobs.enabledd" in (await controller.note("not taken over")).message
        assert await daemon.end() == 0
    assert len(logged(daemon, "xmpp connected")) == 1
    assert controller.states.count("discovering") == 1
