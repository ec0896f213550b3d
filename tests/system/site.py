"""A site: what a machine finds on its network, and the controller that it works for."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tests.controller.web.site import free_address
from tests.servers.imds import Imds
from tests.servers.prosody import Prosody
from tests.servers.serving import PROGRAM, Serving
from tests.system.machine import EC2, PATIENCE, Hardware
from ucvm_agent.events import Event, State, StateChanged

XMPP = "169.254.0.4"
CONTROLLER = "169.254.0.5:8480"
"""Where a machine finds the XMPP server, and the files of jobs."""
CONTEXT = """\
#cloud-config
hostname: worker-1
users:
  - name: alice
    ssh_authorized_keys: [{key}]
  - name: root
    ssh_authorized_keys: [{key}]
write_files:
  - path: /srv/told
    content: by the context
  - path: /etc/ucvm-agent/ca.pem
    content: {ca}
ucvm_agent:
  xmpp: {xmpp}
  jobs: {{enabled: true, slots: 1, min_free_bytes: 0}}
{more}
[ucernvm-begin]
resize_rootfs=off
cvmfs_http_proxy="http://squid.example.org:3128;DIRECT"
[ucernvm-end]
"""


@dataclass
class Site:
    """The servers that a machine sees, and what it tells them.

    Attributes:
        told: the events that the controller got, as far as a test has waited for them.
    """

    imds: Imds
    prosody: Prosody
    controller: Serving
    key: Path
    folder: Path
    image: Path
    http: str
    told: list[Event] = field(default_factory=list)

    @classmethod
    @asynccontextmanager
    async def open(cls, folder: Path, image: Path, key: Path) -> AsyncIterator[Site]:
        """Start a metadata service, an XMPP server and a controller on loopback."""
        (folder / "xmpp").mkdir()
        address = free_address()
        http = {"listen": address, "public_url": f"http://{CONTROLLER}"}
        async with (
            Imds() as imds,
            Prosody(folder / "xmpp", {"vm": "pw", "jm": "pw"}) as prosody,
            Serving(prosody, folder / "controller", "alpha", http=http, jobs={"lease_seconds": 120}) as controller,
        ):
            yield cls(imds, prosody, controller, key, folder, image, address)

    def context(self, more: str = "") -> bytes:
        """Return user-data that let the operator in, and make the machine work for the controller.

        Arguments:
            more: further lines of the cloud-config.
        """
        account = {
            "jid": self.prosody.jid("vm"),
            "password": "pw",
            "host": XMPP,
            "controllers": [self.prosody.jid("jm")],
            "ca_file": "/etc/ucvm-agent/ca.pem",
        }
        return CONTEXT.format(
            key=self.key.with_suffix(".pub").read_text().strip(),
            ca=json.dumps(self.prosody.ca_file.read_text()),
            xmpp=json.dumps(account),
            more=more,
        ).encode()

    def hardware(self, *disks: Path, parameters: str = "") -> Hardware:
        """Return a machine of EC2."""
        services = {
            "169.254.169.254:80": urlsplit(self.imds.url).port or 80,
            f"{XMPP}:5222": self.prosody.port,
            CONTROLLER: int(self.http.rpartition(":")[2]),
        }
        return Hardware(self.image, disks, (EC2,), services, parameters, key=self.key)

    async def ask(self, *words: str | Path, code: int = 0) -> str:
        """Run `ucvm-controller`, and return what it prints.

        Arguments:
            code: how it has to end.
        """
        async with self._command(words) as process, asyncio.timeout(PATIENCE):
            output, errors = await process.communicate()
        assert process.returncode == code, errors.decode()
        return output.decode()

    async def until(self, *states: State) -> list[Event]:
        """Return the events that the controller has not shown yet, up to the first that tells of one of the states."""
        events: list[Event] = []
        async with self._command(("events", "--follow", "--json", "--limit", "1000")) as process:
            assert process.stdout is not None
            try:
                async with asyncio.timeout(PATIENCE):
                    async for line in process.stdout:
                        event = Event.model_validate(json.loads(line)["event"])
                        if event in self.told:
                            continue
                        events.append(event)
                        self.told.append(event)
                        if isinstance(event.body, StateChanged) and event.body.state in states:
                            return events
            except TimeoutError:
                pass
        raise AssertionError(f"no {states} after {[event.name for event in events]}")

    @asynccontextmanager
    async def _command(self, words: Sequence[str | Path]) -> AsyncIterator[asyncio.subprocess.Process]:
        command, *arguments = words
        config = self.folder / "controller/controller.toml"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", PROGRAM, command, "--config", config, *arguments), stdout=PIPE, stderr=PIPE
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()
