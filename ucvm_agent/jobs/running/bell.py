"""How a supervisor wakes an agent that waits for the next record: a named pipe in the folder of control.

The record is written first, and looked for after the pipe was opened; so nothing is missed, whoever comes when.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_NAME = "bell"


def hang(control: Path) -> None:
    """Make the pipe.

    Raises:
        OSError: it cannot be made.
    """
    os.mkfifo(control / _NAME, 0o600)


def listen(control: Path) -> int | None:
    """Return a descriptor that is readable once it has rung; None if there is no pipe."""
    try:
        return os.open(control / _NAME, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None


def ring(control: Path) -> None:
    """Wake who listens, if anybody does."""
    with suppress(OSError):  # no pipe, or nobody at its other end
        descriptor = os.open(control / _NAME, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.write(descriptor, b"!")
        finally:
            os.close(descriptor)
