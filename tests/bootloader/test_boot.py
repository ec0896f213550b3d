"""What a machine has as its root, made by the real bootloader of real file systems."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.bootloader.disks import Disks, digest, label
from tests.bootloader.layers import CHANGE, CHANGED, LOOK, make_layer
from tests.bootloader.machine import Machine
from tests.sources.images import make_image

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")


def context(disks: Disks, folder: Path, block: str) -> str:
    """Give the machine a config drive with this block for the bootloader, and return its device."""
    data = f"[ucernvm-begin]\n{block}\n[ucernvm-end]\n".encode()
    return disks.plug(make_image(folder / "drive.iso", {"openstack/latest/user_data": data}, label="config-2"))


@pytest.mark.parametrize("place", ["squashfs", "erofs", "dir", "squashfs-in-a-file", "dir-beneath-a-label"])
def test_the_root_is_the_layer_with_the_changes(place: str, machine: Machine, tree: Path, tmp_path: Path) -> None:
    """What is changed is there again at the next start; the layer is as it was, and both are shown."""
    if place in ("squashfs", "erofs", "dir"):
        image = make_layer(tree, "ext4" if place == "dir" else place)
        layer = f"{place}:{machine.disks.plug(image)}"
    else:
        inside = tmp_path / "inside"
        (inside / "images").mkdir(parents=True)
        if place == "squashfs-in-a-file":
            make_layer(tree, "squashfs").rename(inside / "images/os")
        else:
            tree.rename(inside / "images/os")
        image = make_layer(inside, "ext4", "data")
        machine.disks.plug(image)
        layer = f"{place.partition('-')[0]}:LABEL=data/images/os"
    before = digest(image)
    scratch, device = machine.disks.add("scratch")

    first = machine.start(f"ucvm.boot.layer={layer}", CHANGE)
    assert (first.code, first.output) == (0, "layer\n"), first.console
    assert f"{device} was empty and is the scratch file system now" in first.console
    assert label(scratch) == "UROOT"
    second = machine.start(f"ucvm.boot.layer={layer}", f"{LOOK}; touch mnt/.ro/etc/new || true")
    assert (second.code, second.output) == (0, CHANGED), second.console
    assert "Read-only file system" in second.console
    assert digest(image) == before


def test_a_full_scratch_disk(machine: Machine, tree: Path) -> None:
    """Its changes stay, deletions too; new ones are in memory, and gone at the next start."""
    layer = f"ucvm.boot.layer=squashfs:{machine.disks.plug(make_layer(tree, 'squashfs'))}"
    machine.disks.add("scratch")
    fill = "mkdir mnt/.rw/context; echo who > mnt/.rw/context/user-data; dd if=/dev/zero of=srv/filler bs=1M || true"
    assert machine.start(layer, f"{CHANGE}; {fill}").code == 0

    look = "cat etc/release srv/new/file mnt/.rw/context/user-data; ls usr; echo newer > etc/release; cat etc/release"
    for _ in range(2):
        start = machine.start(layer, look)
        assert (start.code, start.output) == (0, "changed\nmine\nwho\nkept\nnewer\n"), start.console
        assert "is full, new changes are lost" in start.console


def test_room_that_was_made_on_a_full_scratch_disk_counts(machine: Machine, tree: Path) -> None:
    """Who deletes something where the running system shows the disk has it back at the next start."""
    layer = f"ucvm.boot.layer=squashfs:{machine.disks.plug(make_layer(tree, 'squashfs'))}"
    machine.disks.add("scratch")
    assert machine.start(layer, f"{CHANGE}; dd if=/dev/zero of=srv/filler bs=1M || true").code == 0
    make_room = "mount -o remount,rw /run/ucvm-boot/rw; rm /run/ucvm-boot/rw/persistent/srv/filler"
    assert machine.start(layer, make_room).code == 0
    start = machine.start(layer, LOOK)
    assert (start.code, start.output) == (0, CHANGED), start.console


def test_the_context_chooses_beneath_the_layer(machine: Machine, tree: Path, tmp_path: Path) -> None:
    """The root is that folder, and /mnt/.ro the whole layer."""
    layer = f"ucvm.boot.layer=squashfs:{machine.disks.plug(make_layer(tree, 'squashfs'))}"
    machine.disks.add("scratch")
    context(machine.disks, tmp_path, "cernvm_path=cvm4\ncernvm_inject=H4sIAAAA")
    look = "cat etc/release mnt/.ro/etc/release mnt/.rw/context/source; grep inject mnt/.rw/context/user-data"
    start = machine.start(layer, look)
    expected = "layer 4\nlayer\nConfigDrive\ncernvm_inject=H4sIAAAA\n"
    assert (start.code, start.output) == (0, expected), start.console


@pytest.mark.parametrize("path", ["../../etc", "out", "missing", "etc/release"])
def test_a_path_that_is_no_folder_of_the_layer(path: str, machine: Machine, tree: Path) -> None:
    """There is no root, and the console says why."""
    layer = f"squashfs:{machine.disks.plug(make_layer(tree, 'squashfs'))}"
    machine.disks.add("scratch")
    start = machine.start(f"ucvm.boot.layer={layer} cernvm_path={path}")
    assert start.code == 1
    assert f"there is no root file system: {path}: " in start.console


def test_a_layer_that_a_link_leads_out_of(machine: Machine, tree: Path, tmp_path: Path) -> None:
    """Neither dots nor a link lead from the file system with the label to the initial RAM disk's own files."""
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside/out").symlink_to(tree)
    machine.disks.plug(make_layer(tmp_path / "inside", "ext4", "data"))
    for path in ("out", "../../../etc"):
        start = machine.start(f"ucvm.boot.layer=dir:LABEL=data/{path}")
        assert start.code == 1
        assert "this leads out of" in start.console


