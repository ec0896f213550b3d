"""A plan survives kill -9 at every boundary of each of its actions: the next run completes it, and does nothing twice.

The plan is a real one: files, a directory, a link, a group, a user, a script and a command, beneath a scratch root with
busybox in it. The agent that is killed is a process of its own; the moments are those just before and after each
entry in the journal. What is killed in the midst of an action is the tests' of that action.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import shutil
import signal
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

import pytest

from tests.contextualize.stand_ins import contextualizer, written
from ucvm_agent.contextualize.actions import (
    Action,
    EnsureGroup,
    EnsureUser,
    MakeDirectory,
    MakeLink,
    RunCommand,
    RunScript,
    WriteFile,
)
from ucvm_agent.contextualize.apply import apply
from ucvm_agent.contextualize.plan import Plan, make_plan
from ucvm_agent.contextualize.system import System
from ucvm_agent.events import ActionEnded, Body
from ucvm_agent.sources.base import Metadata
from ucvm_agent.store.journal import JournalEntry
from ucvm_agent.store.store import Store

BUSYBOX = Path("/bin/busybox")

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a script beneath a root"),
    pytest.mark.skipif(not BUSYBOX.exists(), reason="needs the Debian package busybox-static"),
]

PREPARE: tuple[Action, ...] = (
    MakeDirectory(path="/srv/data", mode=0o750),
    WriteFile(path="/srv/data/readme", content=b"data\n"),
    MakeLink(path="/data", to="/srv/data"),
    WriteFile(path="/etc/motd", content=b"another line\n", append=True),
)
ACCOUNTS: tuple[Action, ...] = (
    EnsureGroup(name="atlas"),
    EnsureUser(name="atlas", primary_group="atlas", gecos="ATLAS", shell="/bin/sh"),
)
RUN: tuple[Action, ...] = (
    RunScript(name="append", text=b"#!/bin/sh\n\n# blank lines stay\necho script >> /ran\n"),
    RunCommand(argv=("/bin/sh", "-c", "echo command >> /ran")),
)
TARGETS = [f"{action.kind} {action.target}" for action in PREPARE + ACCOUNTS + RUN]


class Moment(Enum):
    """Where in the course of an action the agent is killed."""

    BEFORE_START = auto()
    AFTER_START = auto()
    BEFORE_END = auto()
    AFTER_END = auto()


@dataclass(frozen=True)
class Machine:
    """A scratch root and the state of its agent."""

    root: Path
    state: Path

    def plan(self) -> Plan:
        context = written({}, metadata=Metadata(instance_id="i-1"))
        made = [
            contextualizer("accounts", ACCOUNTS),
            contextualizer("prepare", PREPARE),
            contextualizer("run", RUN, after=["prepare"]),
        ]
        return make_plan(context, System(self.root), made)


class MortalStore(Store):
    """A store whose process is killed at one moment of one action."""

    target = ""
    moment = Moment.BEFORE_START

    def record(self, entry: JournalEntry, context: str, body: Body | None = None) -> None:
        starts = entry.outcome == "started"
        hit = f"{entry.kind} {entry.target}" == self.target
        if hit and self.moment is (Moment.BEFORE_START if starts else Moment.BEFORE_END):
            os.kill(os.getpid(), signal.SIGKILL)
        super().record(entry, context, body)
        if hit and self.moment is (Moment.AFTER_START if starts else Moment.AFTER_END):
            os.kill(os.getpid(), signal.SIGKILL)


def run_agent(machine: Machine, target: str, moment: Moment) -> None:
    """Carry out the plan, as far as the moment of death; without a target it comes to its end."""
    with closing(MortalStore(machine.state / "state.db", "boot-1")) as store:
        store.target, store.moment = target, moment
        system = System(machine.root)
        applied = asyncio.run(apply(machine.plan(), system, store, parallel=4, state_dir=machine.state))
        assert not applied.failures, applied.failures


def run_in_process(machine: Machine, target: str = "", moment: Moment = Moment.BEFORE_START) -> int | None:
    """Carry out the plan in a process of its own, and return how it ended."""
    # A fork server is clean: the processes that it makes have nothing of this one but the modules.
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload([__name__])
    process = processes.Process(target=run_agent, args=(machine, target, moment))
    process.start()
    process.join(60)
    return process.exitcode


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    root = tmp_path / "root"
    for folder in ("bin", "etc", "home", "tmp"):
        (root / folder).mkdir(parents=True)
    shutil.copy(BUSYBOX, root / "bin/busybox")
    (root / "bin/sh").symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    (root / "etc/motd").write_text("one line\n")
    state = tmp_path / "state"
    with closing(Store(state / "state.db", "boot-1")) as store:
        store.events.add_reporter("test")
    return Machine(root, state)


@pytest.mark.parametrize("moment", Moment)
@pytest.mark.parametrize("target", TARGETS)
def test_the_next_run_completes_the_plan_and_does_nothing_twice(machine: Machine, target: str, moment: Moment) -> None:
    assert run_in_process(machine, target, moment) == -signal.SIGKILL
    assert run_in_process(machine) == 0
    assert_all_is_done_once(machine)
    assert run_in_process(machine) == 0
    assert_all_is_done_once(machine)


def test_being_killed_at_every_action_in_turn_is_no_different(machine: Machine) -> None:
    """An agent that never survives more than one action still comes to the end."""
    for target in TARGETS:
        for moment in (Moment.AFTER_START, Moment.BEFORE_END):
            run_in_process(machine, target, moment)
    assert run_in_process(machine) == 0
    assert_all_is_done_once(machine)


def assert_all_is_done_once(machine: Machine) -> None:
    """Check the machine, the journal, and what is to be reported."""
    root = machine.root
    assert sorted((root / "ran").read_text().split()) == ["command", "script"]
    assert (root / "etc/motd").read_text() == "one line\nanother line\n"
    assert (root / "srv/data").stat().st_mode & 0o7777 == 0o750
    assert (root / "srv/data/readme").read_bytes() == b"data\n"
    assert (root / "data").readlink() == Path("/srv/data")
    users = [line.split(":")[0] for line in (root / "etc/passwd").read_text().splitlines()]
    assert users == ["root", "atlas"]
    assert (root / "home/atlas").stat().st_uid != 0
    assert not list((root).rglob(".ucvm-*"))
    with closing(sqlite3.connect(machine.state / "state.db")) as db:
        journal = db.execute("SELECT kind || ' ' || target, outcome FROM journal").fetchall()
        assert sorted(journal) == sorted((target, "done") for target in TARGETS)
        effects = {effect for (effect,) in db.execute("SELECT effect FROM journal")}
        assert "none" not in effects
    assert Counter(reported(machine)) == Counter(TARGETS)


def reported(machine: Machine) -> list[str]:
    """Return the actions of all events, and leave the events where they are."""
    with closing(sqlite3.connect(machine.state / "state.db")) as db:
        documents = db.execute("SELECT document ->> '$.body' FROM events WHERE kind = 'action.done' ORDER BY seq")
        bodies = [ActionEnded.model_validate_json(document) for (document,) in documents]
    return [f"{body.action} {body.target}" for body in bodies]
