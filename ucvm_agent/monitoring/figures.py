"""The figures of the machine, read at the moment of asking.

Importing it loads psutil, so import it where somebody asks.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

READ_SECONDS = 10.0
"""For the system to say all of it."""

MEBIBYTE = 1024**2


@dataclass(frozen=True, slots=True)
class Space:
    """Memory, swap or a disk, in bytes."""

    used: int
    available: int


@dataclass(frozen=True, slots=True)
class Disk:
    """The file system of a folder that the agent works in.

    Arguments:
        name: of its mount point, as a word: `root` for `/`, else `var-lib` and the like.
    """

    name: str
    mount: Path
    space: Space


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface, and the bytes that went through it since it came up."""

    name: str
    received: int
    sent: int


@dataclass(frozen=True, slots=True)
class Figures:
    """How the machine is.

    Arguments:
        load: the average number of running processes in the last 1, 5 and 15 minutes.
        processes: how many there are.
    """

    load: tuple[float, float, float]
    memory: Space
    swap: Space
    disks: tuple[Disk, ...]
    interfaces: tuple[Interface, ...]
    processes: int


async def read(folders: Sequence[Path]) -> Figures:
    """Return the figures.

    Arguments:
        folders: whose disks are of interest; each disk counts once. Not any that are mounted: to look at one that
            hangs, as a network's may, hangs.

    Raises:
        OSError: the system does not tell; TimeoutError: not in time.
    """
    async with asyncio.timeout(READ_SECONDS):
        return await asyncio.to_thread(_read, folders)


async def read_processes(most: int) -> list[str]:
    """Return a line for each process, those first that hold most memory: number, memory, account, name.

    Command lines are left out, since people put passwords there.

    Raises:
        TimeoutError: the system does not tell in time.
    """
    async with asyncio.timeout(READ_SECONDS):
        return await asyncio.to_thread(_read_processes, most)


def _read(folders: Sequence[Path]) -> Figures:
    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    return Figures(
        load=os.getloadavg(),
        memory=Space(memory.total - memory.available, memory.available),
        swap=Space(swap.used, swap.free),
        disks=tuple(_disks(folders)),
        interfaces=tuple(
            Interface(name, counted.bytes_recv, counted.bytes_sent)
            for name, counted in sorted(psutil.net_io_counters(pernic=True).items())
            if name != "lo"
        ),
        processes=len(psutil.pids()),
    )


def _disks(folders: Sequence[Path]) -> Iterator[Disk]:
    seen = set()
    for folder in folders:
        mount = _mount_point(folder)
        if mount in seen:
            continue
        seen.add(mount)
        with suppress(OSError):  # unmounted a moment ago
            usage = psutil.disk_usage(str(mount))
            yield Disk("-".join(mount.parts[1:]) or "root", mount, Space(usage.used, usage.free))


def _mount_point(folder: Path) -> Path:
    return next(place for place in (folder, *folder.parents) if place.is_mount() or place == place.parent)


def _read_processes(most: int) -> list[str]:
    found = list(psutil.process_iter(["pid", "name", "username", "memory_info"]))
    told = [process.info for process in found if process.info["memory_info"] is not None]
    told.sort(key=lambda info: info["memory_info"].rss, reverse=True)
    return [
        f"{info['pid']} {info['memory_info'].rss / MEBIBYTE:.0f}MB {info['username'] or '?'} {info['name'] or '?'}"
        for info in told[:most]
    ]