def test_a_scratch_disk_of_limited_size(machine: Machine, tree: Path, tmp_path: Path) -> None:
    """With `resize_rootfs=off` it has 20 GiB, with `use_boothd=on` an empty disk is not taken at all."""
    layer = f"ucvm.boot.layer=squashfs:{machine.disks.plug(make_layer(tree, 'squashfs'))}"
    image, _ = machine.disks.add("scratch", 22 * 1024)
    drive = context(machine.disks, tmp_path, "use_boothd=on")
    start = machine.start(layer, "stat -f -c %T mnt/.rw")
    assert (start.code, start.output) == (0, "tmpfs\n"), start.console
    assert "the context forbids to take an empty disk" in start.console
    assert label(image) == ""

    machine.disks.unplug(drive)
    (tmp_path / "limited").mkdir()
    context(machine.disks, tmp_path / "limited", "resize_rootfs=off")
    start = machine.start(layer, "stat -f -c '%S %b' mnt/.rw")
    size, blocks = map(int, start.output.split())
    assert 19 * 1024**3 < size * blocks <= 20 * 1024**3


def test_disks_of_others_are_left_alone(machine: Machine, tree: Path) -> None:
    """Whatever is on them; the root is in memory then, and the console says so."""
    layer = f"ucvm.boot.layer=squashfs:{machine.disks.plug(make_layer(tree, 'squashfs'))}"
    images = {}
    for command in (["mkswap"], ["mke2fs", "-q", "-t", "ext4"], ["mkfs.vfat"]):
        image, _ = machine.disks.add(command[0])
        subprocess.run([*command, image], check=True, capture_output=True)
        images[image] = digest(image)
    start = machine.start(layer, f"{CHANGE}; stat -f -c %T mnt/.rw")
    assert (start.code, start.output) == (0, "layer\ntmpfs\n"), start.console
    assert "there is no scratch file system, all changes are lost when the machine stops" in start.console
    assert [image.name for image, before in images.items() if digest(image) != before] == []


def test_several_scratch_disks(machine: Machine, tree: Path) -> None:
    """The oldest has the changes at each start, the other one stays as it is; the console names both."""
    layer = f"ucvm.boot.layer=squashfs:{machine.disks.plug(make_layer(tree, 'squashfs'))}"
    _, first = machine.disks.add("first")
    image, second = machine.disks.add("second")
    assert machine.start(layer, CHANGE).code == 0
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-L", "UROOT", second], check=True)
    before = digest(image)
    start = machine.start(layer, LOOK)
    assert (start.code, start.output) == (0, CHANGED), start.console
    assert (
        f"several file systems have the label UROOT: {first}, {second}; the first, the oldest, is used" in start.console
    )
    assert digest(image) == before
