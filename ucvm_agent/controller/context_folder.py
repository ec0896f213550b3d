"""The folder of contexts: which file is whose. Every function may block."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import structlog

from ucvm_agent.copilot.context import MAX_CONTEXT

log = structlog.get_logger()

SUFFIX = ".context"
DEFAULT = "default"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
"""What of a machine's names may be the name of a file."""


@dataclass(frozen=True, slots=True)
class Context:
    """User-data, and how the messages name it (docs/protocol-context.md).

    Arguments:
        sequence: when it was written, in microseconds since 1970.
    """

    user_data: bytes
    sequence: int

    @property
    def digest(self) -> str:
        """SHA-256 of the user-data."""
        return hashlib.sha256(self.user_data).hexdigest()


def choose(folder: Path, names: Iterable[str]) -> Context | None:
    """Return the context of the first name that has one, else the default one, else None."""
    for name in (*names, DEFAULT):
        if _NAME.fullmatch(name) and (context := _read(folder / f"{name}{SUFFIX}")):
            return context
    return None


def times(folder: Path) -> dict[str, int]:
    """Return when each context was written, in nanoseconds since 1970, by the name that it is for."""
    try:
        return {path.stem: path.stat().st_mtime_ns for path in folder.glob(f"*{SUFFIX}")}
    except OSError as error:
        log.warning("contexts cannot be listed", folder=str(folder), reason=error.strerror)
        return {}


def _read(path: Path) -> Context | None:
    try:
        with path.open("rb") as file:
            user_data = file.read(MAX_CONTEXT + 1)
            sequence = path.stat().st_mtime_ns // 1000
    except FileNotFoundError:
        return None
    except OSError as error:
        log.warning("a context cannot be read", file=str(path), reason=error.strerror)
        return None
    if len(user_data) > MAX_CONTEXT:
        log.warning("a context is too large", file=str(path), most=MAX_CONTEXT)
        return None
    return Context(user_data, max(1, sequence))
