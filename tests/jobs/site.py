"""A whole site for jobs: XMPP server, Chirp server, job manager, and the real daemon that works for them."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.daemon.running import Controller, Daemon
from tests.jobs.gate import make_gate
from tests.jobs.open_folder import make_open_folder, remove_open_folder
from tests.servers.chirp import Chirp
from tests.servers.manager import PASSWORD, Manager
from tests.servers.prosody import Prosody

QUICK: Mapping[str, object] = {
    "enabled": True,
    "slots": 1,
    "user": "nobody",
    "retry_seconds": 0.5,
    "retry_limit_seconds": 1,
    "pause_seconds": 0.2,
    "answer_seconds": 5,
    "output_answer_seconds": 2,
    "renewal_seconds": 0.5,
    "sleep_seconds": 1,
    "min_free_bytes": 0,
}
"""The waits of the protocol, shortened."""


@dataclass
class Site:
    """All parts of it; those that a test wants otherwise, it starts itself.

    Arguments:
        folder: every user may pass through it.
    """

    folder: Path
    prosody: Prosody
    chirp: Chirp
    manager: Manager
    controller: Controller
    daemon: Daemon

    @classmethod
    @asynccontextmanager
    async def open(cls, *, ours: bool) -> AsyncIterator[Site]:
        """Start all but the daemon."""
        folder = _make_folder()
        try:
            async with (
                Prosody(folder / "prosody", {"vm": PASSWORD, "jm": PASSWORD, "other": PASSWORD}) as prosody,
                Chirp(folder / "chirp") as chirp,
                Manager(prosody, chirp, ours=ours) as manager,
                Controller() as controller,
                Daemon(folder / "agent", folder / "root", environment=dict(os.environ)) as daemon,
            ):
                site = cls(folder, prosody, chirp, manager, controller, daemon)
                site.configure()
                yield site
        finally:
            remove_open_folder(folder)

    def configure(
        self,
        *,
        source: Mapping[str, Mapping[str, object]] | None = None,
        by_user_data: bool = False,
        **jobs: object,
    ) -> None:
        """Write the daemon's settings.

        Arguments:
            source: of user-data; without it, an empty file.
            by_user_data: account and jobs stand in that file, not in the settings.
            jobs: settings that differ from `QUICK`.
        """
        user_data = self.folder / "user-data"
        user_data.write_text("#cloud-config\n{}\n")
        account = {
            "jid": self.prosody.jid("vm"),
            "password": PASSWORD,
            "controllers": [self.prosody.jid("jm"), self.prosody.jid("other")],
            "host": self.prosody.host,
            "port": self.prosody.port,
            "ca_file": str(self.prosody.ca_file),
            "receipts": False,
        }
        file: dict[str, Mapping[str, object]] = {
            "sources": {"names": ["file"], "deadline": 1.0},
            "sources.file": {"path": str(user_data)},
        }
        tables: dict[str, Mapping[str, object]] = {"xmpp": account, "jobs": {**QUICK, "work_dir": "/work", **jobs}}
        if by_user_data:
            user_data.write_text(f"#cloud-config\n{json.dumps({'ucvm_agent': tables})}\n")
            tables = {}
        self.daemon.configure(self.controller, **tables, **(source or file))

    async def restart(self) -> None:
        """Kill the daemon and start it again."""
        await self.daemon.end(signal.SIGKILL)
        await self.daemon.start()

    def make_gate(self) -> Path:
        """Make a pipe at which a job waits that reads it."""
        return make_gate(self.folder)


def _make_folder() -> Path:
    folder = make_open_folder("site")
    for name in ("prosody", "chirp", "root/etc", "root/tmp", "agent"):
        (folder / name).mkdir(parents=True)
    return folder
