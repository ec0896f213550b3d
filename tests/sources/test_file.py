"""User-data from files, FIFOs and standard input."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.sources.conftest import descriptors
from ucvm_agent.errors import SourceAbsent, SourceRefused
from ucvm_agent.settings import File
from ucvm_agent.sources.base import MAX_BODY, Found
from ucvm_agent.sources.file import Source
from ucvm_agent.sources.machine import Machine

FIND_FILE = """
import asyncio, sys
from types import SimpleNamespace
from ucvm_agent.sources.file import Source
from ucvm_agent.sources.find import find
from ucvm_agent.sources.machine import Machine

asyncio.run(find([Source(SimpleNamespace(path="/etc/passwd"))], Machine(), 60))
print(*sys.modules)
"""

READ_AS_NOBODY = """
import asyncio, concurrent.futures.thread, os, sys  # nobody may not even read the library
from ucvm_agent.errors import SourceRefused
from ucvm_agent.settings import File
from ucvm_agent.sources.file import Source

source = Source(File(path=sys.argv[1]))
if os.geteuid() == 0:  # who may read everything
    os.setgid(65534)
    os.setuid(65534)
try:
    asyncio.run(source.fetch())
except SourceRefused as refused:
    print(refused.message)
"""

READ_STANDARD_INPUT = """
import asyncio
from ucvm_agent.settings import File
from ucvm_agent.sources.file import Source

async def main():
    source = Source(File(path="-"))
    print("reading", flush=True)
    found, again = await source.fetch(), await source.fetch()
    print(found.user_data == again.user_data, len(found.user_data), found.origin, flush=True)

asyncio.run(main())
"""


async def fetch(path: Path | str) -> Found:
    return await Source(File(path=str(path))).fetch()


async def test_file_is_read_as_it_is(tmp_path: Path) -> None:
    """Its bytes are user-data, its path is the origin; other bytes make another instance."""
    file = tmp_path / "my.context"
    file.write_bytes(b"\x00raw\xff")
    found, again = await fetch(file), await fetch(file)
    assert (found.source, found.origin, found.user_data) == ("file", str(file), b"\x00raw\xff")
    assert len(found.metadata.instance_id) == 64
    assert found == again
    file.write_bytes(b"other")
    assert (await fetch(file)).metadata.instance_id != found.metadata.instance_id


@pytest.mark.parametrize("path", ["", "/no/such/file", "/etc/passwd/below"])
async def test_missing_file_is_an_absent_source_with_a_hint(path: str) -> None:
    """Waiting for it would be of no use."""
    with pytest.raises(SourceAbsent) as absent:
        await fetch(path)
    assert absent.value.hint


@pytest.mark.parametrize("path", ["/", "a\0b"])
async def test_what_is_no_file_is_refused(path: str) -> None:
    """A folder, and a path that cannot be."""
    with pytest.raises(SourceRefused):
        await fetch(path)


def test_unreadable_file_is_refused(tmp_path: Path) -> None:
    """And not taken for a missing one."""
    file = tmp_path / "secret"
    file.touch(mode=0)
    ran = subprocess.run([sys.executable, "-c", READ_AS_NOBODY, file], capture_output=True, text=True, timeout=20)
    assert ran.stdout == "this user may not read it\n"


async def test_size_is_bounded(tmp_path: Path) -> None:
    """The largest is taken, one byte more is not; an endless device neither."""
    file = tmp_path / "large"
    file.touch()
    os.truncate(file, MAX_BODY)
    assert len((await fetch(file)).user_data or b"") == MAX_BODY
    os.truncate(file, MAX_BODY + 1)
    for endless in (file, Path("/dev/zero")):
        with pytest.raises(SourceRefused, match=f"{MAX_BODY} bytes"):
            await fetch(endless)


async def test_fifo_is_read_to_its_end(tmp_path: Path) -> None:
    """Also if its writer comes late and writes slowly, as in `--user-data <(…)`."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    fetching = asyncio.create_task(fetch(fifo))
    writer = await asyncio.to_thread(os.open, fifo, os.O_WRONLY)  # returns when the reader is there
    for piece in (b"first ", b"second"):
        os.write(writer, piece)
        await asyncio.sleep(0)
    os.close(writer)
    assert (await fetching).user_data == b"first second"


async def test_waiting_for_a_fifo_can_be_cancelled(tmp_path: Path) -> None:
    """No thread and no descriptor stays behind."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    before, threads = descriptors(), threading.active_count()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await fetch(fifo)
    assert descriptors() == before
    await asyncio.get_running_loop().shutdown_default_executor()
    assert threading.active_count() == threads


def test_standard_input_is_read_once_and_remembered() -> None:
    """The second fetch gives the same; a pipe and a file will do."""
    arguments = [sys.executable, "-X", "dev", "-c", READ_STANDARD_INPUT]
    piped = subprocess.run(arguments, input="some context", capture_output=True, text=True, timeout=60, check=True)
    assert piped.stdout == "reading\nTrue 12 -\n"
    assert "Warning" not in piped.stderr  # what else there is tells that the machine is slow
    with Path(__file__).open() as file:
        read = subprocess.run(arguments, stdin=file, capture_output=True, text=True, timeout=60, check=True)
    assert read.stdout == f"reading\nTrue {Path(__file__).stat().st_size} -\n"


def test_waiting_for_standard_input_can_be_interrupted() -> None:
    """Ctrl-C ends the program although nothing was typed."""
    # Who started the tests in the background may have had it ignored.
    arguments = ["env", "--default-signal=INT", sys.executable, "-c", READ_STANDARD_INPUT]
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"reading\n"
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
        assert process.returncode in (-signal.SIGINT, 1, 130)


async def test_file_that_everybody_may_write_is_told_to_root(tmp_path: Path) -> None:
    """Its content becomes what root does."""
    file = tmp_path / "open"
    file.write_text("x")
    file.chmod(0o666)
    with capture_logs() as logs:
        await fetch(file)
    warned = [line for line in logs if line["log_level"] == "warning"]
    assert len(warned) == (1 if os.geteuid() == 0 else 0)


def test_candidate_is_told_by_the_path(tmp_path: Path) -> None:
    """A file that is named and there is worth asking."""
    machine = Machine()
    assert Source(File(path=str(tmp_path / "no"))).candidate(machine).likely is False
    assert Source(File(path="")).candidate(machine).likely is False
    assert Source(File(path="-")).candidate(machine).likely is True
    assert Source(File(path=__file__)).candidate(machine).likely is True


def test_file_source_imports_nothing_heavy() -> None:
    """The dry run of a local file passes through here."""
    found = subprocess.run([sys.executable, "-c", FIND_FILE], capture_output=True, text=True, check=True)
    assert not {"aiohttp", "pydantic", "slixmpp", "boto3", "yaml"} & set(found.stdout.split())
