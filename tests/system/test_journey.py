"""From power on, over a power cut, to a machine that works."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from tests.system.machine import Machine, make_disk
from tests.system.site import Site
from ucvm_agent.events import ActionEnded, Contextualized, Event, State

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

HISTOGRAM = """#!/bin/sh
sort "$1" | uniq -c
cat /proc/self/cgroup
cat "/sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)/memory.max"
"""
HOG = "#!/bin/sh\nhead -c 200M /dev/zero | tail -c 190M | wc -c\n"


SCRIPT = "[ -e /srv/cut ] || { touch /srv/cut; sync; echo begun > /dev/console; sleep 600; }; echo ran >> /srv/ran"
"""Its first run never ends."""


async def test_a_power_cut_in_the_first_boot_a_second_that_works_and_a_third(site: Site) -> None:
    """The first boot begins what its context says, the second completes it and works; the third finds all done."""
    site.imds.user_data = site.context(f"runcmd: ['{SCRIPT}']")
    foreign = _foreign_disk(site.folder / "foreign.img")
    before = _digest(foreign)
    hardware = site.hardware(foreign, make_disk(site.folder / "scratch.img"), make_disk(site.folder / "second.img"))

    async with Machine(site.folder, hardware, "first") as machine:
        await machine.until(r"/dev/vdc was empty and is the scratch file system now")
        await machine.until(r"the root is squashfs:\S+ beneath /dev/vdc")
        await machine.until(r"begun")

    async with Machine(site.folder, hardware, "second") as machine:
        await machine.until(r"the scratch file system is /dev/vdc")
        await machine.until(r"ucvm-agent\[\d+\]: ready since")
        identity = await _inspect(machine)
        await _work(site)
        print(await machine.run("ucvm-agent status; systemd-analyze; systemd-analyze blame | grep ucvm"))
        await machine.shut_down()
    first = await site.until(State.STOPPED)

    async with Machine(site.folder, hardware, "third") as machine:
        third = await site.until(State.READY)
        assert await machine.run("cat /srv/ran; cat /etc/machine-id") == f"ran\n{identity}"

    assert {event.machine_id for event in first + third} == {first[0].machine_id}
    assert len({event.boot_id for event in first + third}) == 3
    assert [event.seq for event in first + third] == list(range(1, len(first + third) + 1))
    _assert_nothing_was_done(third)
    assert _digest(foreign) == before
    assert (site.folder / "second.img").read_bytes().count(0) == (site.folder / "second.img").stat().st_size


async def _inspect(machine: Machine) -> str:
    """Look at what has become of the machine, and return its identity."""
    assert await machine.run("cat /srv/told; id -un", user="alice") == "by the contextalice\n"
    assert await machine.run("hostname; cat /srv/ran") == "worker-1\nran\n"
    shown = await machine.run("findmnt -n -o FSTYPE /; findmnt -n -o FSTYPE /mnt/.ro; findmnt -n -o FSTYPE /mnt/.rw")
    assert shown.split() == ["overlay", "squashfs", "ext4"]
    waiting = "systemctl start ucvm-contextualized.target; ucvm-agent status --json"
    assert json.loads(await machine.run(waiting))["state"] == "ready"
    pairing = "ucvm-agent-pair@tty2.service"
    assert (
        await machine.run(f"systemctl start {pairing}; systemctl is-active {pairing}; systemctl stop {pairing}")
        == "active\n"
    )
    return await machine.run("cat /etc/machine-id")


async def _work(site: Site) -> None:
    """Let the machine do a job, and one that wants more memory than it may have."""
    programs = site.folder / "programs"
    programs.mkdir()
    (programs / "histogram.sh").write_text(HISTOGRAM)
    (programs / "hog.sh").write_text(HOG)
    (programs / "data").write_text("b\na\nb\n")
    limited = ("--wait", "--memory", "64M")
    data = ("--input", programs / "data")
    await site.ask("submit", *limited, *data, "--id", "histogram", programs / "histogram.sh", "data")
    printed = await site.ask("job", "histogram", "--log")
    assert printed.split()[:4] == ["1", "a", "2", "b"]
    assert ".scope" in printed
    assert printed.splitlines()[-1] == str(64 * 1024 * 1024)
    await site.ask("submit", *limited, "--id", "hog", programs / "hog.sh", code=5)
    assert "memory" in await site.ask("job", "hog")


def _assert_nothing_was_done(events: list[Event]) -> None:
    assert not [event for event in events if isinstance(event.body, ActionEnded)]
    assert all(not event.body.changed for event in events if isinstance(event.body, Contextualized))


def _foreign_disk(path: Path) -> Path:
    """Make a disk with a swap area: µCernVM took that for empty."""
    subprocess.run(["mkswap", "--quiet", make_disk(path, 128)], check=True)
    return path


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
