"""A plan is carried out once, whatever fails or interrupts it; with the real store."""

from __future__ import annotations

import asyncio
import dataclasses
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import structlog.testing
from pydantic import SecretStr

from tests.contextualize.stand_ins import Deed, contextualizer, fail, named, written
from ucvm_agent.contextualize.actions import Change, Effect, WriteFile
from ucvm_agent.contextualize.apply import Applied, apply
from ucvm_agent.contextualize.base import Contextualizer, Frequency
from ucvm_agent.contextualize.plan import Plan, make_plan
from ucvm_agent.contextualize.system import System
from ucvm_agent.contextualize.target import Target
from ucvm_agent.errors import ActionError, StoreError
from ucvm_agent.events import ActionEnded, AnyBody, Contextualized
from ucvm_agent.sources.base import Metadata
from ucvm_agent.store.journal import JournalEntry
from ucvm_agent.store.store import Store

Made = list[str]


@dataclasses.dataclass
class Machine:
    """A root directory and a store, with one boot after another."""

    root: Path
    state: Path
    boots: int = 1

    def __post_init__(self) -> None:
        self.system = System(self.root)
        self.store = Store(self.state / "state.db", "boot-1")
        self.store.events.add_reporter("test")

    def boot(self) -> None:
        self.store.close()
        self.boots += 1
        self.store = Store(self.state / "state.db", f"boot-{self.boots}")

    def plan(self, *contextualizers: Contextualizer[Any], instance: str = "i-1") -> Plan:
        return make_plan(written({}, metadata=Metadata(instance_id=instance)), self.system, contextualizers)

    async def apply(self, plan: Plan, parallel: int = 8) -> Applied:
        return await apply(plan, self.system, self.store, parallel=parallel, state_dir=self.state)

    def events(self) -> list[AnyBody]:
        """Return what was reported since the last call."""
        bodies = []
        while event := self.store.events.next_event("test"):
            bodies.append(event.body)
            self.store.events.delivered("test", event)
        return bodies


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    (tmp_path / "root").mkdir()
    made = Machine(tmp_path / "root", tmp_path / "state")
    yield made
    made.store.close()


def noting(names: Made, name: str) -> Callable[[Target], None]:
    return lambda target: names.append(name)


def deeds(names: Made, *wanted: str, **fields: Any) -> Sequence[Deed]:
    return [Deed(name=name, does=noting(names, name), **fields) for name in wanted]


def counts(applied: Applied) -> tuple[int, int, int, int]:
    return applied.changed, applied.unchanged, applied.failed, applied.skipped


# Once


async def test_what_is_done_is_done_once_and_reported_once(machine: Machine) -> None:
    done: Made = []
    plan = machine.plan(contextualizer("a", deeds(done, "x", "y")))
    assert counts(await machine.apply(plan)) == (2, 0, 0, 0)
    assert done == ["x", "y"]
    *actions, end = machine.events()
    assert [(body.target, body.result, body.effect) for body in actions if isinstance(body, ActionEnded)] == [
        ("x", "done", "run"),
        ("y", "done", "run"),
    ]
    assert isinstance(end, Contextualized)
    assert (end.digest, end.changed, end.failed) == (plan.context.digest, 2, 0)
    assert counts(await machine.apply(plan)) == (0, 2, 0, 0)
    assert done == ["x", "y"]
    assert [body.kind for body in machine.events()] == ["contextualized"]


async def test_a_context_that_comes_back_is_applied_again(machine: Machine) -> None:
    """What another one changed meanwhile is changed back; its commands were run, and are not run again."""
    me = account(machine)
    done: Made = []

    def plan(text: str) -> Plan:
        files = [WriteFile(path=path, content=text.encode(), owner=me, group=me) for path in ("/motd", f"/{text}")]
        made = make_plan(machine.plan().context, machine.system, [contextualizer("a", [*files, *deeds(done, text)])])
        return dataclasses.replace(made, context=dataclasses.replace(made.context, digest=text))

    assert counts(await machine.apply(plan("first"))) == (3, 0, 0, 0)
    assert counts(await machine.apply(plan("second"))) == (3, 0, 0, 0)
    assert counts(await machine.apply(plan("first"))) == (1, 2, 0, 0)
    assert (machine.root / "motd").read_text() == "first"
    assert done == ["first", "second"]


