"""A root with account files, and what the system's own checkers find wrong with them."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from ucvm_agent.contextualize.actions import Action, Effect
from ucvm_agent.contextualize.system import System
from ucvm_agent.contextualize.target import Target

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDSfs8iKl8r6ozFVXZDJZsmk2n0SjUpNHyZ4Vv7h5v0V"
HASH = "$6$saltsalt$" + "x" * 86

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to users")


def make_target(folder: Path) -> Target:
    """Return a root with well-formed account files, and a skeleton."""
    etc = folder / "root" / "etc"
    etc.mkdir(parents=True)
    (etc / "passwd").write_text("root:x:0:0:root:/root:/bin/bash\n")
    (etc / "group").write_text("root:x:0:\nusers:x:100:\n")
    (etc / "shadow").write_text("root:*:15870:0:99999:7:::\n")
    (etc / "gshadow").write_text("root:*::\nusers:*::\n")
    for name, mode in (("passwd", 0o644), ("group", 0o644), ("shadow", 0o640), ("gshadow", 0o600)):
        (etc / name).chmod(mode)
    (etc / "skel" / ".config").mkdir(parents=True)
    (etc / "skel" / ".config" / "settings").write_text("quiet = yes\n")
    (etc / "skel" / ".profile").symlink_to("/etc/profile")
    return Target(System(folder / "root"), folder / "runs", "key", set())


def content(target: Target, name: str) -> str:
    """Return the text of an account file."""
    return (target.system.root / "etc" / name).read_text()


def complaints(root: Path) -> Counter[str]:
    """Return what pwck and grpck find wrong with the account files beneath a root (which has few other files)."""
    found = Counter[str]()
    for checker in ("pwck", "grpck"):
        answer = subprocess.run([checker, "-r", "-R", str(root)], capture_output=True, text=True, check=False)
        found.update(
            line for line in answer.stdout.splitlines() if not line.endswith((": no changes", "does not exist"))
        )
    return found


async def settle(target: Target, *actions: Action) -> None:
    """Apply actions, and see that none of them finds anything left to do."""
    for action in actions:
        await action.apply(target)
    for action in actions:
        assert action.preview(target.system).effect is Effect.NONE, action
