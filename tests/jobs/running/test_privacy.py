"""What one job can see of another, and of the machine: jobs that run for real."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import resource
import signal
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.jobs.gate import reach
from tests.jobs.place import Place, limits
from tests.jobs.running.test_runner import AGENT
from ucvm_agent.jobs.running.account import Account
from ucvm_agent.jobs.running.archive import pack
from ucvm_agent.jobs.running.record import Beginning, End
from ucvm_agent.jobs.running.tree import kill_strays
from ucvm_agent.jobs.running.workdir import Workdir

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="gives jobs other accounts")


async def test_a_job_can_do_nothing_to_that_of_another_slot(place: Place) -> None:
    """It can read neither its files nor its environment, however open they are, and end none of its processes."""
    gate = place.make_gate()
    secrets = "umask 0; for place in . /tmp /var/tmp /dev/shm; do echo x > $place/secret; done"
    victim, folder = await place.start(f"{secrets}; echo $$ > pid; cat {gate}; echo alive")
    descriptor = await reach(gate)
    pid = (folder.path / "pid").read_text().strip()
    attacks = (
        f"cat {folder.path}/secret",
        f"ls {folder.path} {folder.control} {folder.control}/temporary/tmp",
        "cat /tmp/secret /var/tmp/secret /dev/shm/secret",
        f"cat /proc/{pid}/environ",
        f"cat /proc/{pid}/root/tmp/secret",
        f"ls /proc/{pid}/cwd/ /proc/{pid}/fd/",
        f"kill -9 {pid}",
    )
    other = dataclasses.replace(place, account=Account("other", place.account.uid + 1, place.account.gid + 1))
    _, seen = await other.run("\n".join(f"{attack} && echo went well: '{attack}'" for attack in attacks), id="job-2")
    assert (seen.path / "stdout").read_text() == ""
    os.close(descriptor)
    await victim.wait()
    assert (folder.path / "stdout").read_text() == "alive\n"


async def test_what_a_job_leaves_in_tmp_goes_with_its_folder(place: Place) -> None:
    """The machine never sees it, its validation does, and it is no part of the output."""
    name = f"left-{os.getpid()}"
    places = f"/tmp/{name} /var/tmp/{name} /dev/shm/{name}"
    check = f"printf '#!/bin/sh\\nls {places}' > check"
    outcome, folder = await place.run(f"touch {places}; ls /tmp; {check}", validation_script="check")
    assert (outcome.status, outcome.validate_status) == (0, 0)
    assert (folder.path / "stdout").read_text() == f"{name}\n"
    assert there(places) == []
    assert [path.name for path in folder.control.rglob("left-*")] == [name, name]
    archive = await pack(folder, place.account, 10**6)
    with tarfile.open(archive.path) as packed:
        assert not [member for member in packed.getnames() if name in member]
    await place.workdir.remove("job-1")
    assert not folder.control.exists()


def there(places: str) -> list[str]:
    return [where for where in places.split() if os.path.lexists(where)]


async def test_what_a_job_leaves_in_tmp_counts_for_its_disk(place: Place) -> None:
    """It is no way around the limit."""
    outcome, _ = await place.run("head -c 30000000 /dev/zero > /var/tmp/x; sleep 600", limits=limits(disk=20_000_000))
    assert outcome.end is End.DISK


async def test_what_is_mounted_later_comes_in(place: Place) -> None:
    """As the repositories of CernVM-FS do, when a job looks for them; what a job's side mounts never comes out."""
    gate, point = place.make_gate(), place.root / "cvmfs"
    point.mkdir()
    program = "import asyncio, sys; from tests.jobs.running.test_privacy import look; asyncio.run(look(*sys.argv[1:]))"
    process = await asyncio.create_subprocess_exec(
        *("unshare", "--mount", "--propagation", "shared", sys.executable, "-c", program),
        *(str(place.root), str(place.account.uid), str(gate), str(point)),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    output, _ = await process.communicate()
    assert output.splitlines()[-1] == b"there"
    assert list(point.iterdir()) == []


async def look(root: str, uid: str, gate: str, point: str) -> None:
    """Mount something while a job runs that looks for it then."""
    place = Place(Path(root), Account("job", int(uid), int(uid)), Workdir(Path(root, "work")))
    running, folder = await place.start(f"cat {gate}; cat {point}/file")
    descriptor = await reach(Path(gate))
    mounting = await asyncio.create_subprocess_exec("mount", "-t", "tmpfs", "none", point)
    await mounting.wait()
    await asyncio.to_thread(Path(point, "file").write_text, "there\n")
    os.close(descriptor)
    await running.wait()
    print((folder.path / "stdout").read_text(), end="")


async def test_where_the_kernel_does_not_allow_it_the_job_runs_all_the_same(place: Place) -> None:
    """As in a container: it shares what others have, and that is told."""
    process = await asyncio.create_subprocess_exec(
        *("setpriv", "--bounding-set", "-sys_admin", sys.executable, "-c", AGENT),
        *(str(place.root), str(place.account.uid)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    output, _ = await process.communicate(b"exit 3")
    assert b"shares its places for temporary files" in output
    assert json.loads(output.splitlines()[-1]) == [3 << 8, End.OWN]


async def test_what_has_lost_its_supervisor_is_known_by_its_places(tmp_path: Path) -> None:
    """Whatever it has made of its environment; what has others stays."""
    (tmp_path / "tmp").mkdir()
    stray = await _sleep(f"mount --bind {tmp_path}/tmp /tmp")
    other = await _sleep("true")
    await asyncio.to_thread(kill_strays, "/nowhere", tmp_path)
    assert await stray.wait() == -signal.SIGKILL
    assert other.returncode is None
    other.terminate()
    assert await other.wait() == -signal.SIGTERM


@contextmanager
def few_descriptors(count: int) -> Iterator[None]:
    """Let this process open no more than so many for a while."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_more_has_lost_its_supervisor_than_can_be_held_open(tmp_path: Path) -> None:
    """Descriptors are few, processes of a job need not be."""
    script = "for _ in $(seq 100); do sleep 600 & done; echo begun; wait"
    environment = {"HOME": str(tmp_path), "PATH": os.defpath}
    shell = await asyncio.create_subprocess_exec("sh", "-c", script, env=environment, stdout=asyncio.subprocess.PIPE)
    assert shell.stdout is not None
    assert await shell.stdout.readline() == b"begun\n"
    with few_descriptors(50):
        await asyncio.to_thread(kill_strays, str(tmp_path), tmp_path)
    async with asyncio.timeout(60):
        assert await shell.stdout.read() == b""  # at the end of the last of them
    assert await shell.wait() == -signal.SIGKILL


async def _sleep(before: str) -> asyncio.subprocess.Process:
    """Start what sleeps in a mount namespace of its own, without any environment."""
    script = f"{before}; exec env -i sh -c 'echo begun; exec sleep 600'"
    process = await asyncio.create_subprocess_exec(
        "unshare", "--mount", "sh", "-c", script, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout
    assert await process.stdout.readline() == b"begun\n"
    return process


@pytest.fixture
def beneath_tmp(place: Place) -> Iterator[Place]:
    """A place beneath /tmp."""
    with tempfile.TemporaryDirectory(prefix="ucvm-jobs-", dir="/tmp") as root:
        Path(root).chmod(0o711)
        yield Place(Path(root), place.account, Workdir(Path(root, "work")))


async def test_jobs_that_work_beneath_tmp_share_it(beneath_tmp: Place) -> None:
    """Since nothing of theirs would be where they expect it."""
    outcome, folder = await beneath_tmp.run("pwd")
    beginning = Beginning.read(folder.control)
    assert beginning is not None
    assert (outcome.status, beginning.exposed) == (0, "the jobs work beneath /tmp")
