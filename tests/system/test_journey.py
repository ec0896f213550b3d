"""From power on to a contextualized machine, and what a power cut does to it."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from tests.system.conftest import Site
from tests.system.machine import Machine, make_disk
from ucvm_agent.events import ActionEnded, Contextualized, State

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

CONTEXT = """\
#cloud-config
hostname: worker-1
users:
  - name: alice
    ssh_authorized_keys: [{key}]
  - name: root
    ssh_authorized_keys: [{key}]
write_files:
  - path: /srv/told
    content: by the context
runcmd:
  - echo ran >> /srv/ran
[ucernvm-begin]
resize_rootfs=off
cvmfs_http_proxy="http://squid.example.org:3128;DIRECT"
[ucernvm-end]
"""


async def test_from_power_on_to_the_second_boot(site: Site) -> None:
    """The first boot makes the machine what its context says; the second finds it so, and is the same machine."""
    public = site.key.with_suffix(".pub").read_text().strip()
    site.imds.user_data = CONTEXT.format(key=public).encode()
    foreign = _foreign_disk(site.folder / "foreign.img")
    before = _digest(foreign)
    hardware = site.hardware(foreign, make_disk(site.folder / "scratch.img"), make_disk(site.folder / "second.img"))

    async with Machine(site.folder, hardware, "first") as machine:
        await machine.until(r"/dev/vdc was empty and is the scratch file system now")
        await machine.until(r"the root is squashfs:\S+ beneath /dev/vdc")
        first = await site.until(State.READY)
        assert await machine.run("cat /srv/told; id -un", user="alice") == "by the contextalice\n"
        assert await machine.run("hostname; cat /srv/ran") == "worker-1\nran\n"
        shown = await machine.run(
            "findmnt -n -o FSTYPE /; findmnt -n -o FSTYPE /mnt/.ro; findmnt -n -o FSTYPE /mnt/.rw"
        )
        assert shown.split() == ["overlay", "squashfs", "ext4"]
        status = json.loads(await machine.run("ucvm-agent status --json"))
        assert status["state"] == "ready"
        identity = await machine.run("cat /etc/machine-id")
        # Here the journey goes on with a job, once the agent takes jobs.
        await machine.run("sync")

    async with Machine(site.folder, hardware, "second") as machine:
        await machine.until(r"the scratch file system is /dev/vdc")
        second = await site.until(State.READY)
        assert await machine.run("cat /srv/ran; cat /etc/machine-id") == f"ran\n{identity}"

    assert {event.machine_id for event in first + second} == {first[0].machine_id}
    assert first[-1].boot_id != second[-1].boot_id
    assert [event.seq for event in first + second] == list(range(1, len(first + second) + 1))
    assert not [event for event in second if isinstance(event.body, ActionEnded)]
    assert all(not event.body.changed for event in second if isinstance(event.body, Contextualized))
    assert _digest(foreign) == before
    assert (site.folder / "second.img").read_bytes().count(0) == (site.folder / "second.img").stat().st_size


async def test_a_power_cut_in_the_first_boot(site: Site) -> None:
    """The next boot completes what the first has begun."""
    public = site.key.with_suffix(".pub").read_text().strip()
    script = "  - echo begun > /dev/console; [ -e /srv/cut ] || { touch /srv/cut; sync; sleep 600; }\n"
    site.imds.user_data = CONTEXT.format(key=public).replace("runcmd:\n", f"runcmd:\n{script}").encode()
    hardware = site.hardware(make_disk(site.folder / "scratch.img"))

    async with Machine(site.folder, hardware, "first") as machine:
        await machine.until(r"begun")

    async with Machine(site.folder, hardware, "second") as machine:
        events = await site.until(State.READY, State.DEGRADED, State.FAILED)
        assert await machine.run("cat /srv/told", user="alice") == "by the context"
        assert json.loads(await machine.run("ucvm-agent status --json"))["state"] == "ready"
    assert len({event.machine_id for event in events}) == 1


def _foreign_disk(path: Path) -> Path:
    """Make a disk with a swap area: µCernVM took that for empty."""
    subprocess.run(["mkswap", "--quiet", make_disk(path, 128)], check=True)
    return path


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
