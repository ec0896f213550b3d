"""Servers that misbehave below HTTP, and waits that take no time."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.servers.ports import LOOPBACK, free_port


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once; the numbers of tries stay what they are."""
    monkeypatch.setattr("ucvm_agent.network.retry.FIRST_WAIT", 0.0)


@pytest.fixture
def black_hole() -> Iterator[str]:
    """The URL of a socket that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def dead_end() -> str:
    """The URL of a port where nobody listens."""
    return f"http://{LOOPBACK}:{free_port()}"


@pytest.fixture
async def garbage() -> AsyncIterator[str]:
    """The URL of a server that does not speak HTTP."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"\x00\xffSSH-2.0-what did you think\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@dataclass
class Clock:
    """Monotonic seconds that pass only when a test says so."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def descriptors() -> int:
    """Return how many files and sockets this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))
