"""The folders of jobs: made, given away, removed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.jobs.place import Place
from ucvm_agent.errors import JobError, JobRefused
from ucvm_agent.jobs.running.account import Account, find_account
from ucvm_agent.jobs.running.workdir import hand_over

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")


def modes(*paths: Path) -> list[int]:
    return [path.stat().st_mode & 0o777 for path in paths]


@needs_root
async def test_nobody_but_the_agent_gets_in_until_the_job_starts(place: Place) -> None:
    """Input comes into a folder of the agent's own, and then all of it is the job's."""
    folder = await place.workdir.make("job-1")
    file = folder.place("data/deep/input")
    file.write_bytes(b"x")
    assert folder.path.stat().st_uid == 0
    assert modes(folder.path, folder.control, folder.control.parent) == [0o700, 0o700, 0o700]
    hand_over(folder, place.account)
    owners = {path.stat().st_uid for path in (folder.path, *folder.path.rglob("*"))}
    assert owners == {place.account.uid}
    assert folder.control.stat().st_uid == 0


@needs_root
async def test_a_folder_that_the_job_could_not_reach_is_named(place: Place) -> None:
    """With what to do about it."""
    place.root.chmod(0o700)
    folder = await place.workdir.make("job-1")
    with pytest.raises(JobError, match=f"may not pass through it.*chmod o\\+x {place.root}"):
        hand_over(folder, place.account)


async def test_the_folders_tell_which_jobs_there_are(place: Place) -> None:
    """So that a restarted agent finds all of them, and what is no job's is left alone."""
    assert await place.workdir.ids() == []
    for name in ("b", "a"):
        await place.workdir.make(name)
    (place.root / "work/jobs/lost+found").mkdir()
    (await place.workdir.make("c")).path.rmdir()
    assert await place.workdir.ids() == ["a", "b", "c"]
    await place.workdir.remove("c")
    assert await place.workdir.ids() == ["a", "b"]


async def test_removal_follows_no_link_and_fears_no_depth(place: Place) -> None:
    """A job can make trees deeper than any path is long, and links to what is not its."""
    (place.root / "precious").mkdir()
    (place.root / "precious/file").touch()
    links = f"ln -s {place.root}/precious link; ln -s / root"
    _, folder = await place.run(f"{links}; i=0; while [ $i -lt 3000 ]; do mkdir d; cd d; i=$((i+1)); done")
    assert (folder.path / "d/d/d").is_dir()
    await place.workdir.remove("job-1")
    assert (place.root / "precious/file").exists()
    assert not folder.path.exists()
    assert not folder.control.exists()


async def test_a_link_in_the_place_of_a_folder_is_removed_itself(place: Place) -> None:
    """Whoever put it there."""
    folder = await place.workdir.make("job-1")
    folder.path.rmdir()
    folder.path.symlink_to(place.root)
    await place.workdir.make("job-1")
    assert folder.path.is_dir()
    assert not folder.path.is_symlink()


@pytest.mark.parametrize("name", ["..", ".", "a/b", ""])
async def test_an_id_leads_nowhere_else(name: str, place: Place) -> None:
    """Every way to a folder checks it."""
    with pytest.raises(JobRefused):
        await place.workdir.remove(name)


@needs_root
def test_the_account_of_jobs_has_to_be_there_and_not_to_be_root() -> None:
    """The error names the setting, and how to make the account."""
    with pytest.raises(JobError, match=r"jobs.user = 'no-such-user': the account of jobs does not exist .*useradd"):
        find_account("no-such-user", 1)
    with pytest.raises(JobError, match="may not have the rights of root"):
        find_account("root", 1)
    assert find_account("nobody", 1) == Account("nobody", 65534, 65534)
