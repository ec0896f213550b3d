"""The scratch file system: found by its label, or made on a disk that is certainly empty.

The rules are µCernVM's (references/ucernvm-boot.md, section 2) without its hazard: there, everything that it could
not mount counted as empty, swap and LVM too. Here a disk is empty if it has no partitions, nobody uses it, blkid
knows nothing on it, and its beginning and its end are zero.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ucvm_agent.bootloader.console import say, shout
from ucvm_agent.bootloader.mounting import CHECK_SECONDS, make_folder, mount, run, unmount
from ucvm_agent.bootloader.superblock import Superblock
from ucvm_agent.errors import BootError

LABEL = "UROOT"
PROBED = 1024 * 1024
"""Bytes at each end of a disk that have to be zero."""
SMALLEST = 64 * 1024 * 1024
"""Bytes of a disk that is worth it."""
LIMIT = 20 * 1024 * 1024 * 1024
"""Bytes that are used where the context says `resize_rootfs=off`."""
RESERVE = 1024 * 1024
"""Bytes at the end of the disk that the file system leaves for the mark."""
SPARE = 16 * 1024 * 1024
"""A file system with fewer bytes free is full: a system that cannot write its log does not come up well. …"""
SPARE_FILES = 128
"""… Nor one that cannot make files (µCernVM kept 127 for that, references/ucernvm-boot.md, section 1)."""
PERSISTENT, WORK = "persistent", "work"
"""The writable branch of the union, and overlayfs's own folder beside it."""

MARK = b"ucvm-agent makes a scratch file system here\n"
"""Stands at the end of the disk as long as the file system is not complete. A power cut then leaves a disk that is
neither empty nor ours; the mark says that it was empty, and may be used."""

_NOTHING_FOUND = 2
"""Exit code of blkid."""
_MENDED, _RESTART, _DAMAGED = 1, 2, 4
"""Bits of the exit code of e2fsck; only a file system that is mounted needs a new start."""


@dataclass(frozen=True, slots=True)
class Scratch:
    """A scratch file system that is mounted.

    Arguments:
        device: that it is on; empty for one in memory.
        full: it is mounted read-only, since there is no room on it.
    """

    folder: Path
    device: str = ""
    full: bool = False


def find() -> list[str]:
    """Return the devices with the label and a file system like ours, the oldest first.

    A disk that came late once has made the machine take another one; its age, not its name, tells which was first.

    Raises:
        BootError: the devices cannot be looked at.
    """
    ended = run("blkid", "-c", "/dev/null", "-o", "device", "-t", f"LABEL={LABEL}", fine=(0, _NOTHING_FOUND))
    found = []
    for device in ended.stdout.split():
        superblock = Superblock.read(device)
        if superblock is None:
            shout(f"{device} has the label {LABEL}, but no file system of ours; it is left alone")
        elif not is_unfinished(device):
            found.append((superblock.made, device))
    return [device for _, device in sorted(found)]


def attach(device: str, folder: Path) -> Scratch:
    """Check a scratch file system, mount it, and see whether it can be written.

    Raises:
        BootError: it is damaged, or cannot be mounted; it is not mounted then.
    """
    _check(device)
    # What goes wrong while the machine runs must not grow by what is written afterwards.
    mount(device, folder, "ext4", "noatime,errors=remount-ro")
    try:
        space = os.statvfs(folder)
        if space.f_bavail * space.f_frsize >= SPARE and space.f_favail >= SPARE_FILES:
            make_branch(folder)
            return Scratch(folder, device)
    except (BootError, OSError) as error:
        unmount(folder)
        raise BootError(str(error), where=device) from None
    unmount(folder)
    mount(device, folder, "ext4", "ro")
    return Scratch(folder, device, full=True)


def make_branch(folder: Path) -> None:
    """Make the folders of the union on a file system, unless they are there.

    Raises:
        BootError: they cannot be made.
    """
    for name in (PERSISTENT, WORK):
        make_folder(folder / name)


