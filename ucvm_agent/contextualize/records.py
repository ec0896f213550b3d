"""The records that commands leave in the folder of the runs, and how long they stay there."""

from __future__ import annotations

import shutil
from collections.abc import Set
from pathlib import Path

from ucvm_agent.errors import ActionError


def forget(runs: Path, key: str) -> None:
    """Remove what runs of the step `key` left behind, whatever their scope, so that the next one begins anew.

    Raises:
        ActionError: it cannot be removed.
    """
    try:
        for path in runs.iterdir():  # not glob, which compiles a regular expression for each key
            if path.name.startswith(f"{key}-"):
                _remove(path)
    except OSError as error:
        message = f"the records of an earlier run cannot be removed: {error.strerror}"
        raise ActionError(message, where=str(runs), hint="remove them by hand") from error


def prune(folder: Path, kept: Set[str]) -> None:
    """Remove what belongs to other steps than those of the keys `kept`, with which the names in `folder` begin.

    Raises:
        OSError: one cannot be removed.
    """
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name.partition("-")[0] not in kept:
            _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
