"""A real chirp_server on loopback with its own folder, as the job managers of Co-Pilot have one.

In a test: `async with Chirp(tmp_path) as server`; then `server.port`, and files below `server.root`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from types import TracebackType

from tests.servers.ports import free_port
from tests.servers.server_log import keep_log

READY_SECONDS = 20.0
RIGHTS = "hostname:localhost rwlda\naddress:127.0.0.1 rwlda\n"
"""What the manager writes into each folder (references/copilot-protocol.md, section 4.3), for this machine only."""


class Chirp:
    """One server and its files.

    Arguments:
        folder: where its files, its transient data and its log go.
        auth: the ways in which clients may say who they are.
    """

    def __init__(self, folder: Path, auth: tuple[str, ...] = ("address", "hostname")) -> None:
        self.host = "127.0.0.1"
        self.port = free_port()
        self.root = folder / "chirp"
        self.log_file = folder / "chirp.log"
        self._folder = folder
        self._auth = auth
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self.root.mkdir(parents=True, exist_ok=True)
        (self.root / ".__acl").write_text(RIGHTS)

    @property
    def server(self) -> str:
        """`host:port`, as messages name it."""
        return f"{self.host}:{self.port}"

    def make_folder(self, name: str, rights: str = RIGHTS) -> Path:
        """Make a folder of a job, which clients may use."""
        folder = self.root / name
        folder.mkdir()
        (folder / ".__acl").write_text(rights)
        return folder

    def log_text(self) -> str:
        """Return what the server has logged so far, over all its starts."""
        return self.log_file.read_text() if self.log_file.exists() else ""

    async def start(self) -> None:
        """Start it and return when it listens."""
        process = await asyncio.create_subprocess_exec(
            *("chirp_server", "-r", str(self.root), "-y", str(self._folder), "-I", self.host, "-p", str(self.port)),
            *(option for method in self._auth for option in ("-a", method)),
            *("-u", "127.0.0.1:9", "-U", "1d"),  # no catalogue hears of it
            *(("-i", "root") if os.geteuid() == 0 else ()),
            *("-d", "tcp", "-d", "notice", "-d", "login", "-o", ":stderr"),
            cwd=self._folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        self._process = process
        listening = asyncio.get_running_loop().create_future()
        self._reader = asyncio.create_task(keep_log(process.stderr, self.log_file, b"listening on port", listening))
        async with asyncio.timeout(READY_SECONDS):
            await listening

    async def stop(self) -> None:
        """Stop it with all connections, as a power cut would; its files stay as they are."""
        process, reader = self._process, self._reader
        if process is None or reader is None:
            return
        self._process = self._reader = None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        await reader

    async def __aenter__(self) -> Chirp:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
