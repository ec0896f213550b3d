"""Files from and to a real chirp_server, by the real programs."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.servers.chirp import Chirp
from tests.servers.relay import relay
from tests.transfer.conftest import names
from ucvm_agent.errors import TransferDelayed, TransferRefused
from ucvm_agent.settings import Transfer
from ucvm_agent.transfer.location import chirp_url
from ucvm_agent.transfer.move import get, put

LARGE = os.urandom(4 * 2**20)


async def test_files_of_jobs_go_both_ways(chirp: Chirp, settings: Transfer, folder: Path) -> None:
    """Named by server, folder and file, as messages of Co-Pilot do."""
    (chirp.make_folder("job1") / "a file.txt").write_bytes(LARGE)
    await get(chirp_url(chirp.server, "job1", "a file.txt"), folder / "in", settings)
    assert (folder / "in").read_bytes() == LARGE
    await put(folder / "in", chirp_url(chirp.server, "/job1/", "job1.tgz"), settings)
    assert (chirp.root / "job1/job1.tgz").read_bytes() == LARGE
    assert names(folder) == ["in"]


async def test_an_empty_file_is_a_file(chirp: Chirp, settings: Transfer, folder: Path) -> None:
    """Inputs may be empty."""
    (chirp.make_folder("job1") / "empty").touch()
    await get(chirp_url(chirp.server, "job1", "empty"), folder / "in", settings)
    assert (folder / "in").read_bytes() == b""


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("absent", "No such file or directory"),
        ("folder", "Is a directory"),
        ("closed/file", "Permission denied"),
        ("large", "more bytes than are allowed"),
    ],
)
async def test_what_cannot_be_had_is_refused_at_once(
    chirp: Chirp, settings: Transfer, folder: Path, file: str, reason: str
) -> None:
    """With the server's reason; nothing is left."""
    job = chirp.make_folder("job1")
    chirp.make_folder("job1/folder")
    (chirp.make_folder("job1/closed", rights="unix:nobody rl\n") / "file").touch()
    (job / "large").write_bytes(LARGE)
    with pytest.raises(TransferRefused, match=reason):
        await get(chirp_url(chirp.server, "job1", file), folder / "in", settings, max_bytes=len(LARGE) - 1)
    assert names(folder) == []


async def test_a_folder_that_is_not_there_is_told_when_an_archive_is_sent(
    chirp: Chirp, settings: Transfer, folder: Path
) -> None:
    """The agent then asks for another one."""
    (folder / "out").touch()
    with pytest.raises(TransferRefused, match="No such file or directory"):
        await put(folder / "out", chirp_url(chirp.server, "gone", "gone.tgz"), settings)


async def test_a_dead_server_delays(settings: Transfer, folder: Path, tmp_path: Path) -> None:
    """It may come back."""
    settings = settings.model_copy(update={"timeout": 1.0, "deadline": 0.1})
    with pytest.raises(TransferDelayed):
        await get(chirp_url(Chirp(tmp_path).server, "job1", "file"), folder / "in", settings)
    assert names(folder) == []


async def test_a_full_disk_is_told_and_not_kept_full(chirp: Chirp, settings: Transfer, small_disk: Path) -> None:
    """The program says only that something failed."""
    (chirp.make_folder("job1") / "large").write_bytes(LARGE)
    hurried = settings.model_copy(update={"deadline": 0.01})
    with pytest.raises(TransferDelayed, match="the disk is too full"):
        await get(chirp_url(chirp.server, "job1", "large"), small_disk / "in", hurried)
    assert names(small_disk) == []


async def test_an_unknown_server_delays(settings: Transfer, folder: Path) -> None:
    """The programs would say that the file does not exist."""
    settings = settings.model_copy(update={"deadline": 0.01})
    with pytest.raises(TransferDelayed, match="cannot be resolved"):
        await get("chirp://nowhere..invalid/job1/file", folder / "in", settings)
    assert names(folder) == []


async def test_a_server_that_is_killed_in_mid_transfer_and_comes_back_gives_the_whole_file(
    chirp: Chirp, settings: Transfer, folder: Path
) -> None:
    """And nothing twice, although chirp_get begins anew by itself."""
    (chirp.make_folder("job1") / "large").write_bytes(LARGE)
    async with relay(chirp.port, hold_after=2**20) as between, asyncio.TaskGroup() as group:
        getting = group.create_task(get(f"chirp://127.0.0.1:{between.port}/job1/large", folder / "in", settings))
        await between.held.wait()
        await chirp.stop()
        assert not getting.done()
        await chirp.start()
        between.release.set()
    assert (folder / "in").read_bytes() == LARGE
    assert names(folder) == ["in"]


async def test_a_cancelled_transfer_leaves_no_process(chirp: Chirp, settings: Transfer, folder: Path) -> None:
    """And no file."""
    (chirp.make_folder("job1") / "large").write_bytes(LARGE)
    async with relay(chirp.port, hold_after=2**20) as between:
        url = f"chirp://127.0.0.1:{between.port}/job1/large"
        getting = asyncio.create_task(get(url, folder / "in", settings))
        await between.held.wait()
        assert running(str(between.port))
        getting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await getting
        assert running(str(between.port)) == []
    assert names(folder) == []


async def test_the_programs_end_with_the_agent(chirp: Chirp, folder: Path) -> None:
    """Even one that is killed with -9; then the next agent fetches the file."""
    (chirp.make_folder("job1") / "large").write_bytes(LARGE)
    async with relay(chirp.port, hold_after=2**20) as between:
        url = f"chirp://127.0.0.1:{between.port}/job1/large"
        agent = await asyncio.create_subprocess_exec(sys.executable, "-c", AGENT, url, folder / "in")
        await between.held.wait()
        (program,) = running(str(between.port))
        ended = os.pidfd_open(program)
        agent.kill()
        await agent.wait()
        await readable(ended)
        between.release.set()
        await get(url, folder / "in", Transfer())
    assert (folder / "in").read_bytes() == LARGE
    assert names(folder) == ["in"]


AGENT = """
import asyncio, pathlib, sys
from ucvm_agent.settings import Transfer
from ucvm_agent.transfer.move import get
asyncio.run(get(sys.argv[1], pathlib.Path(sys.argv[2]), Transfer()))
"""


async def readable(descriptor: int) -> None:
    ready = asyncio.Event()
    asyncio.get_running_loop().add_reader(descriptor, ready.set)
    try:
        async with asyncio.timeout(10):
            await ready.wait()
    finally:
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)


def running(word: str) -> list[int]:
    """Return the Chirp programs with a word in their arguments."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments = path.read_bytes()
        except OSError:
            continue
        if arguments.startswith(b"chirp_") and word.encode() in arguments:
            found.append(int(path.parent.name))
    return found