async def test_an_administrators_later_edit_survives(machine: Machine) -> None:
    me = account(machine)
    plan = machine.plan(contextualizer("a", [WriteFile(path="/motd", content=b"ours\n", owner=me, group=me)]))
    assert counts(await machine.apply(plan)) == (1, 0, 0, 0)
    (machine.root / "motd").write_text("theirs\n")
    machine.boot()
    assert counts(await machine.apply(plan)) == (0, 1, 0, 0)
    assert (machine.root / "motd").read_text() == "theirs\n"


def account(machine: Machine) -> str:
    """Make the account files name the user and group that run the test, and return the name of both."""
    status = machine.root.stat()
    (machine.root / "etc").mkdir(exist_ok=True)
    (machine.root / "etc/passwd").write_text(f"me:x:{status.st_uid}:{status.st_gid}::/:/bin/sh\n")
    (machine.root / "etc/group").write_text(f"me:x:{status.st_gid}:\n")
    return "me"


async def test_what_is_already_so_is_neither_touched_nor_reported(machine: Machine) -> None:
    done: Made = []
    plan = machine.plan(contextualizer("a", deeds(done, "x", effect=Effect.NONE)))
    assert counts(await machine.apply(plan)) == (0, 1, 0, 0)
    assert done == []
    assert [body.kind for body in machine.events()] == ["contextualized"]


@pytest.mark.parametrize(
    ("frequency", "times"),
    [(Frequency.ONCE, (1, 1, 1)), (Frequency.INSTANCE, (1, 1, 2)), (Frequency.BOOT, (1, 2, 3))],
)
async def test_frequencies_count_by_disk_instance_and_boot(
    machine: Machine, frequency: Frequency, times: tuple[int, ...]
) -> None:
    """In one boot, in the next one, and in a third one as another instance."""
    done: Made = []
    made = contextualizer("a", deeds(done, "x"), frequency=frequency)
    for instance, expected in zip(("i-1", "i-1", "i-2"), times, strict=True):
        await machine.apply(machine.plan(made, instance=instance))
        await machine.apply(machine.plan(made, instance=instance))
        assert len(done) == expected
        machine.boot()


async def test_without_an_instance_id_the_disk_is_the_instance(machine: Machine) -> None:
    done: Made = []
    plan = machine.plan(contextualizer("a", deeds(done, "x")), instance="")
    await machine.apply(plan)
    machine.boot()
    await machine.apply(plan)
    assert done == ["x"]


# Failure


async def test_a_failure_skips_what_needs_it_and_nothing_else(machine: Machine) -> None:
    """Also what needs it only through another; the reason names the one that failed, wherever it stands."""
    done: Made = []
    plan = machine.plan(
        contextualizer("a", [Deed(name="user", gives=named("user", "x"), does=fail()), *deeds(done, "next")]),
        contextualizer(
            "b",
            [
                *deeds(done, "home", takes=named("user", "x"), gives=named("path", "/home/x")),
                *deeds(done, "file", takes=named("path", "/home/x")),
                *deeds(done, "last"),
            ],
        ),
    )
    applied = await machine.apply(plan)
    assert counts(applied) == (2, 0, 1, 2)
    assert sorted(done) == ["last", "next"]
    failure = applied.failures[0]
    assert (failure.contextualizer, failure.kind, failure.target) == ("a", "deed", "user")
    assert failure.reason == "no luck (try it with more luck)"
    reported = {body.target: body for body in machine.events() if isinstance(body, ActionEnded)}
    assert reported["user"].result == "failed"
    assert reported["user"].reason == failure.reason
    for name in ("home", "file"):
        assert reported[name].result == "skipped"
        assert reported[name].reason == "it needs deed user of a, which failed"


