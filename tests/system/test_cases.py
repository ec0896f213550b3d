"""Boots under conditions that are not the best."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.sources.images import make_image
from tests.system.machine import Machine, make_disk
from tests.system.site import Site
from ucvm_agent.events import State

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]


async def test_a_broken_context_on_a_config_drive_a_full_scratch_disk_and_no_controller(site: Site) -> None:
    """It boots, says all of it on the console, and keeps its reports for the controller."""
    data = site.context("runcmd: [echo first, exit 3]\nmystery: 1")
    drive = make_image(site.folder / "drive.iso", {"openstack/latest/user_data": data}, label="config-2")
    scratch = _full_disk(site.folder / "scratch.img")
    hardware = replace(site.hardware(drive, scratch), services={}, firmware=())

    async with Machine(site.folder, hardware) as machine:
        await machine.until(r"\*\*\* the scratch file system /dev/vdc is full")
        await machine.until(r"there are user-data from configdrive /dev/vdb")
        await machine.until(r"ucvm-agent\[\d+\]: degraded since")
        await machine.until(r"failed +scripts +command \S+ -c 'exit 3'")
        await machine.until(r"login:")
        status = json.loads(await machine.run("ucvm-agent status --json"))
        assert status["state"] == "degraded"
        assert status["deliveries"][0]["waiting"] > 0
        assert await machine.run("cat /mnt/.rw/context/source; cat /srv/kept") == "ConfigDrive\nfrom before\n"


async def test_no_source_until_the_network_comes_late(site: Site) -> None:
    """Without user-data it comes up and says so; it keeps looking, and finds them when somebody plugs the cable in."""
    site.imds.user_data = site.context()
    parameters = "ucvm.sources.deadline=10 ucvm.sources.search_pause=5"
    hardware = site.hardware(make_disk(site.folder / "scratch.img"), parameters=parameters)

    async with Machine(site.folder, hardware) as machine:
        await machine.until("Linux version")
        await machine.plug(connected=False)
        await machine.until(r"login:")
        await machine.until(r"ucvm-agent\[\d+\]: degraded since")
        await machine.until(r"reason +no user-data")
        await machine.plug(connected=True)
        events = await site.until(State.READY)
        assert "ready" in await machine.run("ucvm-agent status")
    assert [event.seq for event in events] == list(range(1, len(events) + 1))


async def test_switched_off(site: Site) -> None:
    """With `ucvm=off` it is a plain machine: nobody asks for metadata."""
    hardware = site.hardware(make_disk(site.folder / "scratch.img"), parameters="ucvm=off")
    async with Machine(site.folder, hardware) as machine:
        await machine.until(r"login:")
        assert not machine.said(r"ucvm-agent\[")
    assert site.imds.requests == []


def _full_disk(path: Path) -> Path:
    """Make a scratch disk that an earlier machine has filled."""
    content = path.with_suffix(".content")
    (content / "persistent/srv").mkdir(parents=True)
    (content / "persistent/srv/kept").write_text("from before\n")
    with (content / "filler").open("wb") as filler:
        for _ in range(100):
            filler.write(b"x" * 1024 * 1024)
    make_disk(path, 128)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-L", "UROOT", "-d", content, path], check=True)
    return path
