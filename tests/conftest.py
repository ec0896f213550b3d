"""What tests of several rooms need."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


@pytest.fixture
def scratch_root(tmp_path: Path) -> Path:
    """A root file system that is just large enough to run shell scripts in."""
    root = tmp_path / "root"
    for folder in ("bin", "etc", "tmp", "var/log"):
        (root / folder).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin/busybox")
    subprocess.run(["chroot", root, "/bin/busybox", "--install", "-s", "/bin"], check=True)
    return root
