"""Files from and to a web server that works, and one that does not."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import sys
from hashlib import sha256
from pathlib import Path

import pytest
import trustme
from structlog.testing import capture_logs

from tests.servers.files import Fault, Files, serve
from tests.servers.relay import relay
from tests.transfer.conftest import names
from ucvm_agent.errors import TransferDelayed, TransferRefused
from ucvm_agent.settings import Transfer
from ucvm_agent.transfer.move import get, put
from ucvm_agent.transfer.schemes import http

CONTENT = os.urandom(3 * 2**20)
OTHER = os.urandom(2**20)
WHOLE = ("GET", "")


@pytest.fixture(autouse=True)
def _content(web: Files) -> None:
    web.content = CONTENT


async def test_a_file_comes_whole(web: Files, settings: Transfer, folder: Path) -> None:
    """Only its owner may read it, and nothing else is left."""
    await get(f"{web.url}/in?hush#sha256={sha256(CONTENT).hexdigest()}", folder / "in", settings)
    assert (folder / "in").read_bytes() == CONTENT
    assert (folder / "in").stat().st_mode & 0o777 == 0o600
    assert names(folder) == ["in"]


async def test_a_fetch_goes_on_where_it_broke(web: Files, settings: Transfer, folder: Path) -> None:
    """As often as it has to."""
    web.faults = [Fault(breaks_after=2**20), Fault(503), Fault(breaks_after=2**20)]
    await get(f"{web.url}/in", folder / "in", settings)
    assert (folder / "in").read_bytes() == CONTENT
    (first, *later) = [int(asked.removeprefix("bytes=").removesuffix("-") or 0) for _, asked in web.asked]
    assert first == 0
    assert later[0] == later[1] > 0
    assert later[2] > later[1]


async def test_a_later_call_goes_on_as_well(web: Files, settings: Transfer, folder: Path) -> None:
    """Whoever gave up before."""
    hurried = settings.model_copy(update={"deadline": 0.001})
    web.faults = [Fault(breaks_after=2**20)]
    with pytest.raises(TransferDelayed, match="broke off"):
        await get(f"{web.url}/in", folder / "in", hurried)
    assert len(names(folder)) == 2
    await get(f"{web.url}/in", folder / "in", settings)
    assert (folder / "in").read_bytes() == CONTENT
    assert web.asked[1] != WHOLE
    assert names(folder) == ["in"]


async def test_a_cancelled_fetch_is_gone_on_with(web: Files, settings: Transfer, folder: Path) -> None:
    """It keeps what it has."""
    async with relay(web.port, hold_after=2**21) as between:
        url = f"http://127.0.0.1:{between.port}/in"
        getting = asyncio.create_task(get(url, folder / "in", settings))
        await between.held.wait()
        getting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await getting
        between.release.set()
        await get(url, folder / "in", settings)
    assert (folder / "in").read_bytes() == CONTENT
    assert names(folder) == ["in"]


@pytest.mark.parametrize(
    ("keep_every", "death", "goes_on"),
    [(2**19, death, death > 2) for death in (1, 2, 3, 4, 5, 6, 10)] + [(2**30, death, False) for death in (1, 2)],
)
async def test_a_fetch_that_is_killed_anywhere_is_gone_on_with(
    web: Files, settings: Transfer, folder: Path, keep_every: int, death: int, goes_on: bool
) -> None:
    """Each fsync is a place to die: of content, note and folder, over and over, or in the end of content and folder."""
    url = f"{web.url}/in#sha256={sha256(CONTENT).hexdigest()}"
    command = (sys.executable, "-c", MORTAL, url, folder / "in", str(keep_every), str(death))
    agent = await asyncio.create_subprocess_exec(*command)
    assert await agent.wait() == -signal.SIGKILL
    web.asked.clear()
    await get(url, folder / "in", settings)
    assert (folder / "in").read_bytes() == CONTENT
    assert names(folder) == ["in"]
    assert (web.asked[0] != WHOLE) == goes_on


MORTAL = """
import asyncio, os, pathlib, sys
from ucvm_agent.settings import Transfer
from ucvm_agent.transfer import partial
from ucvm_agent.transfer.move import get

left, sync = int(sys.argv[4]), os.fsync

def die_or_sync(descriptor):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), 9)
    sync(descriptor)

