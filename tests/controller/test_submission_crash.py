"""A controller that is killed as it takes a job in: the job is in the queue with its inputs, or nothing is left."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from redis import Redis

from tests.servers.redis import RedisServer
from ucvm_agent.controller import folders, orphans
from ucvm_agent.controller.controller import make_ledger, open_controller
from ucvm_agent.controller.files import Files
from ucvm_agent.controller.model import Description, Input, JobStatus
from ucvm_agent.controller.settings import Settings
from ucvm_agent.controller.submission import Submissions
from ucvm_agent.controller.web.bodies import Submission

INPUTS = {"run.sh": b"#!/bin/sh\ncat data\n", "data": b"x" * 100_000}
STEPS = ("submission.py", "folders.py", "sqlite_jobs.py", "redis_jobs.py")
"""Files of which each line is a step."""

NONE = 10_000
"""No submission has so many steps."""


class Place:
    """What a controller keeps, from one of its lives to the next."""

    def __init__(self, folder: Path, redis: str) -> None:
        self.chirp = folder / "chirp"
        self.chirp.mkdir()
        self.settings = Settings.model_validate(
            {
                "state_dir": folder / "state",
                "redis": redis,
                "xmpp": {"jid": "jm@nowhere.example"},
                "jobs": {"chirp": {"url": "chirp.example", "folder": self.chirp}},
            }
        )
        self.files = Files(self.settings.state_dir / "files")
        self.files.open()
        inputs = []
        for name, content in INPUTS.items():
            sha256 = hashlib.sha256(content).hexdigest()
            self.files.input(sha256).write_bytes(content)
            inputs.append(Input(name=name, sha256=sha256))
        self.description = Description(command="run.sh", inputs=tuple(inputs))

    async def submit(self, name: str) -> None:
        """Be a controller that takes a job in."""
        async with open_controller(self.settings) as controller:
            submissions = Submissions(controller, controller.files)
            await submissions.take(Submission(description=self.description, id=name))

    def submit_and_die(self, name: str, step: int) -> int:
        """Do so in a process of its own, which is killed before one of its steps; return how it has ended."""
        child = os.fork()
        if child:
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        try:
            mortal = Mortal(step)
            threading.settrace(mortal)
            sys.settrace(mortal)
            asyncio.run(self.submit(name))
            os._exit(0)
        finally:
            os._exit(1)

    async def look(self, name: str) -> bool:
        """Sweep as the next controller does; say whether the job is there, all of it, with nothing beside it."""
        ledger = make_ledger(self.settings)
        await ledger.open()
        try:
            await orphans.Orphans(ledger, self.files, self.chirp, 0).sweep()
            job = await ledger.job(name)
            waiting = await ledger.waiting()
            if job is None:
                assert waiting == 0
                # The job's empty folder may be: it might as well be one that an original tool has just made.
                assert {path.name for path in self.chirp.glob("*/*")} <= {folders.ACCESS}
                await self.submit(name)  # which nothing is in the way of
                assert await ledger.waiting() == 1
                return False
            assert (job.status, waiting, job.description.chirp_url) == (JobStatus.WAITING, 1, "chirp.example")
            laid = self.chirp / job.description.input_dir
            assert {path.name: path.read_bytes() for path in laid.iterdir() if path.name in INPUTS} == INPUTS
            assert {path for path in (self.chirp / name).iterdir() if path.is_dir()} == {laid}
            taken = await ledger.take("vm@x/r", machine_id="m1", host="", now=job.submitted, seconds=60)
            assert taken is not None
            assert (taken.id, taken.description) == (name, job.description)
            return True
        finally:
            await ledger.close()


class Mortal:
    """A trace function that kills its process.

    Arguments:
        step: the line of `STEPS`, counted from 0, that is not reached any more.
    """

    def __init__(self, step: int) -> None:
        self.left = step

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        """Follow what is of interest."""
        if os.path.basename(frame.f_code.co_filename) not in STEPS or "controller" not in frame.f_code.co_filename:  # noqa: PTH119 - called for all
            return None
        if event == "line":
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            self.left -= 1
        return self


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_a_submission_is_killed_before_each_of_its_steps(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With each ledger; at the last step of all the job is there."""
    monkeypatch.setattr(orphans, "QUIET_SECONDS", -1.0)  # nobody else is writing
    (tmp_path / "redis").mkdir()
    server = RedisServer(tmp_path / "redis")
    outcomes: list[bool] = []
    with asyncio.Runner() as runner:
        if kind == "redis":
            runner.run(server.start())
        for step in range(NONE):
            folder = tmp_path / str(step)
            folder.mkdir()
            if kind == "redis":
                with Redis.from_url(server.url) as client:
                    client.flushall()
            place = Place(folder, server.url if kind == "redis" else "")
            ended = place.submit_and_die("j", step)
            outcomes.append(asyncio.run(place.look("j")))
            if ended == 0:
                break
            assert ended == -signal.SIGKILL
        runner.run(server.kill())
    assert len(outcomes) > 20
    assert outcomes == sorted(outcomes)  # from some step on, it is there
    assert outcomes[-1]