def _check(device: str) -> None:
    ended = run("e2fsck", "-p", device, seconds=CHECK_SECONDS, fine=tuple(range(2 * _DAMAGED)))
    if ended.returncode & _DAMAGED:
        hint = f"`e2fsck -f {device}` in the running system mends what can be mended; then start again"
        raise BootError("e2fsck finds faults that need a person", where=device, hint=hint)
    if ended.returncode & _MENDED:
        say(f"faults of the scratch file system {device} were mended")


def make(*, limited: bool, spared: str = "", blocks: Path = Path("/sys/class/block")) -> str:
    """Make the file system on the first empty disk, and return its device.

    Arguments:
        limited: use no more than `LIMIT`.
        spared: a device that is not taken, whatever is on it.

    Raises:
        BootError: there is no empty disk, or it cannot be written.
    """
    for disk in _disks(blocks):
        if disk != spared and (is_unfinished(disk) or is_empty(disk)):
            _format(disk, limited=limited)
            return disk
    raise BootError("there is no empty disk", hint="a disk with anything on it is never taken")


def is_empty(device: str) -> bool:
    """Return whether certainly nothing is on the device; a device that cannot be read is not empty."""
    try:
        ended = run("blkid", "-p", device, fine=(0, _NOTHING_FOUND, 8))
        return ended.returncode == _NOTHING_FOUND and not any(_end_bytes(device))
    except (BootError, OSError):
        return False


def is_unfinished(device: str) -> bool:
    """Return whether a power cut has interrupted the making of a scratch file system here, and nobody came after.

    One that was mounted is complete, whatever stands where the mark has its place: that may be somebody's file.
    """
    try:
        superblock = Superblock.read(device)
        if superblock is not None and superblock.was_mounted:
            return False
        probed = run("blkid", "-p", "-o", "export", device, fine=(0, _NOTHING_FOUND)).stdout.splitlines()
        if probed and f"LABEL={LABEL}" not in probed:
            return False
        with Path(device).open("rb") as disk:
            disk.seek(-RESERVE, os.SEEK_END)
            return disk.read(len(MARK)) == MARK
    except (BootError, OSError):
        return False


def _end_bytes(device: str) -> bytes:
    with Path(device).open("rb") as disk:
        beginning = disk.read(PROBED)
        disk.seek(-PROBED, os.SEEK_END)
        return beginning + disk.read(PROBED)


def _disks(blocks: Path) -> list[str]:
    """Return the whole disks that can be written and that nobody uses, in the order of the kernel's names."""
    found = []
    for entry in sorted(blocks.iterdir(), key=lambda path: (len(path.name), path.name)):
        if (entry / "device").exists() and not _is_used(entry) and _number(entry / "size") * 512 >= SMALLEST:
            found.append(f"/dev/{entry.name}")
    return found


def _is_used(entry: Path) -> bool:
    holders, slaves = (list(folder.iterdir()) for folder in (entry / "holders", entry / "slaves"))
    parted = any((child / "partition").exists() for child in entry.iterdir())
    return bool(holders or slaves or parted or _number(entry / "ro") or _number(entry / "removable"))


def _number(path: Path) -> int:
    with suppress(OSError, ValueError):
        return int(path.read_text())
    return 0


def _format(disk: str, *, limited: bool) -> None:
    try:
        size = _write_mark(disk, MARK)
        kibibytes = min(size - RESERVE, LIMIT if limited else size) // 1024
        command = ("mke2fs", "-q", "-F", "-t", "ext4", "-m", "1", "-L", LABEL, "-E", "lazy_itable_init=1,nodiscard")
        run(*command, disk, f"{kibibytes}k", seconds=CHECK_SECONDS)
        os.sync()
        _write_mark(disk, bytes(len(MARK)))
    except OSError as error:
        raise BootError(f"cannot be written: {error.strerror}", where=disk) from None


def _write_mark(disk: str, mark: bytes) -> int:
    """Write it, and return the size of the disk in bytes."""
    with Path(disk).open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(size - RESERVE)
        file.write(mark)
        file.flush()
        os.fsync(file.fileno())
    return size
