"""The initial RAM disk has all modules of ours that the bootloader loads there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent.parent
PROGRAM = """
import pkgutil, importlib, sys
for room in ("bootloader", "sources", "userdata"):
    package = importlib.import_module(f"ucvm_agent.{room}")
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if module.name.rpartition(".")[2] not in sys.argv[1].split(","):
            importlib.import_module(module.name)
from ucvm_agent.bootloader.__main__ import read_settings
from ucvm_agent.sources.base import Found
from ucvm_agent.userdata.decode import decode
assert read_settings("quiet ucvm.boot.layer=dir:/somewhere ucvm.nothing=1").boot.layer == "dir:/somewhere"
user_data = b"#cloud-config\\nhostname: a\\n[ucernvm-begin]\\ncvmfs_tag=1\\n[ucernvm-end]\\n"
decode(Found("configdrive", "/dev/vdb", user_data))
"""
NOT_THERE = "xmpp,cernvm_online,online_context,online_service,file,template,json_patch"
"""Modules that the bootloader never loads; what they need is left out of the initial RAM disk."""


def test_the_hook_copies_what_the_bootloader_loads(tmp_path: Path) -> None:
    """With just those parts of the program, everything can be imported, settings read and user-data decoded."""
    hook = (REPOSITORY / "deploy/initramfs/hooks/ucvm").read_text()
    listed = re.search(r"for part in (bootloader .*?); do", hook, re.DOTALL)
    assert listed is not None
    target = tmp_path / "ucvm_agent"
    target.mkdir()
    for part in listed[1].replace("\\\n", " ").split():
        source = REPOSITORY / "ucvm_agent" / part
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target / part)
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}){PROGRAM}", NOT_THERE]
    ended = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
