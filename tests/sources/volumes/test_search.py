"""The right volume is found among several, on loop devices that stand for drives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.sources.conftest import descriptors
from tests.sources.images import loop_device, make_image
from ucvm_agent.errors import SourceAbsent, SourceRefused
from ucvm_agent.sources.volumes import search as search_module
from ucvm_agent.sources.volumes.device import Device
from ucvm_agent.sources.volumes.search import Wanted, search, search_all
from ucvm_agent.sources.volumes.superblock import FileSystem
from ucvm_agent.sources.volumes.volume import Volume

WANTED = Wanted("a word", ("WORDS",), frozenset({FileSystem.ISO9660, FileSystem.FAT}))


def look(volume: Volume) -> bytes | None:
    return volume.read("word")


class Drives:
    """Drives of this test alone: the machine's others are none of its business."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.devices: list[Device] = []
        self._folder = folder
        self._stack = stack

    def add(self, word: bytes | None, label: str, kind: str = "both") -> str:
        files = {"word": word} if word is not None else {"other": b""}
        image = make_image(self._folder / f"image-{len(self.devices)}", files, kind=kind, label=label)
        return self.add_image(image)

    def add_image(self, image: Path) -> str:
        self.devices.append(Device(self._stack.enter_context(loop_device(image))))
        return self.devices[-1].path


@pytest.fixture
def drives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Drives]:
    with ExitStack() as stack:
        drives = Drives(tmp_path, stack)
        monkeypatch.setattr(search_module, "list_devices", lambda: drives.devices)
        yield drives


async def test_label_is_preferred_to_the_order_of_devices(drives: Drives) -> None:
    """It is read from the medium where udev says nothing; without a label any volume will do."""
    before = descriptors()
    drives.add(b"first", "OTHER")
    labelled = drives.add(b"labelled", "words", "fat12")
    hit = await search(WANTED, look)
    assert (hit.device, hit.content) == (labelled, b"labelled")
    drives.devices.pop()
    assert (await search(WANTED, look)).content == b"first"
    assert descriptors() == before


async def test_damaged_volume_gives_way_to_the_next(drives: Drives, tmp_path: Path) -> None:
    """With a warning for it; alone, it is the reason that there is nothing."""
    image = make_image(tmp_path / "damaged", {"word": b"damaged"}, label="WORDS")
    content = bytearray(image.read_bytes())
    content[18 * 2048 :] = bytes(len(content) - 18 * 2048)
    image.write_bytes(content)
    damaged = drives.add_image(image)
    with pytest.raises(SourceRefused, match="damaged"):
        await search(WANTED, look)
    drives.add(b"sound", "WORDS")
    with capture_logs() as logs:
        assert (await search(WANTED, look)).content == b"sound"
    warnings = [line["event"] for line in logs if line["log_level"] == "warning"]
    assert len(warnings) == 2
    assert any(damaged in line.get("device", "") for line in logs)


async def test_volumes_are_read_in_the_order_of_devices(drives: Drives) -> None:
    """All that have something."""
    drives.add(b"1", "A")
    drives.add(None, "B")
    drives.add(b"2", "C", "fat16")
    assert [hit.content for hit in await search_all(WANTED, look)] == [b"1", b"2"]


async def test_nothing_is_an_error_that_says_what_was_looked_for(drives: Drives, tmp_path: Path) -> None:
    """Also on a volume that is named."""
    drives.add(None, "OTHER")
    with pytest.raises(SourceAbsent, match="a word"):
        await search(WANTED, look)
    image = make_image(tmp_path / "named", {"other": b""})
    with pytest.raises(SourceAbsent, match="a word"):
        await search(WANTED, look, str(image))
    with pytest.raises(SourceAbsent, match="no such image"):
        await search(WANTED, look, str(tmp_path / "absent"))
