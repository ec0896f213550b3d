"""Looking on while a job prints."""

from __future__ import annotations

import os

import pytest

from tests.jobs.gate import reach
from tests.jobs.place import Place, limits
from ucvm_agent.errors import JobError
from ucvm_agent.jobs.running.tail import Chunk, Stream, tail


async def test_what_a_running_job_has_printed_can_be_read_in_parts(place: Place) -> None:
    """From an offset or from the end; a chunk tells where to go on."""
    gate = place.make_gate()
    noise = "head -c 2000000 /dev/zero"  # more than a pipe holds: at the gate the begin is in the file
    running, folder = await place.start(f"echo one; echo two; {noise}; cat {gate}", limits=limits(output=10))
    descriptor = await reach(gate)
    first = await tail(folder, place.account, Stream.STDOUT, 0, 4)
    assert first == Chunk(0, b"one\n", 10)
    assert await tail(folder, place.account, Stream.STDOUT, first.end) == Chunk(4, b"two\n\0\0", 10)
    assert await tail(folder, place.account, Stream.STDOUT, -3) == Chunk(7, b"\n\0\0", 10)
    os.close(descriptor)
    await running.wait()
    end = b"\n[1999998 bytes were left out here]\n"
    assert await tail(folder, place.account, Stream.STDOUT, 10) == Chunk(10, end, 10 + len(end))
    assert await tail(folder, place.account, Stream.STDOUT, 1000) == Chunk(10 + len(end), b"", 10 + len(end))
    assert await tail(folder, place.account, Stream.VALIDATE_STDOUT) == Chunk(0, b"", 0)


@pytest.mark.parametrize("trick", ["ln -s /etc/passwd", "mkfifo", "mkdir", "ln -s /dev/zero"])
async def test_what_a_job_puts_in_the_place_of_a_stream_is_not_read(trick: str, place: Place) -> None:
    """Neither links nor pipes: what we wrote is gone then, and the job's own fault."""
    _, folder = await place.run(f"rm stdout; {trick} stdout")
    with pytest.raises(JobError):
        await tail(folder, place.account, Stream.STDOUT)


@pytest.mark.skipif(os.geteuid() != 0, reason="makes a hard link to what is root's")
async def test_a_hard_link_to_what_is_not_the_jobs_is_not_read(place: Place) -> None:
    """Where the kernel does not protect hard links, a job could make one to any file."""
    _, folder = await place.run("rm stdout")
    secret = place.root / "secret"
    secret.write_text("geheim")
    (folder.path / "stdout").hardlink_to(secret)
    with pytest.raises(JobError, match="is not what the agent made"):
        await tail(folder, place.account, Stream.STDOUT)
