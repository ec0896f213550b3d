"""A machine that can restart: one on which systemd runs, as far as an agent can see, and whose boot id can change."""

from __future__ import annotations

import asyncio
import os
import signal
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.computing.infrastructure import power_cut
from tests.daemon.running import Daemon

MACHINE = """
mount -t tmpfs none /run/systemd
mkdir /run/systemd/system
mount --bind "$1/boot" /proc/sys/kernel/random/boot_id
if [ -e "$1/passwd" ]; then mount --bind "$1/passwd" /etc/passwd; fi
shift
exec "$@"
"""
"""In a mount namespace of its own."""

SYSTEMCTL = """#!/bin/sh
case "$*" in
is-system-running) exec cat {folder}/standing ;;
*) echo "$@" >> {folder}/told; cat {folder}/refusal >&2 2>/dev/null && exit 1; exit 0 ;;
esac
"""

SYSTEMD_RUN = """#!/bin/sh
while [ "$1" != -- ]; do shift; done
shift
exec "$@"
"""


@dataclass(frozen=True)
class Machine:
    """The machine of a daemon; its `systemctl` writes down what it is told, and does nothing.

    Arguments:
        folder: for its files.
    """

    folder: Path
    daemon: Daemon

    @classmethod
    def make(cls, folder: Path, daemon: Daemon) -> Self:
        """Let a daemon that is not started yet run on such a machine."""
        (folder / "bin").mkdir(parents=True)
        for name, script in (("systemctl", SYSTEMCTL.format(folder=folder)), ("systemd-run", SYSTEMD_RUN)):
            program = folder / "bin" / name
            program.write_text(script)
            program.chmod(0o755)
        machine = cls(folder, daemon)
        (folder / "standing").write_text("running\n")
        machine.change_boot()
        daemon.prefix = ("unshare", "--mount", "sh", "-ec", MACHINE, "sh", str(folder))
        daemon.environment = {**daemon.environment, "PATH": f"{folder}/bin:{os.environ['PATH']}"}
        return machine

    @property
    def told(self) -> str:
        """What systemd was told, a line for each order."""
        path = self.folder / "told"
        return path.read_text() if path.exists() else ""

    def listen(self) -> asyncio.Task[str]:
        """Return what will have the next order to systemd; to be called before that is given."""
        pipe = self.folder / "told"
        os.mkfifo(pipe)
        return asyncio.create_task(asyncio.to_thread(pipe.read_text))

    def change_boot(self) -> str:
        """Give the machine another boot id, and return it."""
        boot = str(uuid.uuid4())
        (self.folder / "boot").write_text(f"{boot}\n")
        return boot

    def add_accounts(self, *names: str) -> None:
        """Let the machine have accounts besides its own."""
        lines = "".join(f"{name}:x:{number}:{number}::/:/bin/sh\n" for number, name in enumerate(names, 150_001))
        (self.folder / "passwd").write_text(Path("/etc/passwd").read_text() + lines)

    def refuse(self, reason: str) -> None:
        """Let systemd do nothing that it is told, for this reason."""
        (self.folder / "refusal").write_text(f"{reason}\n")

    async def shut_down(self) -> None:
        """End the agent as systemd does when the machine goes down, and then all that is left."""
        (self.folder / "standing").write_text("stopping\n")
        assert await self.daemon.end(signal.SIGTERM) == 0
        await power_cut(self.daemon)

    async def lose_power(self) -> None:
        """End all at once."""
        await power_cut(self.daemon)

    async def boot(self) -> str:
        """Start the machine, and return its boot id."""
        (self.folder / "standing").write_text("running\n")
        boot = self.change_boot()
        await self.daemon.start()
        return boot
