"""Copies of files, and the folders that nothing leads out of."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tests.transfer.conftest import names
from ucvm_agent.errors import TransferDelayed, TransferRefused
from ucvm_agent.settings import Transfer
from ucvm_agent.transfer.location import parse
from ucvm_agent.transfer.move import get, put
from ucvm_agent.transfer.schemes import transfer_of

CONTENT = os.urandom(3 * 2**20)


@pytest.fixture
def share(tmp_path: Path) -> Path:
    made = tmp_path / "share"
    made.mkdir()
    return made


@pytest.fixture
def settings(share: Path) -> Transfer:
    return Transfer(file_roots=(str(share),))


async def test_files_are_copied_both_ways(settings: Transfer, share: Path, folder: Path) -> None:
    """Nothing else is left, not even of a copy that a power cut has stopped."""
    (share / "in").write_bytes(CONTENT)
    await get(f"file://{share}/in", folder / "file", settings)
    await put(folder / "file", f"file://{share}/out", settings)
    assert (share / "out").read_bytes() == CONTENT
    assert names(share) == ["in", "out"]
    assert names(folder) == ["file"]


@pytest.mark.parametrize(
    "path", ["outside", "share/link", "share/folder-link/outside", "share", "share/pipe", "share/no"]
)
async def test_only_files_in_the_folders_of_the_settings_can_be_had(
    settings: Transfer, share: Path, tmp_path: Path, folder: Path, path: str
) -> None:
    """No link leads out, no pipe holds the agent up."""
    (tmp_path / "outside").write_bytes(b"x")
    (share / "link").symlink_to(tmp_path / "outside")
    (share / "folder-link").symlink_to(tmp_path)
    os.mkfifo(share / "pipe")
    with pytest.raises(TransferRefused):
        await get(f"file://{tmp_path}/{path}", folder / "in", settings)
    assert names(folder) == []


@pytest.mark.parametrize("path", ["out", "share/folder-link/out", "share/absent/out"])
async def test_nothing_is_put_elsewhere(
    settings: Transfer, share: Path, tmp_path: Path, folder: Path, path: str
) -> None:
    """Whatever links say."""
    (share / "folder-link").symlink_to(tmp_path)
    (folder / "file").write_bytes(b"x")
    with pytest.raises(TransferRefused):
        await put(folder / "file", f"file://{tmp_path}/{path}", settings)
    assert not (tmp_path / "out").exists()


async def test_a_link_is_replaced_and_not_followed(
    settings: Transfer, share: Path, tmp_path: Path, folder: Path
) -> None:
    """At the place of the file itself."""
    (tmp_path / "outside").write_bytes(b"x")
    (share / "out").symlink_to(tmp_path / "outside")
    (folder / "file").write_bytes(CONTENT)
    await put(folder / "file", f"file://{share}/out", settings)
    assert (tmp_path / "outside").read_bytes() == b"x"
    assert (share / "out").read_bytes() == CONTENT


async def test_a_copy_that_was_given_up_does_not_meddle_with_the_next_one(
    settings: Transfer, share: Path, folder: Path
) -> None:
    """Its thread may still hang in a disk that does not answer; here, in a pipe."""
    os.mkfifo(folder / "stuck")
    (folder / "file").write_bytes(CONTENT)
    target = parse(f"file://{share}/out")
    copy = transfer_of(target, settings)
    first = asyncio.create_task(copy.send(folder / "stuck", target))
    pipe = await asyncio.to_thread(os.open, folder / "stuck", os.O_WRONLY)
    first.cancel()
    await asyncio.wait([first])
    try:
        with pytest.raises(TransferDelayed, match="an earlier copy has not come to its end"):
            await copy.send(folder / "file", target)
    finally:
        os.close(pipe)
    await put(folder / "file", target.url, settings)
    assert (share / "out").read_bytes() == CONTENT
    assert names(share) == ["out"]


async def test_without_settings_there_are_no_files(share: Path, folder: Path) -> None:
    """The agent is root, and URLs come from afar."""
    (share / "in").touch()
    with pytest.raises(TransferRefused, match="none of the folders"):
        await get(f"file://{share}/in", folder / "in", Transfer())
