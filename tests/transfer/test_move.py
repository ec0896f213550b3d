"""What holds for all schemes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.servers.files import Fault, Files
from tests.transfer.conftest import names
from ucvm_agent.errors import TransferDelayed, TransferRefused
from ucvm_agent.settings import Transfer
from ucvm_agent.transfer.move import get, put
from ucvm_agent.transfer.partial import Partial


async def test_an_unknown_scheme_is_refused(settings: Transfer, folder: Path) -> None:
    """With those that there are."""
    with pytest.raises(TransferRefused, match="there are chirp, file, http, https, s3"):
        await get("gopher://site.example/file", folder / "in", settings)


@pytest.mark.parametrize("name", ["folder", "link", "pipe", "absent", "large"])
async def test_only_a_regular_file_is_sent(web: Files, settings: Transfer, folder: Path, name: str) -> None:
    """Job folders are not to be trusted."""
    (folder / "folder").mkdir()
    (folder / "link").symlink_to("/etc/passwd")
    os.mkfifo(folder / "pipe")
    (folder / "large").write_bytes(b"four")
    with pytest.raises(TransferRefused) as caught:
        await put(folder / name, f"{web.url}/out", settings.model_copy(update={"max_bytes": 3}))
    assert caught.value.where == str(folder / name)
    assert web.asked == []


async def test_a_trap_at_the_name_of_the_partial_file_is_not_followed(
    web: Files, settings: Transfer, folder: Path, tmp_path: Path
) -> None:
    """Whoever owns the folder may have guessed it."""
    web.content = b"content"
    (victim := tmp_path / "victim").write_bytes(b"x")
    url = f"{web.url}/in"
    partial = Partial(folder / "in", url, 10)
    partial.open()
    (name,) = names(folder)
    partial.close()
    for trap in (lambda path: path.symlink_to(victim), lambda path: path.hardlink_to(victim), os.mkfifo):
        trap(folder / name)
        await get(url, folder / "in", settings)
        assert (folder / "in").read_bytes() == b"content"
        assert victim.read_bytes() == b"x"
        assert names(folder) == ["in"]


@pytest.mark.parametrize(
    "note", [b"", b"[]", b"{}", b'{"size": "x", "version": "1"}', b"\xff", b'{"size": 99, "version": "1"}']
)
async def test_a_damaged_note_is_no_note(web: Files, settings: Transfer, folder: Path, note: bytes) -> None:
    """The file is fetched from its beginning."""
    web.content = os.urandom(2**21)
    web.faults = [Fault(breaks_after=2**20)]
    with pytest.raises(TransferDelayed):
        await get(f"{web.url}/in", folder / "in", settings.model_copy(update={"deadline": 0.001}))
    kept, content = names(folder)
    (folder / content).write_bytes(b"short")
    (folder / kept).write_bytes(note)
    await get(f"{web.url}/in", folder / "in", settings)
    assert (folder / "in").read_bytes() == web.content
    assert web.asked[-1] == ("GET", "")


async def test_a_try_has_its_time(web: Files, folder: Path) -> None:
    """However slowly it goes on."""
    hurried = Transfer(timeout=0.000001, deadline=0.000001)
    with pytest.raises(TransferDelayed, match="longer than"):
        await get(f"{web.url}/in", folder / "in", hurried)
    assert names(folder) == []


async def test_a_folder_that_is_not_there_is_told(web: Files, settings: Transfer, folder: Path) -> None:
    """Nobody makes it later."""
    with pytest.raises(TransferRefused, match="No such file or directory"):
        await get(f"{web.url}/in", folder / "absent/in", settings)


@pytest.mark.parametrize("tokens", ["host", "=/file", "host=", "host=relative"])
def test_token_files_name_host_and_file(tokens: str) -> None:
    """As the settings say."""
    with pytest.raises(ValidationError, match="HOST=/FILE"):
        Transfer.model_validate({"token_files": tokens})
