"""What is over goes after its time, and what a crash has left; nothing that somebody still needs does."""

from __future__ import annotations

import os
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.controller.ledger.test_ledger import NOW, SCRIPT, event, later, result, take
from ucvm_agent.controller import folders
from ucvm_agent.controller.files import Files
from ucvm_agent.controller.forgetting import Forgetting
from ucvm_agent.controller.ledger.base import Ledger
from ucvm_agent.controller.model import Input, Job
from ucvm_agent.controller.orphans import Orphans
from ucvm_agent.controller.retention import PAGE, Retention
from ucvm_agent.controller.settings import Chirp, Keep
from ucvm_agent.events import Note

DAY = 86_400.0
SHA256 = "a" * 64


class Place:
    """A ledger, and the folders of its files."""

    def __init__(self, ledger: Ledger, folder: Path, keep: Keep) -> None:
        self.ledger = ledger
        self.folder = folder
        self.chirp = folder / "chirp"
        self.done = folder / "done"
        self.files = Files(folder / "files")
        for each in (self.chirp, self.done):
            each.mkdir(exist_ok=True)
        self.files.open()
        self.forgetting = Forgetting(ledger, self.files, Chirp(folder=self.chirp, done_dir=self.done))
        orphans = Orphans(ledger, self.files, self.chirp, keep.job_days * DAY)
        self.retention = Retention(keep, ledger, self.forgetting, orphans)

    async def job(self, name: str, *, at: float = 0, ends: bool = True) -> Job:
        """Submit a job with an input, and let it end with an archive in every place where there can be one."""
        description = SCRIPT.model_copy(update={"inputs": (Input(name="run.sh", sha256=SHA256),)})
        await self.ledger.submit(description, now=NOW, id=name)
        job = await take(self.ledger)
        assert job.lease is not None
        day = self.done / f"{later(at).astimezone():%Y%m%d}"
        for path in (
            self.files.archive(name, job.lease.id, f"{name}.tgz"),
            self.chirp / name / f"{name}.tgz",
            day / f"{name}.tgz",
        ):
            self.write(path)
        if ends:
            await self.ledger.finish(name, result(job, at=at))
        return job

    def write(self, path: Path, seconds: float = 0) -> Path:
        """Write a file as if some time ago."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        for each in (path, path.parent):
            os.utime(each, (time.time() - seconds,) * 2)
        return path

    def names(self) -> list[str]:
        """Return all files, without their folders."""
        return sorted(path.name for path in self.folder.rglob("*") if path.is_file() and path.suffix != ".db")


@pytest.fixture
def place(ledger: Ledger, tmp_path: Path) -> Place:
    """One that keeps jobs for two days, and machines for three."""
    folder = tmp_path / "place"
    folder.mkdir()
    return Place(ledger, folder, Keep(job_days=2, machine_days=3))


async def test_a_job_goes_with_all_that_there_is_of_it(place: Place) -> None:
    """After its days; one that runs stays for however long, and so do those of others on the Chirp server."""
    await place.job("old", at=0)
    await place.job("new", at=DAY)
    await place.job("runs", ends=False)
    place.write(place.chirp / "old-1" / "of-an-original-tool", 99 * DAY)
    await place.retention.let_go(NOW + timedelta(days=2.5))
    assert {job.id for job in await place.ledger.jobs()} == {"new", "runs"}
    assert place.names() == sorted([*["new.tgz", "runs.tgz"] * 3, "of-an-original-tool"])
    assert not (place.folder / "files/archives/old").exists()


async def test_whoever_is_killed_in_the_middle_forgets_the_rest_next_time(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job is known until its last file has gone."""
    job = await place.job("old")
    removed = folders.remove

    def die(root: Path, job_id: str) -> None:
        removed(root, job_id)
        raise KeyboardInterrupt

    monkeypatch.setattr(folders, "remove", die)
    done = await place.ledger.job("old")
    assert done is not None
    try:
        await place.forgetting.forget(done)
    except KeyboardInterrupt:
        monkeypatch.undo()
    assert await place.ledger.job("old") is not None
    await place.retention.let_go(NOW + timedelta(days=3))
    assert await place.ledger.job(job.id) is None
    assert place.names() == []


