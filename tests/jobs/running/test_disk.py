"""Measuring what a job takes of the disk."""

from __future__ import annotations

import os
import select
from math import inf
from pathlib import Path

import pytest

from ucvm_agent.jobs.running.disk import Disk


def test_what_cannot_be_measured_now_is_measured_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a job has used up the processes: its supervisor must not end by that, or the job would be lost."""
    (tmp_path / "file").write_bytes(bytes(100_000))
    disk = Disk((str(tmp_path),), 50_000)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "/nowhere")  # where du(1) is not
        assert disk.measure() == 0
    assert (disk.outlet, disk.due < inf) == (None, True)
    disk.stop()
    process = disk.measure()
    while disk.outlet is not None:
        select.select([disk.outlet], [], [])
        too_large = disk.take()
    assert too_large
    os.waitpid(process, 0)
