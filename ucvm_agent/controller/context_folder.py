"""The folder of contexts: which file is whose. Every function may block.

    ACCOUNT/NAME.context       for one machine of an account, by its id, its instance-id or its host name
    ACCOUNT/default.context    for the other machines of this account
    default.context            for all others

ACCOUNT is the bare JID, such as vm7@example.org: the one thing of a machine that it does not just say. The names are
only said, so machines of one account can have each other's contexts.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from ucvm_agent.copilot.context import MAX_CONTEXT

log = structlog.get_logger()

SUFFIX = ".context"
DEFAULT = "default"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
"""What of a machine's names may be the name of a file."""

_ACCOUNT = re.compile(r"[^/@\x00]+@[^/@\x00]+")
"""What may be the name of a folder: XMPP allows no more, and nothing that it allows leads elsewhere."""

_FOLDER_BYTES = 255
"""Longest name of a folder."""


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


def places(account: str, names: Iterable[str]) -> Iterator[str]:
    """Yield where the context of a machine may be, the best place first; `times` calls them the same.

    Arguments:
        account: its bare JID.
        names: what it says it is called, the best first.
    """
    if _ACCOUNT.fullmatch(account) and len(account.encode()) <= _FOLDER_BYTES:
        yield from (f"{account}/{name}" for name in (*names, DEFAULT) if _NAME.fullmatch(name))
    yield DEFAULT


def choose(folder: Path, account: str, names: Iterable[str]) -> Context | None:
    """Return the context of a machine; None if there is none, or the one that it should have cannot be read.

    Arguments:
        account, names: as for `places`.
    """
    for place in places(account, names):
        with suppress(FileNotFoundError, NotADirectoryError):
            return _read(folder / f"{place}{SUFFIX}")
    return None


def times(folder: Path) -> dict[str, int]:
    """Return when each context was written, in nanoseconds since 1970, by its place."""
    try:
        found = [*folder.glob(f"{DEFAULT}{SUFFIX}"), *folder.glob(f"*@*/*{SUFFIX}")]
        return {str(path.relative_to(folder)).removesuffix(SUFFIX): path.stat().st_mtime_ns for path in found}
    except OSError as error:
        log.warning("contexts cannot be listed", folder=str(folder), reason=error.strerror)
        return {}


def misplaced(folder: Path) -> list[str]:
    """Return the names of the files that are for nobody, since they lie in no account's folder."""
    return sorted(path.name for path in folder.glob(f"*{SUFFIX}") if path.name != f"{DEFAULT}{SUFFIX}")


def _read(path: Path) -> Context | None:
    """Return a context; None if it cannot be read.

    Raises:
        FileNotFoundError, NotADirectoryError: there is none.
    """
    try:
        with path.open("rb") as file:
            user_data = file.read(MAX_CONTEXT + 1)
            sequence = path.stat().st_mtime_ns // 1000
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        log.warning("a context cannot be read", file=str(path), reason=error.strerror)
        return None
    if len(user_data) > MAX_CONTEXT:
        log.warning("a context is too large", file=str(path), most=MAX_CONTEXT)
        return None
    return Context(user_data, max(1, sequence))
