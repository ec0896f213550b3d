"""The metadata service as the quick start runs it."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from ucvm_agent.settings import Ec2
from ucvm_agent.sources.ec2 import Source


async def test_service_prints_its_url_serves_and_ends_in_good_order(tmp_path: Path) -> None:
    """The first line is the endpoint; SIGTERM ends it with exit code 0."""
    user_data = tmp_path / "user-data"
    user_data.write_bytes(b"#!/bin/sh\n")
    options = ["--port", "0", "--user-data", str(user_data), "--instance-id", "i-1", "--hostname", "vm.example.org"]
    command = [sys.executable, "-m", "tests.servers.imds", *options]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    async with asyncio.timeout(60):
        url = (await process.stdout.readline()).decode().strip()
        found = await Source(Ec2(endpoints=(url,))).fetch()
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    assert found.user_data == b"#!/bin/sh\n"
    assert (found.metadata.instance_id, found.metadata.hostname) == ("i-1", "vm.example.org")
