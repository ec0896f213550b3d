"""The image, made once, and a site: what a machine finds on its network."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.servers.controller import Controller
from tests.servers.imds import Imds
from tests.servers.prosody import Prosody
from tests.system.machine import EC2, PATIENCE, XMPP, Hardware
from ucvm_agent.events import Event, State, StateChanged

REPOSITORY = Path(__file__).parent.parent.parent
BUILD_SECONDS = 1200.0


@pytest.fixture(scope="session")
def image() -> Path:
    """The folder with kernel, initial RAM disk and root file system, as deploy/image makes them."""
    environment = {**os.environ, "PYTHON": sys.executable}
    built = subprocess.run(
        [REPOSITORY / "deploy/image/build.sh"], env=environment, capture_output=True, text=True, timeout=BUILD_SECONDS
    )
    assert built.returncode == 0, built.stderr[-4000:]
    print(built.stderr)
    return Path(built.stdout.splitlines()[-1])


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """An ssh key; its public half is beside it."""
    path = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "operator", "-f", path], check=True)
    return path


@dataclass
class Site:
    """The servers that a machine sees, and what it tells them."""

    imds: Imds
    prosody: Prosody
    controller: Controller
    key: Path
    folder: Path
    image: Path

    def hardware(self, *disks: Path, parameters: str = "") -> Hardware:
        """Return a machine of EC2 that reports to the controller."""
        settings = {
            "jid": self.prosody.jid("vm"),
            "host": XMPP,
            "controllers": self.prosody.jid("jm"),
            "ca_file": "/run/credentials/@system/ucvm.ca",
            "password_file": "/run/credentials/@system/ucvm.password",
        }
        words = " ".join(f"ucvm.xmpp.{name}={value}" for name, value in settings.items())
        return Hardware(
            image=self.image,
            disks=disks,
            firmware=(EC2,),
            services={"169.254.169.254:80": urlsplit(self.imds.url).port or 80, f"{XMPP}:5222": self.prosody.port},
            parameters=f"{words} {parameters}",
            credentials={"ucvm.ca": self.prosody.ca_file.read_bytes(), "ucvm.password": b"secret"},
            key=self.key,
        )

    async def until(self, *states: State, seconds: float = PATIENCE) -> list[Event]:
        """Return the events up to the first that tells of one of the states."""
        events: list[Event] = []
        while True:
            try:
                async with asyncio.timeout(seconds):
                    event = await self.controller.events.get()
            except TimeoutError:
                raise AssertionError(f"no {states} after {[event.name for event in events]}") from None
            events.append(event)
            if isinstance(event.body, StateChanged) and event.body.state in states:
                return events


@pytest.fixture
async def site(tmp_path: Path, image: Path, key: Path) -> AsyncIterator[Site]:
    """A metadata service, an XMPP server and a controller on loopback."""
    folder = tmp_path / "xmpp"
    folder.mkdir()
    async with (
        Imds() as imds,
        Prosody(folder, {"vm": "secret", "jm": "secret"}) as prosody,
        Controller(prosody.jid("jm"), "secret", prosody.host, prosody.port, prosody.ca_file) as controller,
    ):
        yield Site(imds, prosody, controller, key, tmp_path, image)
