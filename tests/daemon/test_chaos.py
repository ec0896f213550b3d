"""The daemon at its worst: killed again and again, without space, with a damaged state."""

from __future__ import annotations

import asyncio
import random
import signal
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from pathlib import Path

import pytest

from tests.computing.infrastructure import processes
from tests.daemon.running import PATIENCE, Controller, Daemon
from tests.servers.controller import Controller as XmppController
from tests.servers.imds import Imds
from tests.servers.prosody import Prosody
from ucvm_agent.events import Event

KILLS = 12
SCRIPTS = 3


def context(number: int) -> bytes:
    """Return user-data with scripts that take their time and say in `/var/log/ran` what they do, and some files."""
    message = MIMEMultipart()
    for script in range(SCRIPTS):
        name = f"{number}.{script}"
        text = f"#!/bin/sh\nexec >> /var/log/ran\necho {name} begun\nsleep 0.{script}\necho {name} ended\n"
        message.attach(MIMEText(text, "x-shellscript"))
    files = f"#cloud-config\nwrite_files: [{{path: /srv/{number}, content: done}}]\n"
    message.attach(MIMEText(files, "cloud-config"))
    return message.as_bytes()


async def test_killed_again_and_again(tmp_path: Path, controller: Controller, daemon: Daemon) -> None:
    """Each script runs once, each event arrives once and in its place, and nothing is left lying about.

    The daemon is killed at random moments, the XMPP server now and then, and the context changes meanwhile.
    """
    chance = random.Random(1)
    folder = tmp_path / "xmpp"
    folder.mkdir()
    async with (
        Imds(context(0)) as imds,
        Prosody(folder, {"vm": "secret", "jm": "secret"}) as prosody,
        XmppController(prosody.jid("jm"), "secret", prosody.host, prosody.port, prosody.ca_file) as xmpp,
    ):
        account = {"jid": prosody.jid("vm"), "password": "secret", "controllers": [prosody.jid("jm")]}
        server = {"host": prosody.host, "port": prosody.port, "ca_file": str(prosody.ca_file)}
        daemon.configure(
            controller, xmpp=account | server, sources={"names": ["ec2"]}, **{"sources.ec2": {"endpoints": [imds.url]}}
        )
        for kill in range(KILLS):
            await daemon.start()
            await asyncio.sleep(chance.uniform(0.3, 1.5))
            await daemon.end(signal.SIGKILL)
            if kill % 4 == 3:
                imds.user_data = context(kill)
                await prosody.kill()
                await prosody.start()
        await daemon.start()
        assert (await daemon.command("status", "--wait"))[0] == 0
        over_xmpp = await events_until_ready(xmpp, KILLS - 1)
        assert await daemon.end() == 0
    await controller.state("stopped")
    over_http = controller.events
    assert [event.seq for event in over_http] == list(range(1, len(over_http) + 1))
    assert over_xmpp == over_http[: len(over_xmpp)]
    ran = Counter((daemon.root / "var/log/ran").read_text().splitlines())
    assert {f"{KILLS - 1}.{script} ended" for script in range(SCRIPTS)} <= set(ran)
    assert set(ran.values()) == {1}
    assert_tidy(daemon.root)


async def events_until_ready(xmpp: XmppController, number: int) -> list[Event]:
    """Return what was told over XMPP until the VM was ready with the last context; its file is the sign of that."""
    events: list[Event] = []
    last = False
    async with asyncio.timeout(PATIENCE):
        while not (last and events[-1].name == "state.ready"):
            events.append(await xmpp.events.get())
            last = last or f'/srv/{number}"' in events[-1].model_dump_json()
    return events


def assert_tidy(root: Path) -> None:
    """Check that no temporary file, no process, and no record of an earlier context is left.

    What was interrupted when its context went has kept its records, in case that the context returns.
    """
    assert not list(root.rglob(".ucvm-*"))
    state = root / "var/lib/ucvm-agent"
    with closing(sqlite3.connect(state / "state.db")) as db:
        journal = dict(db.execute("SELECT key, outcome FROM journal WHERE kind = 'script'").fetchall())
    interrupted = {key for key, outcome in journal.items() if outcome == "started"}
    kept = {path.name.partition("-")[0] for path in (state / "runs").iterdir()}
    assert len(kept - interrupted) == SCRIPTS
    assert {path.name.partition("-")[0] for path in (root / "run/ucvm-agent/scripts").iterdir()} <= interrupted
    assert processes(root) == {}


@pytest.fixture
def small_disk(scratch_root: Path) -> Iterator[Path]:
    """A disk of one megabyte for the state."""
    folder = scratch_root / "var/lib/ucvm-agent"
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


async def test_a_full_disk(tmp_path: Path, small_disk: Path, controller: Controller, daemon: Daemon) -> None:
    """The daemon ends with the reason in its log; with space again it goes on where it was, and loses nothing."""
    user_data = tmp_path / "user-data"
    user_data.write_text("#cloud-config\nhostname: one\n")
    daemon.configure(controller, sources={"names": ["file"]}, **{"sources.file": {"path": str(user_data)}})
    await daemon.start()
    await controller.state("ready")
    fill(small_disk / "filling")
    user_data.write_text("#cloud-config\nhostname: two\n" + f"# {'x' * 100}\n" * 1000)
    daemon.hang_up()
    assert daemon.process is not None
    async with asyncio.timeout(PATIENCE):
        assert await daemon.process.wait() == 6
    assert "no space left for the state" in daemon.log.read_text()
    (small_disk / "filling").unlink()
    await daemon.start()
    await controller.state("ready", times=2)
    assert (daemon.root / "etc/hostname").read_text() == "two\n"
    assert await daemon.end() == 0
    assert [event.seq for event in controller.events] == list(range(1, len(controller.events) + 1))


def fill(path: Path) -> None:
    """Write until nothing more fits."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


async def test_a_damaged_state(tmp_path: Path, controller: Controller, daemon: Daemon) -> None:
    """It is left as it is; the log and the error say what to do."""
    user_data = tmp_path / "user-data"
    user_data.write_text("#cloud-config\nhostname: one\n")
    daemon.configure(controller, sources={"names": ["file"]}, **{"sources.file": {"path": str(user_data)}})
    await daemon.start()
    await controller.state("ready")
    assert await daemon.end() == 0
    state = daemon.root / "var/lib/ucvm-agent/state.db"
    with state.open("r+b") as file:
        file.seek(4096)
        file.write(bytes([255]) * 8192)
    damaged = state.read_bytes()
    code, _, errors = await daemon.command()
    assert code == 6
    for text in (errors, daemon.log.read_text()):
        assert "damaged" in text
        assert "move it away" in text
    assert state.read_bytes() == damaged
