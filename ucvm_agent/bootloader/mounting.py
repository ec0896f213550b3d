"""The few programs of util-linux and e2fsprogs that the bootloader runs, each with an end."""

from __future__ import annotations

import subprocess
from pathlib import Path

from ucvm_agent.errors import BootError

SECONDS = 60.0
"""Longest that a program may take, …"""
CHECK_SECONDS = 3600.0
"""… and one that looks through a whole file system or makes one."""

_ADVICE = ("dmesg(1)", "(i.e., without")
"""In lines that mount and e2fsck end with, after the one that tells what is wrong."""


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
        raise BootError(_reason(ended), where=" ".join(words))
    return ended


def make_folder(path: Path) -> None:
    """Make a folder with those above it, unless it is there.

    Raises:
        BootError: it cannot be made, or something else is there.
    """
    try:
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as error:
        raise BootError(f"cannot be made: {error.strerror}", where=str(path)) from None


def mount(what: str | Path, target: Path, file_system: str, *options: str) -> None:
    """Mount something; the folder is made.

    Raises:
        BootError: it cannot be mounted.
    """
    make_folder(target)
    run("mount", "-t", file_system, *(("-o", ",".join(options)) if options else ()), what, target)


def bind(what: Path, target: Path) -> None:
    """Show a folder at another place, read-only.

    Raises:
        BootError: it cannot be shown.
    """
    make_folder(target)
    run("mount", "--bind", what, target)
    run("mount", "-o", "remount,bind,ro", target)


def move(what: Path, target: Path) -> None:
    """Move a mount.

    Raises:
        BootError: it cannot be moved.
    """
    make_folder(target)
    run("mount", "--move", what, target)


def unmount(target: Path) -> None:
    """Take a mount away.

    Raises:
        BootError: it is in use.
    """
    run("umount", target)


def clear(folder: Path) -> None:
    """Take away all that is mounted in the folders of this one, by an earlier try.

    Raises:
        BootError: something is in use.
    """
    for target in sorted(folder.iterdir()) if folder.is_dir() else ():
        while target.is_mount():
            unmount(target)


def _reason(ended: subprocess.CompletedProcess[str]) -> str:
    """Return the last line of what it has said that tells something."""
    lines = [line.strip() for line in (ended.stderr.strip() or ended.stdout).splitlines()]
    telling = [line for line in lines if line and not any(words in line for words in _ADVICE)]
    return telling[-1] if telling else f"ended with {ended.returncode}"
