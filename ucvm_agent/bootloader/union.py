"""The root file system: a scratch file system laid over a read-only layer, and both shown beneath it.

What µCernVM did by aufs (references/ucernvm-boot.md, sections 1 and 10) overlayfs does here. A scratch file system that
is full stays readable as a layer in between, so that the machine keeps its changes and its identity; new ones go to
memory.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from ucvm_agent.bootloader.handover import FOLDER
from ucvm_agent.bootloader.mounting import mount, move
from ucvm_agent.bootloader.scratch import Scratch

WRITABLE, READ_ONLY = "mnt/.rw", "mnt/.ro"
"""Where the root shows its two parts."""
PERSISTENT = "persistent"
"""The writable branch."""
WORK = "work"
"""Overlayfs's own, beside the branch on the same file system."""


def lay(layer: Path, scratch: Scratch, root: Path, memory: Path) -> Path:
    """Lay the union on `root`, and return the writable file system, which is another one if the scratch is full.

    Arguments:
        memory: where a file system in memory goes, if one is needed.

    Raises:
        BootError: it cannot be mounted.
    """
    writable, lower = scratch.folder, [layer]
    if scratch.full:
        writable = make_memory(memory)
        if (scratch.folder / FOLDER).is_dir():
            shutil.copytree(scratch.folder / FOLDER, writable / FOLDER)
        if (scratch.folder / PERSISTENT).is_dir():
            lower.insert(0, scratch.folder / PERSISTENT)
    for name in (PERSISTENT, WORK):
        (writable / name).mkdir(mode=0o755, exist_ok=True)
    options = (
        f"lowerdir={':'.join(_escaped(folder) for folder in lower)}",
        f"upperdir={writable / PERSISTENT}",
        f"workdir={writable / WORK}",
        # Whoever moves the changes to another layer later has to be able to read them.
        "redirect_dir=off",
        "metacopy=off",
    )
    mount("overlay", root, "overlay", *options)
    return writable


def show(layer: Path, writable: Path, root: Path) -> None:
    """Show both parts in the root, since their own places vanish with the initial RAM disk.

    Raises:
        BootError: they cannot be moved.
    """
    move(writable, root / WRITABLE)
    move(layer, root / READ_ONLY)


def make_memory(folder: Path) -> Path:
    """Mount a file system in memory, half of it at most, and return its folder.

    Raises:
        BootError: it cannot be mounted.
    """
    mount("tmpfs", folder, "tmpfs", "mode=0755", "size=50%")
    return folder


def _escaped(folder: Path) -> str:
    text = str(folder)
    for character in "\\:,":
        text = text.replace(character, f"\\{character}")
    return text
