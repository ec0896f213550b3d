"""The archive of what came out of a job."""

from __future__ import annotations

import asyncio
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.jobs.place import Place
from ucvm_agent.errors import JobError
from ucvm_agent.jobs.running.archive import pack
from ucvm_agent.jobs.running.workdir import Folder

LIMIT = 10**8


def listing(archive: Path) -> list[str]:
    """Return the names as the tar program of whoever gets it sees them."""
    return subprocess.run(["tar", "-tzf", archive], capture_output=True, check=True, text=True).stdout.splitlines()


async def ran(place: Place, script: str) -> Folder:
    _, folder = await place.run(script)
    return folder


async def test_the_whole_folder_is_in_it(place: Place) -> None:
    """With names as the original agent packs them, and content that any tar unpacks; not the archive's own name."""
    folder = await ran(place, "mkdir sub; printf x > 'sub/a file'; ln -s 'a file' sub/link; echo hi; touch job-1.tgz")
    archive = await pack(folder, place.account, LIMIT)
    names = ["./", "./_wrapper_.sh", "./resources", "./run.sh", "./stderr", "./stdout"]
    assert listing(archive.path) == [*names, "./sub/", "./sub/a file", "./sub/link"]
    assert (archive.path, archive.size) == (folder.control / "job-1.tgz", archive.path.stat().st_size)
    assert (archive.report.members, archive.report.left_out_count) == (9, 0)
    out = place.root / "out"
    out.mkdir()
    await asyncio.to_thread(subprocess.check_call, ["tar", "-xzf", archive.path, "-C", out])
    assert (out / "stdout").read_text() == "hi\n"
    assert (out / "sub/link").read_text() == "x"
    assert (out / "run.sh").stat().st_mode & 0o777 == (folder.path / "run.sh").stat().st_mode & 0o777


async def test_the_same_folder_makes_the_same_archive(place: Place) -> None:
    """Byte for byte, so that a second try after a crash sends what the first one told the checksum of."""
    folder = await ran(place, "for i in 9 1 5; do echo $i > $i; done")
    first = (await pack(folder, place.account, LIMIT)).path.read_bytes()
    assert (await pack(folder, place.account, LIMIT)).path.read_bytes() == first


async def test_what_is_hostile_in_a_folder_is_left_out_and_told(place: Place) -> None:
    """Pipes, devices and sockets do not stop the packing, and links are not followed."""
    socket = "import socket; socket.socket(socket.AF_UNIX).bind('socket')"
    folder = await ran(place, f'mkfifo pipe; ln -s /etc/shadow link; ln -s . loop; python3 -c "{socket}"')
    devices = ["./device"] if os.geteuid() == 0 else []
    for _ in devices:
        os.mknod(folder.path / "device", 0o600 | 0o020000, os.makedev(1, 5))
    archive = await pack(folder, place.account, LIMIT)
    assert set(archive.report.left_out) == {"./pipe", "./socket", *devices}
    with tarfile.open(archive.path) as tar:
        assert (tar.getmember("./link").linkname, tar.getmember("./loop").linkname) == ("/etc/shadow", ".")


@pytest.mark.skipif(os.geteuid() != 0, reason="makes a hard link to what is root's")
async def test_nothing_is_in_it_that_the_job_could_not_read(place: Place) -> None:
    """The packer has the rights of the job: no hard link and no race gives it more."""
    folder = await ran(place, "exit 0")
    secret = place.root / "secret"
    secret.write_text("geheim")
    secret.chmod(0o600)
    (folder.path / "shadow").hardlink_to(secret)
    assert (await pack(folder, place.account, LIMIT)).report.left_out == ["./shadow"]


async def test_an_archive_is_bounded(place: Place) -> None:
    """A huge file of nothing but holes, and folders without end, are left out; the rest is there."""
    folder = await ran(place, "truncate -s 900M huge; i=0; while [ $i -lt 150 ]; do mkdir d; cd d; i=$((i+1)); done")
    archive = await pack(folder, place.account, 10**6)
    assert archive.report.left_out == ["./" + "/".join(["d"] * 101), "./huge"]
    assert "./stdout" in listing(archive.path)


async def test_names_in_any_encoding_are_packed(place: Place) -> None:
    """As the bytes that they are."""
    folder = await ran(place, r"""touch "$(printf 'latin-\351')" "$(printf 'line\nbreak')" """)
    archive = await pack(folder, place.account, LIMIT)
    with tarfile.open(archive.path, encoding="utf-8", errors="surrogateescape") as tar:
        assert {"./latin-\udce9", "./line\nbreak"} <= set(tar.getnames())


async def test_a_cancelled_packing_leaves_nothing(place: Place) -> None:
    """Neither a part of an archive nor a process."""
    folder = await ran(place, "head -c 300M /dev/urandom > noise")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await pack(folder, place.account, 10**9)
    assert not [path for path in folder.control.iterdir() if path.name.startswith("job-1")]


async def test_an_archive_that_finds_no_room_is_an_error(place: Place) -> None:
    """A full disk: here, a folder of control in which nothing can be made."""
    folder = await ran(place, "exit 0")
    await place.workdir.remove("job-1")
    with pytest.raises(JobError, match="No such file or directory"):
        await pack(folder, place.account, LIMIT)
