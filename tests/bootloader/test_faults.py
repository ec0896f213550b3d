"""A machine whose scratch disk is damaged or gone, or whose power was cut: what it says, and what it keeps."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pytest

from tests.bootloader.disks import MIB, Disks, digest, label
from tests.bootloader.layers import CHANGE, CHANGED, LOOK, make_layer
from tests.bootloader.machine import BOOT, Machine
from ucvm_agent.bootloader import scratch
from ucvm_agent.errors import BootError

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")

IN_MEMORY = "all changes are lost when the machine stops"
BLOCK = 4096


@pytest.fixture
def layer(machine: Machine, tree: Path) -> str:
    """The machine has a layer; its kernel parameter."""
    return f"ucvm.boot.layer=squashfs:{machine.disks.plug(make_layer(tree, 'squashfs'))}"


def test_the_layer_comes_late(machine: Machine, layer: str) -> None:
    """Who leaves the rescue shell to try again gets the scratch disk, too: the first try leaves nothing in its way."""
    machine.disks.add("scratch")
    assert machine.start(layer, CHANGE).code == 0
    late = f"mv {layer[-10:]} /dev/late; ! {BOOT}; mv /dev/late {layer[-10:]}; {BOOT}"
    start = machine.start(f"{layer} ucvm.boot.device_timeout=0.1", LOOK, boot=late)
    assert (start.code, start.output) == (0, CHANGED), start.console
    assert "this device has not appeared" in start.console
    assert IN_MEMORY not in start.console


def test_the_bootloader_is_killed_after_the_union(machine: Machine, layer: str) -> None:
    """The next try takes its half of a root away, and makes a whole one."""
    machine.disks.add("scratch")
    assert machine.start(layer, CHANGE).code == 0
    machine.programs["mount"] = 'case "$*" in *--move*) kill -9 $PPID ;; esac; exec /usr/bin/mount "$@"'
    again = f'! {BOOT}; PATH="/usr/sbin:/usr/bin"; {BOOT}'
    start = machine.start(layer, LOOK, boot=again)
    assert (start.code, start.output) == (0, CHANGED), start.console
    assert IN_MEMORY not in start.console


def test_a_power_cut_while_it_runs(machine: Machine, layer: str) -> None:
    """What had come to the disk is there at the next start, and nobody speaks of faults."""
    image, device = machine.disks.add("scratch")
    assert machine.start(layer, CHANGE).code == 0
    cut = machine.folder / "cut"
    assert machine.start(layer, f"echo again > srv/again; sync; cp {image} {cut}").code == 0
    machine.disks.unplug(device)
    device = machine.disks.plug(cut)
    shown = subprocess.run(["dumpe2fs", "-h", device], check=True, capture_output=True, text=True).stdout
    assert "needs_recovery" in shown
    start = machine.start(layer, f"{LOOK}; cat srv/again")
    assert (start.code, start.output) == (0, f"{CHANGED}again\n"), start.console
    assert "faults" not in start.console


def test_faults_that_can_be_mended(machine: Machine, layer: str) -> None:
    """They are, and the console says so."""
    _, device = machine.disks.add("scratch")
    assert machine.start(layer, CHANGE).code == 0
    subprocess.run(["debugfs", "-w", "-R", "set_super_value free_blocks_count 1", device], check=True)
    subprocess.run(["debugfs", "-w", "-R", "set_super_value state 0", device], check=True)
    start = machine.start(layer, LOOK)
    assert (start.code, start.output) == (0, CHANGED), start.console
    assert f"faults of the scratch file system {device} were mended" in start.console


def test_faults_that_a_person_has_to_mend(machine: Machine, layer: str) -> None:
    """The machine comes up in memory and says what to do; once it is done, the changes are back."""
    _, device = machine.disks.add("scratch")
    assert machine.start(layer, f"{CHANGE}; mkdir srv/other; touch srv/other/file").code == 0
    for request in ("zap_block -f /persistent/srv/other 0", "set_super_value state 2"):
        subprocess.run(["debugfs", "-w", "-R", request, device], check=True, capture_output=True)
    start = machine.start(layer, "cat etc/release; stat -f -c %T mnt/.rw")
    assert (start.code, start.output) == (0, "layer\ntmpfs\n"), start.console
    assert f"{IN_MEMORY}: {device}: e2fsck finds faults that need a person (`e2fsck -f {device}`" in start.console
    subprocess.run(["e2fsck", "-f", "-y", device], check=False, capture_output=True)
    assert machine.start(layer, LOOK).output == CHANGED


@pytest.mark.parametrize("program", ["blkid", "e2fsck", "mount"])
def test_a_scratch_disk_that_vanishes(program: str, machine: Machine, layer: str) -> None:
    """No other disk takes its place for ever: the machine comes up in memory, and at the next start it is back."""
    _, device = machine.disks.add("scratch")
    assert machine.start(layer, CHANGE).code == 0
    spare, _ = machine.disks.add("spare")
    real = subprocess.run(["which", program], check=True, capture_output=True, text=True).stdout.strip()
    # The drive is gone as soon as the program begins; blkid's listing still has it.
    vanish = f"rm -f {device}"
    order = f'{real} "$@"; code=$?; {vanish}; exit $code' if program == "blkid" else f'{vanish}; exec {real} "$@"'
    machine.programs[program] = f'case "$*" in *UROOT*|*{device}*) {order} ;; esac; exec {real} "$@"'
    start = machine.start(layer, "cat etc/release; stat -f -c %T mnt/.rw")
    assert (start.code, start.output) == (0, "layer\ntmpfs\n"), start.console
    assert IN_MEMORY in start.console
    assert not any(spare.read_bytes())
    machine.programs.clear()
    (machine.folder / "programs" / program).unlink()
    assert machine.start(layer, LOOK).output == CHANGED


def test_a_disk_that_cannot_be_read_is_not_taken(disks: Disks) -> None:
    """Nobody knows what is on it."""
    image, _ = disks.add("broken")
    os.truncate(image, 4 * MIB)  # what is beyond cannot be read
    with pytest.raises(BootError, match="no empty disk"):
        scratch.make(limited=False, blocks=disks.sys)
    assert image.read_bytes() == bytes(4 * MIB)


@pytest.mark.parametrize("branch", ["file", "link"])
def test_a_scratch_disk_with_something_else_in_the_place_of_the_changes(
    branch: str, machine: Machine, layer: str
) -> None:
    """It is left alone, and the machine comes up in memory."""
    _, device = machine.disks.add("scratch")
    content = machine.folder / "content"
    content.mkdir()
    if branch == "file":
        (content / "persistent").write_text("a file\n")
    else:
        (content / "persistent").symlink_to("/nowhere/at/all")
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-L", "UROOT", "-d", content, device], check=True)
    start = machine.start(layer, "cat etc/release; stat -f -c %T mnt/.rw")
    assert (start.code, start.output) == (0, "layer\ntmpfs\n"), start.console
    assert IN_MEMORY in start.console


def test_a_label_on_another_kind_of_file_system(machine: Machine, layer: str) -> None:
    """It is not ours: an empty disk is taken, and the other one stays."""
    image, foreign = machine.disks.add("foreign")
    subprocess.run(["mkfs.vfat", "-n", "UROOT", foreign], check=True, capture_output=True)
    before = digest(image)
    _, device = machine.disks.add("scratch")
    for _ in range(2):
        start = machine.start(layer, "stat -f -c %T mnt/.rw")
        assert (start.code, start.output) == (0, "ext2/ext3\n"), start.console
        assert f"{foreign} has the label UROOT, but no file system of ours; it is left alone" in start.console
        assert f"beneath {device}" in start.console
    assert digest(image) == before


def test_the_oldest_of_several_scratch_disks(machine: Machine, layer: str) -> None:
    """A name may go to another disk at the next start; the age of a file system stays."""
    _, first = machine.disks.add("first")
    _, second = machine.disks.add("second")
    made = {first: 2_000_000_000, second: 1_900_000_000}
    for device, when in made.items():
        environment = os.environ | {"E2FSPROGS_FAKE_TIME": str(when)}
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-L", "UROOT", device], check=True, env=environment)
    start = machine.start(layer)
    assert f"UROOT: {second}, {first}; the first, the oldest, is used" in start.console
    assert f"beneath {second}" in start.console


@pytest.mark.parametrize("moment", ["before", "half", "after"])
def test_a_power_cut_while_the_scratch_disk_is_made(moment: str, machine: Machine, layer: str) -> None:
    """The next start makes it anew and keeps its changes."""
    image, device = machine.disks.add("scratch")
    cut = "kill -9 $PPID; exit 1"
    order = {
        "before": cut,
        "half": f'/sbin/mke2fs "$@"; dd if=/dev/zero of={device} bs=1K seek=1 count=1 conv=notrunc; {cut}',
        "after": f'/sbin/mke2fs "$@"; {cut}',
    }
    machine.programs["mke2fs"] = order[moment]
    assert machine.start(layer).code != 0
    (machine.folder / "programs/mke2fs").unlink()
    machine.programs.clear()
    start = machine.start(layer, CHANGE)
    assert f"{device} was empty and is the scratch file system now" in start.console
    assert machine.start(layer, LOOK).output == CHANGED
    assert label(image) == "UROOT"


@pytest.mark.parametrize("seed", range(6))
def test_any_part_of_it_may_have_come_to_the_disk(seed: int, disks: Disks) -> None:
    """A disk writes in what order it likes; whatever blocks are there, the next start makes the file system anew."""
    whole, device = disks.add("whole")
    assert scratch.make(limited=False, blocks=disks.sys) == device
    disks.unplug(device)
    content = whole.read_bytes()
    chosen = random.Random(seed)
    half = bytearray(len(content))
    for place in range(0, len(content), BLOCK):
        if chosen.random() < 0.5:
            half[place : place + BLOCK] = content[place : place + BLOCK]
    half[-scratch.RESERVE : -scratch.RESERVE + len(scratch.MARK)] = scratch.MARK
    image = disks.image("half", bytes(half))
    device = disks.plug(image)
    assert scratch.make(limited=False, blocks=disks.sys) == device
    ended = subprocess.run(["e2fsck", "-f", "-n", device], capture_output=True, text=True)
    assert (ended.returncode, label(image)) == (0, "UROOT"), ended.stdout


def test_a_mark_in_somebodys_file(machine: Machine, layer: str) -> None:
    """Somebody has made the file system larger, and a file lies where the mark had its place: nothing is formatted."""
    _, device = machine.disks.add("scratch")
    assert machine.start(layer, CHANGE).code == 0
    with Path(device).open("r+b") as disk:
        disk.seek(-scratch.RESERVE, os.SEEK_END)
        disk.write(scratch.MARK)
    start = machine.start(layer, LOOK)
    assert (start.code, start.output) == (0, CHANGED), start.console
