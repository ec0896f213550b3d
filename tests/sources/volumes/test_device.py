"""Which volumes a machine has, and what is told of them to everybody."""

from __future__ import annotations

from pathlib import Path

from ucvm_agent.sources.machine import Machine
from ucvm_agent.sources.volumes.device import Device, list_devices
from ucvm_agent.sources.volumes.search import Wanted
from ucvm_agent.sources.volumes.superblock import FileSystem


def add(root: Path, name: str, size: int = 1000, *, partition: bool = False, udev: str | None = None) -> None:
    """Add a block device to the sysfs of a machine."""
    folder = root / "sys/class/block" / name
    folder.mkdir(parents=True)
    number = f"8:{len(list(folder.parent.iterdir()))}"
    (folder / "size").write_text(f"{size}\n")
    (folder / "dev").write_text(f"{number}\n")
    if partition:
        (folder / "partition").write_text("1\n")
    (root / "dev").mkdir(exist_ok=True)
    (root / "dev" / name).touch()
    if udev is not None:
        (root / "run/udev/data").mkdir(parents=True, exist_ok=True)
        (root / "run/udev/data" / f"b{number}").write_text(udev)


def test_whole_disks_come_first_and_floppies_last(tmp_path: Path) -> None:
    """By name, with numbers as numbers; without a medium, and in memory, is no device at all."""
    for name in ("vdb", "sr10", "sr2", "fd0", "ram0", "zram0"):
        add(tmp_path, name)
    add(tmp_path, "vda1", partition=True)
    add(tmp_path, "loop0", size=0)
    assert [device.path for device in list_devices(tmp_path)] == [
        "/dev/sr2",
        "/dev/sr10",
        "/dev/vdb",
        "/dev/vda1",
        "/dev/fd0",
    ]


def test_udev_tells_label_and_file_system(tmp_path: Path) -> None:
    """To everybody; of a disk that it knows nothing of it says so, and without it nothing is known."""
    add(tmp_path, "sr0", udev="S:cdrom\nE:ID_FS_LABEL=my_data\nE:ID_FS_LABEL_ENC=my\\x20data\nE:ID_FS_TYPE=iso9660\n")
    add(tmp_path, "vda", udev="E:ID_PART_TABLE_TYPE=gpt\n")
    add(tmp_path, "vdb")
    assert list_devices(tmp_path) == [
        Device("/dev/sr0", "my data", "iso9660"),
        Device("/dev/vda", "", ""),
        Device("/dev/vdb", "", None),
    ]
    assert Machine.read(tmp_path).volumes == tuple(list_devices(tmp_path))
    assert list_devices(tmp_path / "absent") == []


def test_label_makes_a_volume_likely_whatever_its_case() -> None:
    """If it has the right file system, too; and a machine that has no such volume speaks against it."""
    wanted = Wanted("a drive", ("config-2",), frozenset({FileSystem.ISO9660, FileSystem.FAT}))
    only = Wanted("a drive", ("config-2",), frozenset({FileSystem.ISO9660}), only_labelled=True)
    disk, disc = Device("/dev/vda", "root", "ext4"), Device("/dev/sr0", "other", "iso9660")
    assert wanted.candidate((disk, Device("/dev/sr0", "CONFIG-2", "iso9660"))).likely is True
    assert wanted.candidate((disk, Device("/dev/vda", "config-2", "ext4"))).likely is False
    assert wanted.candidate((disk, disc)).likely is None
    assert only.candidate((disk, disc)).likely is False
    assert only.candidate((disk, Device("/dev/sr0"))).likely is None
    assert wanted.candidate((), named="image.iso").likely is True
    assert wanted.candidate(()).likely is False