async def test_what_failed_and_what_was_skipped_is_tried_again(machine: Machine) -> None:
    done: Made = []
    lucky = False

    def does(target: Target) -> None:
        if not lucky:
            raise ActionError("no luck")

    plan = machine.plan(
        contextualizer("a", [Deed(name="x", gives=named("user", "x"), does=does)]),
        contextualizer("b", deeds(done, "y", takes=named("user", "x"))),
    )
    assert counts(await machine.apply(plan)) == (0, 0, 1, 1)
    lucky = True
    assert counts(await machine.apply(plan)) == (2, 0, 0, 0)
    assert done == ["y"]


async def test_a_second_try_does_not_find_the_records_of_the_first(machine: Machine) -> None:
    """A command that failed is run again, instead of its old result being taken for the new one."""
    found: list[bool] = []

    def does(target: Target) -> None:
        record = target.runs / f"{target.run_key}.result"
        found.append(record.exists())
        record.write_text("failed")
        raise ActionError("no luck")

    plan = machine.plan(contextualizer("a", [Deed(name="x", does=does)]))
    await machine.apply(plan)
    await machine.apply(plan)
    assert found == [False, False]
    assert (machine.state / "runs").stat().st_mode & 0o777 == 0o700


@dataclasses.dataclass(frozen=True, kw_only=True)
class Secretive(Deed):
    password: SecretStr = dataclasses.field(default_factory=lambda: SecretStr("hunter2"))


async def test_records_go_with_their_context(machine: Machine) -> None:
    """What commands printed stays as long as their context does, and a result that nobody has taken yet longer."""
    names: Made = []
    runs = machine.state / "runs"

    def leaving(target: Target) -> None:
        (target.runs / f"{target.run_key}.log").write_text("output\n")

    interrupted = machine.plan(contextualizer("x", deeds(names, "interrupted")))
    key = interrupted.steps[0].key
    entry = JournalEntry(key, "i-1", "x", "deed", "interrupted", "started")
    machine.store.record(entry, interrupted.context.digest)
    runs.mkdir()
    (runs / f"{key}-scope.result").write_text("exited 0\n")
    for name in ("first", "second"):
        await machine.apply(machine.plan(contextualizer("y", [Deed(name=name, does=leaving)])))
        assert sorted(path.suffix for path in runs.iterdir()) == [".log", ".result"]


async def test_an_unexpected_exception_is_a_failed_action_without_its_secrets(machine: Machine) -> None:
    """Neither in what is returned, nor in the journal, the events or the log."""
    secret = Secretive(name="").password.get_secret_value()

    def does(target: Target) -> None:
        raise ZeroDivisionError(f"{secret} divided by zero")

    plan = machine.plan(
        contextualizer("a", [Secretive(name="x", does=does)]),
        contextualizer("b", [Deed(name="y", does=lambda target: dict[str, str]()["z"])]),
    )
    with structlog.testing.capture_logs() as logs:
        applied = await machine.apply(plan)
    reasons = {failure.target: failure.reason for failure in applied.failures}
    assert reasons["x"].startswith("ZeroDivisionError: (not shown: it holds a secret)")
    assert reasons["y"].startswith("KeyError: 'z'")
    assert sorted(line["log_level"] for line in logs) == ["debug", "debug", "warning", "warning"]
    assert "in does" in "".join(line.get("trace", "") for line in logs)
    entry = machine.store.journal(plan.steps[0].key, "i-1")
    assert secret not in repr((applied, machine.events(), entry, logs))


async def test_an_action_that_is_cancelled_from_within_has_failed(machine: Machine) -> None:
    """It neither stops the plan nor leaves those waiting who come after it."""

    def does(target: Target) -> None:
        raise asyncio.CancelledError

    done: Made = []
    plan = machine.plan(contextualizer("a", [Deed(name="x", does=does), *deeds(done, "y")]))
    assert counts(await machine.apply(plan)) == (1, 0, 1, 0)
    assert done == ["y"]


