"""What the bootloader says: through the kernel's log, so that it is on every console and later in the journal."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog

_KERNEL_LOG = Path("/dev/kmsg")
_MAX = 900
"""Bytes of a line; the kernel refuses longer ones."""
_CRITICAL, _WARNING, _NOTICE = 2, 4, 5
"""Priorities of the kernel; with the parameter `quiet`, only what is above a warning is on the console."""
_PRIORITIES = {"warning": _WARNING, "error": _CRITICAL, "critical": _CRITICAL}


def configure() -> None:
    """Send the log of the rooms that the bootloader uses the same way."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.KeyValueRenderer(key_order=["event"]),
            _forward,
        ],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
    )


def say(message: str) -> None:
    """Tell what was done."""
    _write(_NOTICE, message)


def shout(message: str) -> None:
    """Tell what a person has to see, even on a quiet console."""
    _write(_CRITICAL, f"*** {message} ***")


def _forward(_: object, method: str, line: Any) -> str:
    _write(_PRIORITIES.get(method, _NOTICE), str(line))
    raise structlog.DropEvent


def _write(priority: int, message: str) -> None:
    line = " ".join(message.split())
    with suppress(OSError):
        _KERNEL_LOG.write_bytes(f"<{priority}>ucvm-agent: {line}\n".encode()[:_MAX])
        return
    print(f"ucvm-agent: {line}", file=sys.stderr)
