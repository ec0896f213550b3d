"""Which disk becomes the scratch file system, and that no other is ever written."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.bootloader.disks import Disks, label
from ucvm_agent.bootloader import scratch
from ucvm_agent.errors import BootError

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="loop devices need root")


def test_the_first_empty_disk_is_taken(disks: Disks) -> None:
    """Disks with a file system, a swap area, a partition table, or mere bytes are left as they are."""
    used = {}
    for name, mark in {"swap": (4086, b"SWAPSPACE2"), "table": (510, b"\x55\xaa"), "bytes": (77, b"x")}.items():
        image, _ = disks.add(name)
        with image.open("r+b") as file:
            file.seek(mark[0])
            file.write(mark[1])
        used[image] = image.read_bytes()
    tail, _ = disks.add("tail")
    with tail.open("r+b") as file:
        file.seek(-512, os.SEEK_END)
        file.write(b"EFI PART")
    used[tail] = tail.read_bytes()
    for options in ({"read_only": True}, {"parted": True}):
        image, _ = disks.add("-".join(options), **options)
        used[image] = image.read_bytes()
    empty, device = disks.add("empty")
    second, _ = disks.add("second")
    assert scratch.make(limited=False, blocks=disks.sys) == device
    assert label(empty) == "UROOT"
    assert not any(second.read_bytes())
    assert [image.name for image, content in used.items() if image.read_bytes() != content] == []


def test_a_device_that_is_the_layer_is_spared(disks: Disks) -> None:
    """Even if it looks empty."""
    _, device = disks.add("layer")
    with pytest.raises(BootError, match="no empty disk"):
        scratch.make(limited=False, spared=device, blocks=disks.sys)


def test_a_power_cut_while_it_is_made(disks: Disks) -> None:
    """The next start begins anew, although the disk is not empty any more."""
    image, device = disks.add("cut")
    with image.open("r+b") as file:
        file.write(b"half a file system")
        file.seek(-scratch.RESERVE, os.SEEK_END)
        file.write(scratch.MARK)
    assert scratch.make(limited=False, blocks=disks.sys) == device
    assert label(image) == "UROOT"
    assert not scratch.is_unfinished(device)


def test_a_mark_beneath_another_file_system_does_not_count(disks: Disks) -> None:
    """Somebody has put something on the disk since."""
    image, _ = disks.add("later")
    with image.open("r+b") as file:
        file.seek(-scratch.RESERVE, os.SEEK_END)
        file.write(scratch.MARK)
    subprocess.run(["mkswap", "--quiet", image], check=True)
    with pytest.raises(BootError, match="no empty disk"):
        scratch.make(limited=False, blocks=disks.sys)
