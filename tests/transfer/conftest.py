"""Servers that hold files, and settings that do not wait long."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.servers import files
from tests.servers.chirp import Chirp
from ucvm_agent.network import retry
from ucvm_agent.settings import Transfer


@pytest.fixture
def settings() -> Transfer:
    return Transfer(timeout=30, deadline=30)


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "AWAY", retry.waits(0.02, 0.02))


@pytest.fixture
async def web() -> AsyncIterator[files.Files]:
    async with files.serve() as running:
        yield running


@pytest.fixture
async def chirp(tmp_path: Path) -> AsyncIterator[Chirp]:
    folder = tmp_path / "server"
    folder.mkdir()
    async with Chirp(folder) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A job's folder."""
    made = tmp_path / "job"
    made.mkdir()
    return made


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=True)
    yield disk
    subprocess.run(["umount", disk], check=True)


def names(folder: Path) -> list[str]:
    """Return what is in a folder."""
    return sorted(path.name for path in folder.iterdir())