async def test_one_that_cannot_go_holds_nobody_up(place: Place) -> None:
    """However many there are; they are tried again."""
    for number in range(PAGE + 2):
        await place.ledger.submit(SCRIPT, now=NOW, id=f"j{number}")
        await place.ledger.cancel(f"j{number}", "no", now=later(number))
    for number in range(PAGE + 1):
        (place.chirp / f"j{number}").write_text("a file is no folder of a job")
    await place.retention.let_go(NOW + timedelta(days=3))
    assert len(await place.ledger.jobs(limit=999)) == PAGE + 1
    for path in place.chirp.iterdir():
        path.unlink()
    await place.retention.let_go(NOW + timedelta(days=3))
    assert await place.ledger.jobs() == []


async def test_an_id_that_is_another_job_s_by_now_is_left_alone(place: Place) -> None:
    """Two controllers forget the same job, and in between somebody submits another one."""
    await place.job("j")
    done = (await place.ledger.ended(later(99)))[0]
    await place.forgetting.forget(done)
    await place.ledger.submit(SCRIPT, now=later(5), id="j")
    kept = place.write(place.chirp / "j" / "run.sh")
    await place.forgetting.forget(done)
    assert kept.exists()
    assert await place.ledger.job("j") is not None


async def test_a_machine_goes_that_is_not_heard_of_any_more(place: Place) -> None:
    """With its events."""
    for number, name in enumerate(("m1", "m2")):
        await place.ledger.record(event(Note(message="x"), name), "vm@x/r", now=later(number * DAY))
    await place.retention.let_go(NOW + timedelta(days=3.5))
    assert [machine.machine_id for machine in await place.ledger.machines()] == ["m2"]
    assert [entry.event.machine_id for entry in await place.ledger.events()] == ["m2"]


async def test_zero_days_are_for_ever(ledger: Ledger, tmp_path: Path) -> None:
    """Nothing goes that has a name."""
    place = Place(ledger, tmp_path, Keep(job_days=0, machine_days=0))
    await place.job("j")
    await ledger.record(event(Note(message="x")), "vm@x/r", now=NOW)
    place.write(place.files.archive("unknown", "lease", "unknown.tgz"), 9999 * DAY)
    await place.retention.let_go(datetime.max.replace(tzinfo=NOW.tzinfo))
    assert len(await ledger.jobs()) == len(await ledger.machines()) == 1
    assert {"unknown.tgz", "j.tgz"} <= set(place.names())


async def test_an_input_stays_as_long_as_a_job_has_it(place: Place) -> None:
    """And for a day after it was uploaded or asked for: a job may be about to be submitted with it."""
    await place.job("j")
    used, unused = place.write(place.files.input(SHA256), 3 * DAY), place.write(place.files.input("b" * 64), 2 * DAY)
    fresh, asked = place.write(place.files.input("c" * 64)), place.write(place.files.input("d" * 64), 2 * DAY)
    assert place.files.keep_input("d" * 64)
    await place.retention.let_go(NOW)
    assert (used.exists(), unused.exists(), fresh.exists(), asked.exists()) == (True, False, True, True)
    await place.retention.let_go(NOW + timedelta(days=3))
    assert (used.exists(), fresh.exists()) == (False, True)


async def test_only_what_nobody_can_be_writing_is_swept(place: Place) -> None:
    """Another controller that has this folder may be in the middle of something."""
    half = place.write(place.folder / "files/incoming/half", 3600)
    busy = place.write(place.folder / "files/incoming/busy", 60)
    lost = place.write(place.files.archive("unknown", "lease", "unknown.tgz"), 2.5 * DAY)
    late = place.write(place.files.archive("late", "lease", "late.tgz"), DAY)
    await place.retention.let_go(NOW)
    assert (half.exists(), busy.exists(), lost.exists(), late.exists()) == (False, True, False, True)
    assert not (place.folder / "files/archives/unknown").exists()


async def test_inputs_of_a_submission_that_was_killed_are_swept(place: Place) -> None:
    """Of none that came into the queue, and of none that may yet."""
    source = place.write(place.folder / "run.sh")

    def put(job_id: str, seconds: float) -> Path:
        laid = place.chirp / folders.put_in(place.chirp, job_id, {"run.sh": source})
        for path in (*laid.iterdir(), laid):
            os.utime(path, (time.time() - seconds,) * 2)
        return laid

    kept, killed, other, now = put("j", 3600), put("j", 3600), put("killed", 3600), put("now", 60)
    described = SCRIPT.model_copy(update={"input_dir": f"j/{kept.name}"})
    await place.ledger.submit(described, now=NOW, id="j")
    await place.retention.let_go(NOW)
    assert (kept.exists(), killed.exists(), other.exists(), now.exists()) == (True, False, False, True)
    assert {path.name for path in place.chirp.iterdir()} == {"j", "now"}
