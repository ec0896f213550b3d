"""A real Redis on loopback that keeps what it is told, with its own folder and port."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from types import TracebackType

from tests.servers.ports import free_port

READY_SECONDS = 20.0


class RedisServer:
    """One server and its data.

    Arguments:
        folder: where its append-only file goes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start it and return when it answers."""
        self._process = process = await asyncio.create_subprocess_exec(
            "redis-server",
            *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)),
            *("--appendonly", "yes", "--appendfsync", "always", "--save", ""),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        async with asyncio.timeout(READY_SECONDS):
            while b"Ready to accept connections" not in (line := await process.stdout.readline()):
                if not line:
                    raise RuntimeError("redis-server did not start")
        self._reader = asyncio.create_task(_drain(process.stdout))

    async def kill(self) -> None:
        """Stop it as a power cut would; its data stays as it is."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            await self._process.wait()
            await self._reader
            self._process = None

    async def __aenter__(self) -> RedisServer:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.kill()


async def _drain(stream: asyncio.StreamReader) -> None:
    while await stream.read(65536):
        pass
