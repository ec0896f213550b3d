"""A small computing infrastructure: XMPP server, Chirp server, and agents that work for controllers of ours."""

from __future__ import annotations

import asyncio
import os
import signal
import tarfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tests.controller.running import running
from tests.daemon.running import Daemon
from tests.jobs.gate import make_gate
from tests.jobs.open_folder import make_open_folder, remove_open_folder
from tests.servers.chirp import Chirp
from tests.servers.prosody import Prosody
from tests.servers.serving import Serving
from ucvm_agent.controller.controller import Controller
from ucvm_agent.controller.ledger.base import Ledger
from ucvm_agent.controller.ledger.sqlite_ledger import SQLiteLedger
from ucvm_agent.controller.model import Description, Job, JobStatus, Limits

QUICK: Mapping[str, object] = {
    "enabled": True,
    "slots": 1,
    "user": "nobody",
    "work_dir": "/work",
    "answer_seconds": 5,
    "output_answer_seconds": 5,
    "renewal_seconds": 1,
    "min_free_bytes": 0,
}
"""Settings of agents: what waits for an answer waits shorter; what waits for a job waits as long as it does."""

LEASE_SECONDS = 5.0


@dataclass
class Infrastructure:
    """All of it but the agents and the controllers, which a test starts.

    Arguments:
        folder: every user may pass through it.
        agents: not started yet; the first has the account `vm1`.
        secure: settings of the original's secure mode, for agents and for controllers; empty = it is off.
    """

    folder: Path
    prosody: Prosody
    chirp: Chirp
    agents: list[Daemon] = field(default_factory=list)
    secure: tuple[Mapping[str, object], Mapping[str, object]] = ({}, {})

    @classmethod
    @asynccontextmanager
    async def open(cls, agents: int) -> AsyncIterator[Infrastructure]:
        """Start the servers, and prepare so many agents."""
        folder = _make_folder()
        names = [f"vm{number}" for number in range(1, agents + 1)]
        try:
            async with AsyncExitStack() as stack:
                prosody = Prosody(folder / "prosody", dict.fromkeys(("jm", "km", "mon", *names), "pw"))
                await stack.enter_async_context(prosody)
                chirp = await stack.enter_async_context(Chirp(folder / "chirp"))
                made = cls(folder, prosody, chirp)
                for name in names:
                    made.agents.append(await stack.enter_async_context(_make_agent(folder / name)))
                    made.configure(name)
                yield made
        finally:
            remove_open_folder(folder)

    def configure(self, name: str, **jobs: object) -> None:
        """Write the settings of an agent.

        Arguments:
            name: its account.
            jobs: settings that differ from `QUICK`.
        """
        daemon = self.agents[int(name.removeprefix("vm")) - 1]
        user_data = daemon.folder / "user-data"
        user_data.write_text("#cloud-config\n{}\n")
        account = {
            "jid": self.prosody.jid(name),
            "password": "pw",
            "controllers": [self.prosody.jid("jm")],
            "host": self.prosody.host,
            "port": self.prosody.port,
            "ca_file": str(self.prosody.ca_file),
        }
        daemon.configure(
            None,
            xmpp=account,
            jobs={**QUICK, **jobs},
            sources={"names": ["file"], "deadline": 1.0},
            **{"sources.file": {"path": str(user_data)}, "jobs.secure": self.secure[0]},
        )

    def controller(self, instance: str = "alpha", redis: str = "", **jobs: object) -> Serving:
        """Return a controller that is not started yet."""
        return Serving(
            self.prosody,
            self.folder / instance,
            instance,
            redis,
            jobs={"lease_seconds": LEASE_SECONDS, **jobs},
            **{"jobs.chirp": self.chirp_settings},
        )

    @asynccontextmanager
    async def run_controller(self, instance: str = "alpha", **jobs: object) -> AsyncIterator[Controller]:
        """Run a controller in this process, so that a test can look on."""
        account = {"jid": self.prosody.jid("jm"), "password": "pw", "host": self.prosody.host}
        given = {
            "instance": instance,
            "state_dir": self.folder / instance,
            "xmpp": account | {"port": self.prosody.port, "ca_file": self.prosody.ca_file},
            "http": {"listen": ""},
            "monitor": {"jid": self.prosody.jid("mon")},
            "jobs": {
                "lease_seconds": LEASE_SECONDS,
                "chirp": self.chirp_settings,
                "secure": self.secure[1],
                **jobs,
            },
        }
        async with running(given) as controller:
            yield controller

    @property
    def chirp_settings(self) -> dict[str, object]:
        """How a controller knows the Chirp server."""
        return {"url": self.chirp.server, "folder": str(self.chirp.root), "done_dir": str(self.folder / "done")}

    async def submit(self, ledger: Ledger, job_id: str, script: str, *, tries: int = 9, **limits: float) -> Job:
        """Put a job into the queue that runs a shell script from the Chirp server."""
        (self.chirp.make_folder(job_id) / "run.sh").write_text(f"#!/bin/sh\n{script}\n")
        description = Description(command="run.sh", input_files=("run.sh",), limits=Limits.model_validate(limits))
        return await ledger.submit(description, now=datetime.now(UTC), id=job_id, max_tries=tries)

    def output(self, job_id: str, name: str = "stdout") -> str:
        """Return a file of the output that was put away of a job that has ended."""
        (archive,) = (self.folder / "done").glob(f"*/{job_id}.tgz")
        with tarfile.open(archive) as packed:
            member = packed.extractfile(f"./{name}")
            assert member is not None
            return member.read().decode()

    def make_gate(self) -> Path:
        """Make a pipe at which a job waits that reads it."""
        return make_gate(self.folder)


def _make_folder() -> Path:
    folder = make_open_folder("system")
    for name in ("prosody", "chirp"):
        (folder / name).mkdir()
    return folder


def _make_agent(folder: Path) -> Daemon:
    folder.mkdir()
    folder.chmod(0o711)
    for name in ("etc", "tmp"):
        (folder / "root" / name).mkdir(parents=True)
    return Daemon(folder, folder / "root", environment=dict(os.environ))


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SQLiteLedger]:
    """Open the ledger of a controller beside it."""
    ledger = SQLiteLedger(path)
    await ledger.open()
    try:
        yield ledger
    finally:
        await ledger.close()


async def all_ended(controller: Serving, ledger: Ledger, count: int, within: float) -> list[Job]:
    """Return all jobs as soon as so many have ended."""
    ended = (JobStatus.DONE, JobStatus.FAILED, JobStatus.CANCELLED)
    async with asyncio.timeout(within):
        while True:
            seen = controller.ended  # before the look: one may end during it
            jobs = [job for status in ended for job in await ledger.jobs(status, limit=count)]
            if len(jobs) == count:
                return jobs
            await controller.until_ended(seen + 1)


def processes(folder: Path) -> dict[int, str]:
    """Return the command lines of the processes that name a folder, or work in it, by their ids."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            where = (process / "cwd").resolve()
        except OSError:
            continue
        if f"{folder}/" in line or where.is_relative_to(folder):
            found[int(process.name)] = line
    return found


async def power_cut(agent: Daemon) -> None:
    """End all that runs on the machine of an agent at once; its disk stays as it is."""
    while found := processes(agent.folder) | processes(agent.root):
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert agent.process is not None
        await agent.process.wait()