os.fsync = die_or_sync
partial.KEEP_EVERY = int(sys.argv[3])
asyncio.run(get(sys.argv[1], pathlib.Path(sys.argv[2]), Transfer()))
"""


@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no ranges"])
async def test_a_file_that_changes_is_never_mixed(web: Files, settings: Transfer, folder: Path, ranges: bool) -> None:
    """It is fetched from its beginning again."""
    web.ranges = ranges
    web.faults = [Fault(breaks_after=2**20, changes_to=OTHER)]
    await get(f"{web.url}/in", folder / "in", settings)
    assert (folder / "in").read_bytes() == OTHER


async def test_a_version_without_a_strong_name_is_fetched_anew(web: Files, settings: Transfer, folder: Path) -> None:
    """Nobody knows whether it is still the same."""
    web.etag = 'W/"1"'
    web.faults = [Fault(breaks_after=2**20)]
    await get(f"{web.url}/in", folder / "in", settings)
    assert (folder / "in").read_bytes() == CONTENT
    assert web.asked == [WHOLE, WHOLE]


async def test_a_wrong_checksum_is_refused_after_a_second_look(web: Files, settings: Transfer, folder: Path) -> None:
    """The first may have been spoilt on the way."""
    with pytest.raises(TransferRefused, match="checksum"):
        await get(f"{web.url}/in#sha256={'0' * 64}", folder / "in", settings)
    assert web.asked == [WHOLE, WHOLE]
    assert names(folder) == []


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "not announced"])
async def test_what_is_too_large_is_refused(web: Files, settings: Transfer, folder: Path, announced: bool) -> None:
    """At once, or as soon as it is seen."""
    web.announced = announced
    with pytest.raises(TransferRefused, match="more than the"):
        await get(f"{web.url}/in", folder / "in", settings, max_bytes=len(CONTENT) - 1)
    assert names(folder) == []
    await get(f"{web.url}/in", folder / "in", settings, max_bytes=len(CONTENT))


@pytest.mark.parametrize(
    "fault",
    [
        Fault(401),
        Fault(403),
        Fault(404),
        Fault(302, {"Location": "http://localhost:1/elsewhere?hush"}),
        Fault(302, {"Location": "//elsewhere.example/"}),
    ],
    ids=lambda fault: str(fault.status),
)
async def test_a_no_is_a_no(web: Files, settings: Transfer, folder: Path, fault: Fault) -> None:
    """One request, both ways; a redirect to another host counts as one, and queries are not told."""
    web.faults = [fault, fault]
    (folder / "out").touch()
    with capture_logs() as logs:
        with pytest.raises(TransferRefused) as got:
            await get(f"{web.url}/in?hush", folder / "in", settings)
        with pytest.raises(TransferRefused) as sent:
            await put(folder / "out", f"{web.url}/out?hush", settings)
    assert len(web.asked) == 2
    assert got.value.where == f"{web.url}/in"
    assert "hush" not in f"{logs} {got.value} {sent.value}"
    assert names(folder) == ["out"]


async def test_a_server_is_left_alone_as_long_as_it_asks(web: Files, settings: Transfer, folder: Path) -> None:
    """`Retry-After` counts."""
    web.faults = [Fault(503, {"Retry-After": "1"})]
    with capture_logs() as logs:
        await get(f"{web.url}/in", folder / "in", settings)
    assert [line["retry_seconds"] for line in logs if line["event"] == "transfer delayed"] == [1.0]


async def test_an_archive_is_put_again_until_the_server_has_it(web: Files, settings: Transfer, folder: Path) -> None:
    """Each time whole."""
    web.faults = [Fault(503), Fault(500)]
    (folder / "out").write_bytes(CONTENT)
    await put(folder / "out", f"{web.url}/job1/job1.tgz", settings)
    assert web.put == {"/job1/job1.tgz": CONTENT}


async def test_a_silent_server_is_left(
    web: Files, settings: Transfer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what it has sent before is not lost."""
    monkeypatch.setattr(http, "STALLED", 0.3)
    async with relay(web.port, hold_after=2**20) as between:
        hurried = settings.model_copy(update={"deadline": 0.1})
        with pytest.raises(TransferDelayed, match="says nothing any more"):
            await get(f"http://127.0.0.1:{between.port}/in", folder / "in", hurried)
    assert len(names(folder)) == 2


async def test_a_token_goes_by_tls_to_its_host_only(
    web: Files, settings: Transfer, folder: Path, tmp_path: Path
) -> None:
    """Whoever listens elsewhere gets nothing."""
    (tmp_path / "token").write_text("hush\n")
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with serve(context) as secure:
        secure.content = CONTENT
        with pytest.raises(TransferRefused, match="certificate is not trusted"):
            await get(f"{secure.url}/in", folder / "in", settings)
        settings = Transfer(ca_file=tmp_path / "ca.pem", token_files=(f"127.0.0.1={tmp_path / 'token'}",))
        await get(f"{secure.url}/in", folder / "in", settings)
        await get(f"https://localhost:{secure.port}/in", folder / "in", settings)
        assert secure.authorization == ["Bearer hush", ""]
    await get(f"{web.url}/in", folder / "in", settings)
    assert web.authorization == [""]


async def test_a_full_disk_is_told_and_not_kept_full(web: Files, settings: Transfer, small_disk: Path) -> None:
    """Before the file comes if its size is known, else as soon as it is full."""
    hurried = settings.model_copy(update={"deadline": 0.001})
    with pytest.raises(TransferDelayed, match="the disk is too full"):
        await get(f"{web.url}/in", small_disk / "in", hurried)
    web.announced = False
    with pytest.raises(TransferDelayed, match="the disk is full"):
        await get(f"{web.url}/in", small_disk / "in", hurried)
    assert names(small_disk) == []


async def test_two_fetches_of_one_file_do_not_mix(web: Files, settings: Transfer, folder: Path) -> None:
    """The second waits for the first."""
    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(get(f"{web.url}/in", folder / "in", settings))
    assert (folder / "in").read_bytes() == CONTENT
    assert names(folder) == ["in"]
