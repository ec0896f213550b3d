"""All of it at once: a job from a shell to a real VM agent and back, over the controller's own files."""

from __future__ import annotations

import asyncio
import os
import tarfile
from pathlib import Path

from tests.controller.web.site import client, free_address
from tests.controller.web.test_commands import Shell
from tests.jobs.gate import reach
from tests.jobs.site import Site
from tests.servers.manager import PASSWORD
from ucvm_agent.controller.controller import open_controller
from ucvm_agent.controller.settings import Settings
from ucvm_agent.controller.web.site import open_site

HISTOGRAM = """#!/bin/sh
sort "$1" | uniq -c
cat {gate}
echo "seed $SEED"
echo warned >&2
"""


async def test_a_histogram_comes_back(tmp_path: Path) -> None:
    """Inputs go there, the output is seen while it is written, and the archive is here at the end."""
    async with Site.open(ours=True) as site:
        gate, address = site.make_gate(), free_address()
        account = {"jid": site.prosody.jid("other"), "password": PASSWORD}
        server = {"host": site.prosody.host, "port": site.prosody.port, "ca_file": site.prosody.ca_file}
        settings = Settings.model_validate(
            {
                "state_dir": tmp_path / "state",
                "xmpp": account | server,
                "http": {"listen": address, "public_url": f"http://{address}"},
            }
        )
        (tmp_path / "histogram.sh").write_text(HISTOGRAM.format(gate=gate))
        (tmp_path / "data 1.txt").write_text("b\na\nb\n")
        async with open_controller(settings) as manager, asyncio.TaskGroup() as group:
            work = group.create_task(manager.run())
            async with open_site(manager) as url, client(manager, url) as api:
                shell = Shell(api, tmp_path)
                await site.daemon.start()
                inputs = ("--id", "j", "--env", "SEED=7", "--input", "data 1.txt")
                async with shell.start("submit", "--wait", *inputs, "histogram.sh", "data 1.txt") as submitted:
                    opened = await reach(gate)
                    async with api.follow("/api/v1/jobs/j/log") as events:
                        kind, _ = await anext(events)
                        assert kind == "output"
                    os.close(opened)
                    assert await submitted.wait() == 0
                assert (await shell("job", "j", "--log")).out.split() == ["1", "a", "2", "b", "seed", "7"]
                assert (await shell("job", "j", "--log", "--stderr")).out == "warned\n"
                assert (await shell("job", "j", "--output", "j.tgz")).code == 0
            work.cancel()
        with tarfile.open(tmp_path / "j.tgz") as archive:
            assert "./stdout" in archive.getnames()
