"""Disks, and a machine that starts from them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.bootloader.disks import Disks
from tests.bootloader.layers import make_tree
from tests.bootloader.machine import Machine


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[Disks]:
    """No disks yet."""
    with ExitStack() as stack:
        yield Disks(tmp_path, stack)


@pytest.fixture
def machine(tmp_path: Path, disks: Disks) -> Machine:
    """A machine with these disks."""
    return Machine(tmp_path, disks)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small system."""
    return make_tree(tmp_path / "tree")
