"""The block devices of the machine, and what is said of them to everybody.

The kernel lists them in /sys/class/block, and udev keeps label and file system of each in /run/udev/data, which
everybody may read. Where there is no udev (an initramfs) nothing is said, and who may read a device has to look.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_PASSED_OVER = re.compile(r"(ram|zram|nbd)\d")
"""Memory disks, which are born empty, and network disks without a server, which are there by the dozen."""

_SLOW = re.compile(r"fd\d")
"""Floppy drives, which take seconds to say that there is no medium."""


@dataclass(frozen=True, slots=True)
class Device:
    """A disk, a partition or a drive.

    Arguments:
        path: of the device.
        label: of the file system; empty if there is none, or nobody says.
        file_system: by its usual name (`iso9660`, `vfat`, `ext4` for ext2 and ext3, too); empty if there is none, None
            if nobody says.
    """

    path: str
    label: str = ""
    file_system: str | None = None

    def is_labelled(self, *labels: str) -> bool:
        """Tell whether it has one of these labels; case does not matter (references/clouds.md, section 2.8)."""
        return bool(self.label) and self.label.lower() in {label.lower() for label in labels}


def list_devices(root: Path = Path("/")) -> list[Device]:
    """Return the devices that have a medium: whole disks before partitions, floppies last, each sorted by name.

    Arguments:
        root: what is treated as /; its `dev`, `run` and `sys` are read.
    """
    folder = root / "sys/class/block"
    try:
        names = sorted((path.name for path in folder.iterdir()), key=_by_number)
    except OSError:
        return []
    there = [name for name in names if _may_hold_files(root, name)]
    there.sort(key=lambda name: (bool(_SLOW.match(name)), (folder / name / "partition").exists()))
    return [_described(root, name) for name in there]


def _may_hold_files(root: Path, name: str) -> bool:
    if _PASSED_OVER.match(name) or not (root / "dev" / _node(name)).exists():
        return False
    return _text(root / "sys/class/block" / name / "size") not in ("", "0")


def _described(root: Path, name: str) -> Device:
    path = f"/dev/{_node(name)}"
    number = _text(root / "sys/class/block" / name / "dev")
    record = root / "run/udev/data" / f"b{number}"
    if not number or not record.is_file():
        return Device(path)
    lines = [line.removeprefix("E:").partition("=") for line in _text(record).splitlines() if line.startswith("E:")]
    values = {key: value for key, _, value in lines}
    label = values.get("ID_FS_LABEL_ENC", values.get("ID_FS_LABEL", ""))
    kind = values.get("ID_FS_TYPE", "")
    return Device(path, _unescaped(label), "ext4" if kind in ("ext2", "ext3") else kind)


def _node(name: str) -> str:
    return name.replace("!", "/")  # cciss/c0d0


def _unescaped(text: str) -> str:
    r"""Return a label of udev's as it was written: it has `\x20` for a blank."""
    return re.sub(r"\\x([0-9a-f]{2})", lambda match: chr(int(match[1], 16)), text)


def _by_number(name: str) -> list[tuple[int, str]]:
    return [(int(piece), "") if piece.isdecimal() else (0, piece) for piece in re.split(r"(\d+)", name)]


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
