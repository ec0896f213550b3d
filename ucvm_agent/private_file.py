"""Files of ours that nobody else may read: they can hold what user-data and controllers say."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

MODE = 0o600


def tighten(file: Path | int) -> None:
    """Take a file away from group and others, however it came to be open to them; devices and pipes stay as they are.

    Arguments:
        file: its path, or a descriptor of it.

    Raises:
        OSError: it is not there.
    """
    mode = os.stat(file).st_mode  # noqa: PTH116 - takes descriptors, too
    if stat.S_ISREG(mode) and mode & 0o077:
        with suppress(PermissionError):  # somebody else's: an unprivileged agent is not at fault
            os.chmod(file, MODE)  # noqa: PTH101 - as above
