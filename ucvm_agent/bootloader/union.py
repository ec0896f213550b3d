"""The root file system: a scratch file system laid over a read-only layer, and both shown beneath it.

What µCernVM did by aufs (references/ucernvm-boot.md, sections 1 and 10) overlayfs does here. A scratch file system that
is full stays readable as a layer in between, so that the machine keeps its changes and its identity; new ones go to
memory.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from ucvm_agent.bootloader.console import shout
from ucvm_agent.bootloader.cvmfs import KEPT
from ucvm_agent.bootloader.handover import FOLDER
from ucvm_agent.bootloader.mounting import mount, move
from ucvm_agent.bootloader.scratch import PERSISTENT, WORK, Scratch, make_branch

WRITABLE, READ_ONLY = "mnt/.rw", "mnt/.ro"
"""Where the root shows its two parts."""


def make_writable(scratch: Scratch, memory: Path) -> Path:
    """Return the file system that can be written: the scratch, or one in memory if it is full.

    The latter gets what the bootloader and the client of CernVM-FS have kept on the scratch.

    Arguments:
        memory: where a file system in memory goes, if one is needed.

    Raises:
        BootError: it cannot be mounted.
    """
    if not scratch.full:
        return scratch.folder
    writable = make_memory(memory)
    try:
        if (scratch.folder / FOLDER).is_dir():
            shutil.copytree(scratch.folder / FOLDER, writable / FOLDER)
        for name in KEPT:
            if (scratch.folder / name).is_file():
                (writable / name).parent.mkdir(exist_ok=True)
                shutil.copy2(scratch.folder / name, writable / name)
    except OSError as error:
        shout(f"not all that was kept on the scratch file system can be copied: {error}")
    return writable


def lay(layer: Path, scratch: Scratch, writable: Path, root: Path) -> None:
    """Lay the union on `root`.

    Raises:
        BootError: it cannot be mounted.
    """
    lower = [layer]
    if scratch.full and (scratch.folder / PERSISTENT).is_dir():
        lower.insert(0, scratch.folder / PERSISTENT)
    make_branch(writable)
    options = (
        f"lowerdir={':'.join(_escaped(folder) for folder in lower)}",
        f"upperdir={writable / PERSISTENT}",
        f"workdir={writable / WORK}",
        # Whoever moves the changes to another layer later has to be able to read them.
        "redirect_dir=off",
        "metacopy=off",
        # The layer may be another one at the next start, which an index would take for a mistake.
        "index=off",
    )
    mount("overlay", root, "overlay", *options)


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
