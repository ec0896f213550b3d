"""A machine that is a controller as well, from the packages alone."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.sources.images import make_image
from tests.system.machine import Machine, make_disk
from tests.system.site import XMPP, Site

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

INSTALL = """\
runcmd:
  - mount -o ro /dev/disk/by-label/config-2 /media
  - dpkg --install /media/ucvm-controller.deb
  - install --mode 640 --group ucvm-controller /media/controller.toml /etc/ucvm-agent
  - systemctl start ucvm-controller
"""
SETTINGS = """\
[xmpp]
jid = "{jid}"
password = "pw"
host = "{host}"
ca_file = "/etc/ucvm-agent/ca.pem"
[http]
public_url = "http://127.0.0.1:8480"
"""
SUBMIT = "printf '#!/bin/sh\\nid -un\\n' > /srv/job.sh && ucvm-controller submit --wait --id {id} /srv/job.sh"


async def test_jobs_of_a_machine_that_is_its_own_controller(site: Site) -> None:
    """Shut in as its unit is, the controller hands them out; killed, it is started again and knows what it knew."""
    await site.controller.stop()  # the machine has its account
    settings = SETTINGS.format(jid=site.prosody.jid("jm"), host=XMPP)
    files = {
        "openstack/latest/user_data": site.context(INSTALL),
        "controller.toml": settings.encode(),
        "ucvm-controller.deb": (site.image / "ucvm-controller.deb").read_bytes(),
    }
    drive = make_image(site.folder / "drive.iso", files, label="config-2")
    hardware = replace(site.hardware(drive, make_disk(site.folder / "scratch.img")), firmware=())

    async with Machine(site.folder, hardware) as machine:
        await machine.until(r"ucvm-agent\[\d+\]: ready since")
        await machine.run(SUBMIT.format(id="first"))
        shown = await machine.run("systemctl show --value --property Type,User,ActiveState ucvm-controller")
        assert sorted(shown.split()) == ["active", "notify", "ucvm-controller"]

        await machine.run("systemctl kill --signal KILL ucvm-controller; systemctl start ucvm-controller")
        assert await machine.run("ucvm-controller job first --log") == "ucvm-job-1\n"
        await machine.run(SUBMIT.format(id="second"))
        jobs = json.loads(await machine.run("ucvm-controller jobs --json"))["jobs"]
        assert {job["id"]: job["status"] for job in jobs} == {"first": "done", "second": "done"}
