"""Loop devices that look like the disks of a machine."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path

MIB = 1024 * 1024


class Disks:
    """The disks of one machine; their own folder `sys` stands for /sys/class/block and /sys/block.

    This process holds each of them open, and they are detached when it closes them, or ends, however it ends.
    """

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.sys = folder / "sys"
        self.sys.mkdir()
        self._folder = folder
        self._stack = stack

    def add(self, name: str, mebibytes: int = 80, *, read_only: bool = False, parted: bool = False) -> tuple[Path, str]:
        """Make an empty disk; return its image and its device."""
        image = self.image(name)
        os.truncate(image, mebibytes * MIB)
        return image, self.plug(image, read_only=read_only, parted=parted)

    def image(self, name: str, content: bytes = b"") -> Path:
        """Make what a disk can be made of."""
        image = self._folder / name
        image.write_bytes(content)
        return image

    def plug(self, image: Path, *, read_only: bool = False, parted: bool = False) -> str:
        """Make a disk of an image, and return its device."""
        command = ["losetup", "--find", "--show", *(("--read-only",) if read_only else ()), image]
        device = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
        self._stack.callback(os.close, os.open(device, os.O_RDONLY))
        subprocess.run(["losetup", "--detach", device], check=True)  # when nobody has it open any more
        entry = self.sys / Path(device).name
        for part in ("device", "holders", "slaves", *(("p1",) if parted else ())):
            (entry / part).mkdir(parents=True)
        if parted:
            (entry / "p1/partition").write_text("1\n")
        number = Path(device).stat().st_rdev
        facts = {
            "size": image.stat().st_size // 512,
            "ro": int(read_only),
            "removable": 0,
            "dev": f"{os.major(number)}:{os.minor(number)}",
        }
        for fact, value in facts.items():
            (entry / fact).write_text(f"{value}\n")
        return device

    def unplug(self, device: str) -> None:
        """Let the machine have it no more."""
        shutil.rmtree(self.sys / Path(device).name)

    @property
    def devices(self) -> list[str]:
        """Their paths, in the order of their names."""
        return sorted(f"/dev/{entry.name}" for entry in self.sys.iterdir())


def label(image: Path) -> str:
    """Return the label of the file system in an image."""
    shown = subprocess.run(["blkid", "-p", "-o", "value", "-s", "LABEL", image], capture_output=True, text=True)
    return shown.stdout.strip()


def digest(image: Path) -> str:
    """Return what changes with anything in an image."""
    return hashlib.sha256(image.read_bytes()).hexdigest()
