"""How much memory an idle daemon takes that is connected to a real Prosody over TLS.

    python -m tests.benchmarks.memory [--idle 5]

Exit code 1 if its resident set exceeds the bound.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.installation import REPOSITORY, installed_agent, without_caches
from tests.servers.prosody import Prosody

BOUND = 50.0
"""Megabytes resident."""

READY_SECONDS = 60.0
UNIT = REPOSITORY / "deploy/systemd/ucvm-agent.service"


async def measure_daemon(agent: Path, folder: Path, idle: float) -> dict[str, float]:
    """Start the daemon beneath a scratch root, and return its megabytes by name, seconds after it was ready."""
    async with Prosody(folder, {"agent": "pw", "controller": "pw"}) as server:
        controller = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.servers.controller", "--jid", server.jid("controller"), "--password", "pw"),
            *("--host", server.host, "--port", str(server.port), "--ca-file", str(server.ca_file)),
            *("--until-state", "ready"),
            cwd=REPOSITORY,
            stdout=asyncio.subprocess.DEVNULL,
        )
        settings = folder / "agent.toml"
        settings.write_text(configuration(server, folder))
        daemon = await asyncio.create_subprocess_exec(
            *(str(agent), "--config", str(settings)),
            env=without_caches() | unit_environment(),
            stderr=(folder / "agent.log").open("wb"),
        )
        try:
            async with asyncio.timeout(READY_SECONDS):
                await controller.wait()
            await asyncio.sleep(idle)
            return memory_of(daemon.pid)
        finally:
            daemon.terminate()
            await daemon.wait()


def unit_environment() -> dict[str, str]:
    """Return what the daemon's unit adds to its environment on a machine."""
    lines = UNIT.read_text().splitlines()
    return dict(line.removeprefix("Environment=").split("=", 1) for line in lines if line.startswith("Environment="))


def configuration(server: Prosody, folder: Path) -> str:
    """Return the settings of a daemon that reads a file and reports over XMPP."""
    root = folder / "root"
    root.mkdir()
    user_data = folder / "user-data"
    user_data.write_text("#cloud-config\nhostname: worker-1\n")
    return f"""\
root = "{root}"
[sources]
names = ["file"]
[sources.file]
path = "{user_data}"
[xmpp]
jid = "{server.jid("agent")}"
password = "pw"
host = "{server.host}"
port = {server.port}
ca_file = "{server.ca_file}"
controllers = ["{server.jid("controller")}"]
"""


def memory_of(process: int) -> dict[str, float]:
    """Return what the kernel says of a process, in megabytes."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]
    values = {name: int(rest.split()[0]) / 1024 for name, _, rest in (line.partition(":") for line in lines)}
    return {name: values[name] for name in ("Rss", "Pss", "Private_Dirty", "Anonymous")}


def main() -> int:
    """Read the command line, measure, report."""
    parser = argparse.ArgumentParser(description="Measure the memory of an idle daemon.")
    parser.add_argument("--idle", type=float, default=5.0, help="seconds between ready and the measurement")
    arguments = parser.parse_args()
    with installed_agent() as agent, tempfile.TemporaryDirectory() as folder:
        memory = asyncio.run(measure_daemon(agent, Path(folder), arguments.idle))
    print(", ".join(f"{name} {value:.1f} MB" for name, value in memory.items()), f"; the bound is {BOUND:.0f} MB Rss")
    return 0 if memory["Rss"] <= BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
