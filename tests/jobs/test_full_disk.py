"""Jobs that fill the disk of their machine: the real daemon on a disk of 4 MB, and job managers."""

from __future__ import annotations

import os
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.jobs.gate import reach
from tests.jobs.site import Site
from tests.servers.manager import Task, done
from ucvm_agent.copilot.messages import JobDone, JobState

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a disk")

NOISE = "head -c 2600000 /dev/urandom"
"""What has no room beside its archive."""


@contextmanager
def small_disk(site: Site) -> Iterator[Path]:
    """Put the folder of jobs on a disk of its own until the block is left; yields it."""
    folder = site.daemon.root / "work"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=711", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def work(site: Site) -> Iterator[Path]:
    """The folder of jobs."""
    with small_disk(site) as folder:
        yield folder


def names(site: Site, job: str) -> list[str]:
    with tarfile.open(site.chirp.root / job / f"{job}.tgz") as archive:
        return archive.getnames()


async def test_a_job_that_fills_the_disk_fails_and_frees_its_slot(site: Site, work: Path) -> None:
    """Its output is given up but for what it printed, once that is written down: kill -9 in between changes nothing."""
    gate = site.make_gate()
    removing = site.folder / "bin/rm"
    removing.parent.mkdir()
    removing.write_text(f'#!/bin/sh\ncase "$*" in */sub*) cat {gate} ;; *) exec /bin/rm "$@" ;; esac\n')
    removing.chmod(0o755)
    path = site.daemon.environment["PATH"]
    site.daemon.environment = {**site.daemon.environment, "PATH": f"{removing.parent}:{path}"}
    site.manager.queue.append(Task("job-1", f"mkdir sub; {NOISE} > sub/result.root; echo printed"))
    await site.daemon.start()
    assert "the disk is full" in (await site.controller.note("the output of job job-1 is delayed")).message
    descriptor = await reach(gate)
    assert (work / "jobs/job-1/sub/result.root").stat().st_size == 2_600_000
    reason = "the disk was full: its output could not be packed, and 3 MB of it was given up"
    assert (await site.controller.job("uploading", times=2)).reason == reason
    assert reason in (await site.daemon.command("status"))[1]
    removing.unlink()
    await site.restart()
    os.close(descriptor)
    told = await site.manager.hears(JobDone)
    assert (told.exit_code, told.reason) == ("9", reason if site.manager.ours else "")
    assert site.manager.output("job-1", "stdout") == "printed\n"
    assert names(site, "job-1") == [".", "./_wrapper_.sh", "./resources", "./stderr", "./stdout"]
    site.manager.queue.append(Task("job-2", f"{NOISE} > /tmp/scratch; head -c 900000 /dev/urandom > result.root"))
    assert (await site.manager.hears(JobDone, wanted=done("job-2"))).exit_code == "0"
    assert "./result.root" in names(site, "job-2")
    assert [said.job_id for said in site.manager.heard(JobDone)] == site.manager.given == ["job-1", "job-2"]


async def test_a_job_that_fills_the_disk_by_what_it_prints(our_site: Site) -> None:
    """There is nothing to give up that would help: its manager is told, since another machine may have more room."""
    manager = our_site.manager
    manager.queue.append(Task("job-1", NOISE))
    with small_disk(our_site) as work:
        await our_site.daemon.start()
        told = await manager.hears(JobState, wanted=lambda said: said.state == "lost")
        assert told.reason == "the disk is full: not even what it printed could be packed"
        manager.queue.append(Task("job-2", "true"))
        assert (await manager.hears(JobDone, wanted=done("job-2"))).exit_code == "0"
        assert not (work / "jobs/job-1").exists()
