"""The figures agree with what the system says elsewhere."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ucvm_agent.monitoring import figures


async def test_the_figures_of_this_machine(tmp_path: Path) -> None:
    """Memory and disk add up to what there is."""
    read = await figures.read((Path("/"), tmp_path / "not/there/yet", Path("/")))
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert read.memory.used + read.memory.available == pages
    assert read.disks[0].name == "root"
    assert len({disk.mount for disk in read.disks}) == len(read.disks)
    usage = shutil.disk_usage("/")
    assert abs(read.disks[0].space.used - usage.used) < 2**30
    assert read.processes > 1
    assert all(load >= 0 for load in read.load)
    assert "lo" not in {interface.name for interface in read.interfaces}


async def test_processes_are_told_without_their_command_lines() -> None:
    """A name is enough to see what takes the memory; the largest come first."""
    lines = await figures.read_processes(5)
    assert 1 <= len(lines) <= 5
    sizes = [float(line.split()[1].removesuffix("MB")) for line in lines]
    assert sizes == sorted(sizes, reverse=True)
    mine = [line for line in await figures.read_processes(10_000) if line.split()[0] == str(os.getpid())]
    assert len(mine) == 1
    assert "pytest -" not in mine[0]
