"""A place where jobs run for real: as an account that nobody else has, if the tests are root."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.jobs.gate import make_gate
from tests.jobs.open_folder import make_open_folder, remove_open_folder
from ucvm_agent.jobs.running.account import Account
from ucvm_agent.jobs.running.job import Job
from ucvm_agent.jobs.running.limits import Limits
from ucvm_agent.jobs.running.record import Outcome
from ucvm_agent.jobs.running.runner import Running, start
from ucvm_agent.jobs.running.workdir import Folder, Workdir

LIMITS = Limits(wall=60, memory=1024**3, processes=200, disk=1024**3, output=1024**2)


@dataclass(frozen=True)
class Place:
    """A work folder; `root` is what every user may pass through."""

    root: Path
    account: Account
    workdir: Workdir

    @classmethod
    def make(cls) -> Self:
        """Make a place with a number of its own."""
        root = make_open_folder("jobs")
        own = Account("me", os.geteuid(), os.getegid())
        number = 100_000 + 2 * (os.getpid() % 25_000)  # and the next one, for a job that has another account
        account = own if os.geteuid() else Account("job", number, number)
        return cls(root, account, Workdir(root / "work"))

    async def start(self, script: str, *, limits: Limits = LIMITS, **values: Any) -> tuple[Running, Folder]:
        """Start a job that runs a shell script."""
        job = Job(**{"id": "job-1", "command": "run.sh", "input_files": ("run.sh",)} | values)
        folder = await self.workdir.make(job.id)
        folder.place("run.sh").write_text(f"#!/bin/sh\n{script}\n")
        return await start(job, folder, self.account, limits), folder

    async def run(self, script: str, *, limits: Limits = LIMITS, **values: Any) -> tuple[Outcome, Folder]:
        """Run such a job to its end."""
        running, folder = await self.start(script, limits=limits, **values)
        ending = await running.wait()
        assert isinstance(ending, Outcome), ending
        return ending, folder

    def make_gate(self) -> Path:
        """Make a pipe at which a job waits that reads it (`cat`)."""
        return make_gate(self.root)

    def remove(self) -> None:
        """Remove the place."""
        remove_open_folder(self.root)


def limits(**changes: Any) -> Limits:
    """Return the limits of tests with some of them changed."""
    return dataclasses.replace(LIMITS, **changes)
