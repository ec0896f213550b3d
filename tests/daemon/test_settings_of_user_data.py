"""The daemon learns from its user-data who its controllers are: real process, real Prosody."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.daemon.running import PATIENCE, Daemon
from tests.daemon.running import Controller as SiteController
from tests.servers.controller import Controller
from tests.servers.prosody import Prosody
from ucvm_agent.events import Event, Note, State, StateChanged


@pytest.fixture
async def prosody(tmp_path: Path) -> AsyncIterator[Prosody]:
    """A server with two controllers and the account of the machine."""
    folder = tmp_path / "prosody"
    folder.mkdir()
    async with Prosody(folder, {"vm": "hunter2", "jm": "pw", "other": "pw"}) as server:
        yield server


def listen(prosody: Prosody, name: str) -> Controller:
    return Controller(prosody.jid(name), "pw", prosody.host, prosody.port, prosody.ca_file)


def context(prosody: Prosody, controller: str, *, script: str = "exit 0") -> str:
    """Return user-data that name a controller."""
    account = {
        "jid": prosody.jid("vm"),
        "password": "hunter2",
        "controllers": [prosody.jid(controller)],
        "host": prosody.host,
        "port": prosody.port,
        "ca_file": str(prosody.ca_file),
    }
    config = json.dumps({"hostname": "worker", "ucvm_agent": {"xmpp": account}})
    return f"#!/bin/sh\n{script}\nexit 0\n\n#cloud-config\n{config}\n"


def boot_from(daemon: Daemon, user_data: str, *, more: str = "") -> Path:
    """Give the daemon an image's settings, which know no controller, and user-data that it looks at twice a second."""
    path = daemon.folder / "user-data"
    path.write_text(user_data)
    daemon.config.write_text(
        f"root = {json.dumps(str(daemon.root))}\nstop_timeout = 5\n"
        f'[log]\nlevel = "debug"\nfile = {json.dumps(str(daemon.log))}\n'
        f'[sources]\nnames = ["file"]\nfollow = 0.5\n[sources.file]\npath = {json.dumps(str(path))}\n{more}'
    )
    return path


async def hear(controller: Controller, state: State) -> list[Event]:
    """Return all that the controller hears until the machine is in that state."""
    heard: list[Event] = []
    async with asyncio.timeout(PATIENCE):
        while not (heard and isinstance(heard[-1].body, StateChanged) and heard[-1].body.state is state):
            heard.append(await controller.events.get())
    return heard


def states(events: list[Event]) -> list[str]:
    return [event.body.state.value for event in events if isinstance(event.body, StateChanged)]


async def test_user_data_name_the_controller_and_it_hears_everything(prosody: Prosody, daemon: Daemon) -> None:
    """From the very first event of the boot on, in order; the context is applied once, and the secret shown nowhere."""
    boot_from(daemon, context(prosody, "jm", script="echo ran >> /var/log/script"))
    _, plan, _ = await daemon.command("--dry-run")
    async with listen(prosody, "jm") as jm:
        await daemon.start()
        heard = await hear(jm, State.READY)
        assert await daemon.end() == 0
        heard += await hear(jm, State.STOPPED)
    assert [event.seq for event in heard] == list(range(1, len(heard) + 1))
    assert states(heard) == ["booting", "discovering", "contextualizing", "ready", "draining", "stopped"]
    assert (daemon.root / "var/log/script").read_text() == "ran\n"
    file = daemon.root / "etc/ucvm-agent/context.toml"
    assert file.stat().st_mode & 0o777 == 0o600
    assert "hunter2" in file.read_text()
    _, config, _ = await daemon.command("config")
    assert f"# {file} line 3" in next(line for line in config.splitlines() if line.startswith("jid = "))
    _, status, _ = await daemon.command("status")
    told = "".join(event.model_dump_json() for event in heard)
    for text in (plan, config, status, told, daemon.log.read_text()):
        assert "hunter2" not in text
    assert '+password = "***"' in plan
    assert "+controllers = [\n" in plan


async def test_the_next_boot_knows_its_controllers_before_it_finds_anything(prosody: Prosody, daemon: Daemon) -> None:
    """Also where no user-data are to be found any more."""
    path = boot_from(daemon, context(prosody, "jm"))
    async with listen(prosody, "jm") as jm:
        await daemon.start()
        before = await hear(jm, State.READY)
        await daemon.end(signal.SIGKILL)
        path.unlink()
        await daemon.start()
        heard = await hear(jm, State.DISCOVERING)
        assert heard[0].seq > before[-1].seq
        assert states(heard) == ["booting", "discovering"]


async def test_another_context_names_another_controller(
    prosody: Prosody, daemon: Daemon, controller: SiteController
) -> None:
    """It hears all that there is, the machine is not contextualized twice; one without settings takes them back."""
    site = f'[http]\nurl = "{controller.url}"\n'
    path = boot_from(daemon, context(prosody, "jm", script="echo one >> /var/log/script"), more=site)
    async with listen(prosody, "jm") as jm, listen(prosody, "other") as other:
        await daemon.start()
        first = await hear(jm, State.READY)
        path.write_text(context(prosody, "other", script="echo two >> /var/log/script"))
        second = await hear(other, State.READY)
        second += await hear(other, State.READY)
        assert [event.id for event in second][: len(first)] == [event.id for event in first]
        assert [event.seq for event in second] == list(range(1, len(second) + 1))
        assert states(second) == ["booting", "discovering", "contextualizing", "ready", "contextualizing", "ready"]
        path.write_text("#cloud-config\nhostname: alone\n")
        await controller.note("user-data have changed the settings", times=3)
    assert (daemon.root / "etc/ucvm-agent/context.toml").read_text() == ""
    assert (daemon.root / "var/log/script").read_text() == "one\ntwo\n"
    _, status, _ = await daemon.command("status")
    assert "xmpp:" not in status
    assert await daemon.end() == 0


async def test_settings_that_no_agent_could_use_keep_it_from_nothing(prosody: Prosody, daemon: Daemon) -> None:
    """What a version before or after this one left is said, left out, and replaced by the context."""
    boot_from(daemon, context(prosody, "jm"))
    file = daemon.root / "etc/ucvm-agent/context.toml"
    file.parent.mkdir()
    file.write_text('[xmpp]\njdi = "vm@site.example"\n')
    code, _, errors = await daemon.command("config")
    assert code == 0
    assert f"left out: {file} line 2: unknown setting xmpp.jdi" in errors
    async with listen(prosody, "jm") as jm:
        await daemon.start()
        heard = await hear(jm, State.READY)
    assert isinstance(heard[1].body, Note)
    assert heard[1].body.message.startswith(f"settings of the user-data are left out: {file} line 2")
    assert file.read_text().startswith("# ")
