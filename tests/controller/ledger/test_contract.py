"""Whatever happens to jobs in whatever order: none is lost, none is in two places, and none has two results."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from pydantic import SecretStr
from redis import Redis

from tests.controller.ledger.test_ledger import FETCHED, NOW, SCRIPT
from tests.servers.redis import RedisServer
from ucvm_agent.controller.ledger.base import Ledger
from ucvm_agent.controller.ledger.redis_ledger import RedisLedger
from ucvm_agent.controller.ledger.sqlite_ledger import SQLiteLedger
from ucvm_agent.controller.model import JobStatus, Result
from ucvm_agent.errors import JobExists

LEASE_SECONDS = 60.0
AGENTS = {"new1@x/r": "m1", "new2@x/r": "m2", "old@x/r": ""}
"""The machine of each; the last one is an original agent."""

MOST = 3
"""Jobs at once: few, so that much happens to each."""

PICK = st.integers(0, MOST - 1)

Open = Callable[[], Ledger]


@dataclass
class Expected:
    """A job as it has to be.

    Attributes:
        leases: the agent that each was given to, in order.
        lease: the present one; empty if there is none.
    """

    ours: bool
    max_tries: int
    status: JobStatus = JobStatus.WAITING
    tries: int = 0
    lease: str = ""
    expires: datetime = NOW
    leases: dict[str, str] = field(default_factory=dict)
    result: Result | None = None

    @property
    def ended(self) -> bool:
        return self.status not in (JobStatus.WAITING, JobStatus.RUNNING)

    def put_back(self, *, tried: bool) -> None:
        self.tries -= not tried
        self.status = JobStatus.FAILED if tried and self.tries >= self.max_tries else JobStatus.WAITING
        self.lease = self.lease if self.ended else ""


class Contract(RuleBasedStateMachine):
    """Agents, an operator and a controller that is started anew now and then, all at random.

    Arguments:
        make: opens the ledger, which is empty at first.
    """

    def __init__(self, runner: asyncio.Runner, make: Open) -> None:
        super().__init__()
        self.wait = runner.run
        self.make = make
        self.now = NOW
        self.count = 0
        self.jobs: dict[str, Expected] = {}
        self.start()

    def start(self) -> None:
        self.ledger = self.make()
        self.wait(self.ledger.open())

    def picked(self, pick: int) -> tuple[str, Expected]:
        return list(self.jobs.items())[pick % len(self.jobs)]

    def leased(self, pick: int, which: int) -> tuple[str, Expected, str]:
        """Return a job and one of its leases, of now or of before, or one that was never given."""
        name, job = self.picked(pick)
        leases = [*([job.lease] if job.lease else []), *reversed(job.leases), "never given"]
        return name, job, leases[which % len(leases)]

    @precondition(lambda self: len(self.jobs) < MOST)
    @rule(ours=st.booleans(), max_tries=st.integers(1, 3))
    def submit(self, ours: bool, max_tries: int) -> None:
        name = f"j{self.count}"
        self.count += 1
        self.wait(self.ledger.submit(FETCHED if ours else SCRIPT, now=self.now, id=name, max_tries=max_tries))
        self.jobs[name] = Expected(ours, max_tries)

    @precondition(lambda self: self.jobs)
    @rule(pick=PICK)
    def submit_again(self, pick: int) -> None:
        with pytest.raises(JobExists):
            self.wait(self.ledger.submit(SCRIPT, now=self.now, id=self.picked(pick)[0]))

    @rule(agent=st.sampled_from(sorted(AGENTS)))
    def take(self, agent: str) -> None:
        self.hand_out(agent)

    def hand_out(self, agent: str) -> str:
        """Return the job that an agent gets; empty if it gets none."""
        machine = AGENTS[agent]
        offered = {name for name, job in self.jobs.items() if job.status is JobStatus.WAITING}
        offered -= set() if machine else {name for name, job in self.jobs.items() if job.ours}
        assert self.wait(self.ledger.offers(machine)) is bool(offered)
        taken = self.wait(self.ledger.take(agent, machine_id=machine, host="vm", now=self.now, seconds=LEASE_SECONDS))
        if taken is None or taken.lease is None:
            assert not offered
            return ""
        assert taken.id in offered
        job = self.jobs[taken.id]
        assert taken.lease.id not in job.leases
        job.status, job.lease, job.tries = JobStatus.RUNNING, taken.lease.id, job.tries + 1
        job.leases[job.lease] = agent
        job.expires = self.now + timedelta(seconds=LEASE_SECONDS)
        return taken.id

    @rule(agent=st.sampled_from(sorted(AGENTS)))
    def lose(self, agent: str) -> None:
        """Each machine that gets the first job is lost with it, until the last try has failed it."""
        while name := self.hand_out(agent):
            job = self.jobs[name]
            back = self.wait(self.ledger.give_back(name, job.lease, "lost", now=self.now))
            job.put_back(tried=True)
            assert back is not None
            assert (back.status, back.tries) == (job.status, job.tries)
            if job.ended:
                return

    @precondition(lambda self: self.jobs)
    @rule(pick=PICK, which=PICK)
    def extend(self, pick: int, which: int) -> None:
        name, job, lease = self.leased(pick, which)
        held = job.status is JobStatus.RUNNING and job.lease == lease
        assert self.wait(self.ledger.extend(name, lease, now=self.now, seconds=LEASE_SECONDS)) is held
        if held:
            job.expires = self.now + timedelta(seconds=LEASE_SECONDS)

    @precondition(lambda self: self.jobs)
    @rule(pick=PICK, which=PICK, tried=st.booleans())
    def give_back(self, pick: int, which: int, tried: bool) -> None:
        name, job, lease = self.leased(pick, which)
        held = job.status is JobStatus.RUNNING and job.lease == lease
        back = self.wait(self.ledger.give_back(name, lease, "lost", now=self.now, tried=tried))
        assert (back is not None) is held
        if held:
            job.put_back(tried=tried)

    @rule(seconds=st.sampled_from([61, 30, 0]))
    def expire(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)
        late = {name for name, job in self.jobs.items() if job.status is JobStatus.RUNNING and job.expires <= self.now}
        found = self.wait(self.ledger.expired(now=self.now))
        assert {job.id for job in found} == late
        for job in found:
            assert job.lease is not None
            assert self.wait(self.ledger.give_back(job.id, job.lease.id, "silent", now=self.now)) is not None
            self.jobs[job.id].put_back(tried=True)

    @precondition(lambda self: self.jobs)
    @rule(pick=PICK, which=PICK, status=st.sampled_from([0, 256]), named=st.booleans())
    def finish(self, pick: int, which: int, status: int, named: bool) -> None:
        """A result in time, late, again, or of nobody; an original agent does not name its lease."""
        name, job, lease = self.leased(pick, which)
        agent = job.leases.get(lease, "thief@x/r")
        result = Result(lease=lease if named else "", agent=agent, exit_status=status, ended=self.now)
        ended = self.wait(self.ledger.finish(name, result))
        assert (ended is not None) is (lease in job.leases and not job.ended)
        if ended is not None:
            job.status = JobStatus.FAILED if status else JobStatus.DONE
            job.result = ended.result

    @precondition(lambda self: self.jobs)
    @rule(pick=PICK)
    def cancel(self, pick: int) -> None:
        name, job = self.picked(pick)
        before = self.wait(self.ledger.cancel(name, "not needed", now=self.now))
        assert (before is None) is job.ended
        if before is not None:
            assert before.status is job.status
            job.status = JobStatus.CANCELLED

    @precondition(lambda self: self.jobs)
    @rule(pick=PICK)
    def forget(self, pick: int) -> None:
        name, job = self.picked(pick)
        kept = self.wait(self.ledger.job(name))
        assert kept is not None
        assert self.wait(self.ledger.forget(kept)) is job.ended
        if job.ended:
            del self.jobs[name]

    @rule()
    def restart(self) -> None:
        self.wait(self.ledger.close())
        self.start()

    @invariant()
    def nothing_is_lost(self) -> None:
        found = {job.id: job for job in self.wait(self.ledger.jobs(limit=1000))}
        assert found.keys() == self.jobs.keys()
        for name, job in self.jobs.items():
            kept = found[name]
            assert (kept.status, kept.tries, kept.result) == (job.status, job.tries, job.result)
            assert kept.tries <= kept.max_tries
            assert (kept.lease.id if kept.lease else "") == job.lease
        assert self.wait(self.ledger.waiting()) == self.names(JobStatus.WAITING)[1]

    def names(self, status: JobStatus) -> tuple[set[str], int]:
        names = {name for name, job in self.jobs.items() if job.status is status}
        return names, len(names)

    def teardown(self) -> None:
        """Look at what is left, and let go."""
        try:
            self.look()
        finally:
            self.wait(self.ledger.close())

    def look(self) -> None:
        """Each job is listed under one status, and whoever waits is handed out once."""
        summary = self.wait(self.ledger.summary())
        for status in JobStatus:
            names, count = self.names(status)
            listed = [job.id for job in self.wait(self.ledger.jobs(status, limit=1000))]
            assert (len(listed), set(listed), getattr(summary, status)) == (count, names, count)
        while self.hand_out("new1@x/r"):
            pass
        assert not self.names(JobStatus.WAITING)[1]


@contextmanager
def empty_ledgers(kind: str, folder: Path, runner: asyncio.Runner) -> Iterator[tuple[Open, Callable[[], None]]]:
    """Yield what opens a ledger, and what empties it."""
    path = folder / "ledger.db"
    if kind == "sqlite":

        def remove() -> None:
            for file in folder.glob("ledger.db*"):
                file.unlink()

        yield lambda: SQLiteLedger(path), remove
        return
    server = RedisServer(folder)
    runner.run(server.start())
    try:
        with Redis.from_url(server.url) as client:

            def flush() -> None:
                client.flushall()

            yield lambda: RedisLedger(SecretStr(server.url)), flush
    finally:
        runner.run(server.kill())


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_a_ledger_keeps_its_contract(kind: str, tmp_path: Path) -> None:
    """Both do the same, whatever is done to them."""
    with asyncio.Runner() as runner, empty_ledgers(kind, tmp_path, runner) as (make, empty):

        class Begun(Contract):
            def __init__(self) -> None:
                empty()
                super().__init__(runner, make)

        run_state_machine_as_test(
            Begun,
            settings=settings(
                max_examples=60,
                stateful_step_count=30,
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
            ),
        )