async def test_a_plan_ends_when_the_journal_cannot_be_written(machine: Machine) -> None:
    done: Made = []

    def does(target: Target) -> None:
        with closing(sqlite3.connect(machine.store.path)) as other:
            other.execute("DROP TABLE journal")

    plan = machine.plan(contextualizer("a", [Deed(name="x", does=does), *deeds(done, "y")]))
    with pytest.raises(StoreError):
        await machine.apply(plan)
    assert done == []


# At the same time


async def test_independent_actions_are_done_at_the_same_time(machine: Machine) -> None:
    """Each waits for the others to have begun: one after another, this would never end."""
    barrier = asyncio.Barrier(5)

    async def meet(target: Target) -> None:
        await barrier.wait()

    plan = machine.plan(*(contextualizer(name, [Deed(name=name, does=meet)]) for name in "abcde"))
    async with asyncio.timeout(30):
        assert counts(await machine.apply(plan)) == (5, 0, 0, 0)


async def test_not_more_at_the_same_time_than_allowed(machine: Machine) -> None:
    """Two by two: each needs a second one to go on, and never sees a third."""
    pair = asyncio.Barrier(2)
    running = most = 0

    async def count(target: Target) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await pair.wait()
        running -= 1

    plan = machine.plan(*(contextualizer(name, [Deed(name=name, does=count)]) for name in "abcdefgh"))
    assert counts(await machine.apply(plan, parallel=2)) == (8, 0, 0, 0)
    assert most == 2


async def test_actions_know_which_paths_were_changed_before_them(machine: Machine) -> None:
    seen: list[set[str]] = []

    def look(target: Target) -> None:
        seen.append(set(target.changed))

    plan = machine.plan(
        contextualizer(
            "a",
            [
                Deed(name="new", gives=named("path", "/new")),
                Deed(name="same", gives=named("path", "/same"), effect=Effect.NONE),
                Deed(name="look", does=look),
            ],
        )
    )
    await machine.apply(plan)
    assert seen == [{"/new"}]


# Interruption


async def test_stopping_leaves_a_journal_to_go_on_from(machine: Machine) -> None:
    """What was done stays done; what was running is tried again, and only that."""
    done: Made = []
    begun = asyncio.Event()

    async def wait(target: Target) -> None:
        if not begun.is_set():
            begun.set()
            await asyncio.Event().wait()
        done.append("y")

    plan = machine.plan(contextualizer("a", [*deeds(done, "x"), Deed(name="y", does=wait), *deeds(done, "z")]))
    running = asyncio.create_task(machine.apply(plan))
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    entry = machine.store.journal(plan.steps[1].key, "i-1")
    assert entry
    assert entry.outcome == "started"
    assert len(asyncio.all_tasks()) == 1
    assert counts(await machine.apply(plan)) == (2, 1, 0, 0)
    assert done == ["x", "y", "z"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Marked(Deed):
    """Is found done by its mark."""

    def preview(self, system: System) -> Change:
        return Change(Effect.NONE if (system.root / self.name).exists() else Effect.CREATE, self.name)


async def test_what_was_done_but_not_written_down_is_still_reported(machine: Machine) -> None:
    """The machine died after the change and before the journal knew: the change is the plan's all the same."""

    class PowerCut(BaseException):
        pass

    seen: list[set[str]] = []

    def mark_and_die(target: Target) -> None:
        (target.system.root / "x").touch()
        raise PowerCut

    def made(does: Any) -> Plan:
        marked = Marked(name="x", does=does, gives=named("path", "/x"))
        return machine.plan(
            contextualizer("a", [marked, Deed(name="look", does=lambda target: seen.append(set(target.changed)))])
        )

    with pytest.raises(BaseExceptionGroup):
        await machine.apply(made(mark_and_die))
    machine.boot()
    assert counts(await machine.apply(made(fail("never called")))) == (2, 0, 0, 0)
    reported = [body for body in machine.events() if isinstance(body, ActionEnded)]
    assert [(body.target, body.result, body.effect) for body in reported] == [
        ("x", "done", "create"),
        ("look", "done", "run"),
    ]
    assert seen == [{"/x"}]
