"""System calls that Python 3.11 does not have."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38

CLONE_NEWNS = 0x20000
CLONE_NEWIPC = 0x8000000

MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_BIND = 0x1000
MS_REC = 0x4000
MS_SLAVE = 0x80000

_libc = ctypes.CDLL(None, use_errno=True)


def control_process(option: int, value: int) -> None:
    """Call prctl(2) for this process.

    Raises:
        OSError: the kernel refuses.
    """
    _check(_libc.prctl(option, value, 0, 0, 0), "prctl")


def leave_namespaces(flags: int) -> None:
    """Call unshare(2) for this process.

    Raises:
        OSError: the kernel refuses.
    """
    _check(_libc.unshare(flags), "unshare")


def mount(source: str | Path, target: str | Path, kind: str, flags: int, options: str = "") -> None:
    """Lay a file system, or a folder, over another folder (mount(2)).

    Raises:
        OSError: the kernel refuses.
    """
    words = (os.fsencode(source), os.fsencode(target), kind.encode())
    _check(_libc.mount(*words, ctypes.c_ulong(flags), options.encode()), f"mount {target}")


def _check(result: int, call: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")
