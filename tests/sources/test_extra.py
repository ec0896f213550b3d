"""Extra user-data on volumes, and what the bootloader has left."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.sources.images import loop_device, make_image
from ucvm_agent.errors import SourceAbsent, SourceRefused
from ucvm_agent.settings import Bootloader, Extra, Settings
from ucvm_agent.sources import bootloader, extra
from ucvm_agent.sources.base import Found
from ucvm_agent.sources.machine import Machine
from ucvm_agent.sources.volumes import search
from ucvm_agent.sources.volumes.device import Device
from ucvm_agent.stages import discovery


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> list[Device]:
    """Devices of this test alone."""
    devices: list[Device] = []
    monkeypatch.setattr(search, "list_devices", lambda: devices)
    return devices


async def test_all_volumes_count_in_the_order_of_devices(tmp_path: Path, devices: list[Device]) -> None:
    """One text behind the other, each with its last line ended, and the last archive."""
    contents = [
        {"cernvm/extra-user-data": b"[cernvm]\nproxy=1", "cernvm/pickup.tar.gz": b"first"},
        {"other": b""},
        {"cernvm/extra-user-data": b"[cernvm]\nproxy=2\n", "cernvm/pickup.tar.gz": b"last"},
    ]
    with ExitStack() as stack:
        for number, files in enumerate(contents):
            image = make_image(tmp_path / str(number), files, kind="fat12" if number else "both")
            devices.append(Device(stack.enter_context(loop_device(image))))
        found = await extra.Source(Extra()).add_to(Found("ec2", "http://x", b"data"))
    assert (found.user_data, found.source) == (b"data", "ec2")
    assert found.extra_data == b"[cernvm]\nproxy=1\n[cernvm]\nproxy=2\n"
    assert found.pickup == b"last"
    assert found.origin == f"http://x, {devices[0].path} (extra), {devices[2].path} (extra)"


async def test_volume_by_itself_is_a_source(tmp_path: Path, devices: list[Device]) -> None:
    """For a dry run; nothing extra anywhere is nothing."""
    image = make_image(tmp_path / "image", {"cernvm/extra-user-data": b"[cernvm]\n"})
    found = await extra.Source(Extra(device=str(image))).fetch()
    assert (found.user_data, found.extra_data) == (None, b"[cernvm]\n")
    assert found.metadata.instance_id
    with pytest.raises(SourceAbsent):
        await extra.Source(Extra()).fetch()
    ec2 = Found("ec2", "http://x", b"data")
    assert await extra.Source(Extra()).add_to(ec2) is ec2


async def test_another_source_gets_the_extra_data_and_its_failure_costs_nothing(tmp_path: Path) -> None:
    """Discovery joins both; a volume that cannot be read is a warning."""
    (tmp_path / "user-data").write_bytes(b"data")
    image = make_image(tmp_path / "image", {"cernvm/extra-user-data": b"extra\n"})
    for device, expected in ((image, b"extra\n"), (tmp_path / "absent", None)):
        settings = Settings.model_validate(
            {
                "sources": {
                    "names": ["file", "extra"],
                    "file": {"path": str(tmp_path / "user-data")},
                    "extra": {"device": str(device)},
                }
            }
        )
        found = await discovery.discover(settings)
        assert (found.source, found.user_data, found.extra_data) == ("file", b"data", expected)


async def test_extra_data_count_where_no_source_answers(tmp_path: Path) -> None:
    """What an earlier boot was told goes before, unless it was nothing but such data."""
    image = make_image(tmp_path / "image", {"cernvm/extra-user-data": b"extra\n"}, kind="ext4")
    settings = Settings.model_validate(
        {
            "sources": {
                "names": ["file", "extra"],
                "file": {"path": str(tmp_path / "absent")},
                "extra": {"device": str(image)},
            }
        }
    )
    with pytest.raises(SourceAbsent):
        await discovery.discover(settings)
    alone = await discovery.fall_back(settings)
    assert alone is not None
    assert (alone.source, alone.user_data, alone.extra_data) == ("extra", None, b"extra\n")
    assert await discovery.fall_back(settings, replace(alone, extra_data=b"older")) == alone
    earlier = Found("ec2", "http://x", b"data")
    assert await discovery.fall_back(settings, earlier) is earlier
    image.unlink()
    assert await discovery.fall_back(settings) is None


async def test_partition_of_ext4_is_read_like_a_disc(tmp_path: Path, devices: list[Device]) -> None:
    """By whoever may read the device; nothing is mounted."""
    image = make_image(tmp_path / "image", {"cernvm/extra-user-data": b"[cernvm]\n"}, kind="ext4")
    with loop_device(image) as device:
        devices.append(Device(device))
        found = await extra.Source(Extra()).fetch()
    assert (found.extra_data, found.origin) == (b"[cernvm]\n", f"{device} (extra)")


def left_by_bootloader(folder: Path) -> bootloader.Source:
    return bootloader.Source(Bootloader(context=str(folder / "context"), extra=str(folder / "extra")))


async def test_what_the_bootloader_has_left_is_taken(tmp_path: Path, devices: list[Device]) -> None:
    """With the word where it had it from; its extra data are not looked for again."""
    (tmp_path / "context").mkdir()
    (tmp_path / "context/user-data").write_bytes(b"data")
    (tmp_path / "context/source").write_text("OpenNebula\n")
    (tmp_path / "extra").write_bytes(b"extra")
    source = left_by_bootloader(tmp_path)
    assert source.candidate(Machine()).likely is True
    found = await source.fetch()
    assert (found.user_data, found.extra_data) == (b"data", b"extra")
    assert found.origin == f"{tmp_path}/context/user-data (from OpenNebula)"
    assert await extra.Source(Extra()).add_to(found) is found


async def test_machine_without_that_bootloader(tmp_path: Path) -> None:
    """It is absent; a folder in place of the file is refused."""
    source = left_by_bootloader(tmp_path)
    assert source.candidate(Machine()).likely is False
    with pytest.raises(SourceAbsent):
        await source.fetch()
    (tmp_path / "context/user-data").mkdir(parents=True)
    with pytest.raises(SourceRefused):
        await source.fetch()
