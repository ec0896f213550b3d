"""The few programs of util-linux and e2fsprogs that the bootloader runs, each with an end."""

from __future__ import annotations

import subprocess
from pathlib import Path

from ucvm_agent.errors import BootError

SECONDS = 60.0
"""Longest that a program may take, …"""
CHECK_SECONDS = 3600.0
"""… and one that looks through a whole file system or makes one."""


def run(
    *command: str | Path, seconds: float = SECONDS, fine: tuple[int, ...] = (0,)
) -> subprocess.CompletedProcess[str]:
    """Run a program, and return how it ended.

    Arguments:
        fine: exit codes that are no failure.

    Raises:
        BootError: it ended otherwise, or not in time.
    """
    words = [str(word) for word in command]
    try:
        ended = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        raise BootError(f"no end within {seconds:g} s", where=" ".join(words)) from None
    except OSError as error:
        raise BootError(f"cannot be run: {error.strerror}", where=words[0]) from None
    if ended.returncode not in fine:
        said = (ended.stderr or ended.stdout).strip().rpartition("\n")[2]
        raise BootError(said or f"ended with {ended.returncode}", where=" ".join(words))
    return ended


def mount(what: str | Path, target: Path, file_system: str, *options: str) -> None:
    """Mount something; the folder is made.

    Raises:
        BootError: it cannot be mounted.
    """
    target.mkdir(parents=True, exist_ok=True)
    run("mount", "-t", file_system, *(("-o", ",".join(options)) if options else ()), what, target)


def bind(what: Path, target: Path) -> None:
    """Show a folder at another place, read-only.

    Raises:
        BootError: it cannot be shown.
    """
    target.mkdir(parents=True, exist_ok=True)
    run("mount", "--bind", what, target)
    run("mount", "-o", "remount,bind,ro", target)


def move(what: Path, target: Path) -> None:
    """Move a mount.

    Raises:
        BootError: it cannot be moved.
    """
    target.mkdir(parents=True, exist_ok=True)
    run("mount", "--move", what, target)


def unmount(target: Path) -> None:
    """Take a mount away.

    Raises:
        BootError: it is in use.
    """
    run("umount", target)
