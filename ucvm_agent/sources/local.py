"""Small files of this machine, read within bounds."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from ucvm_agent.errors import SourceRefused
from ucvm_agent.sources.base import MAX_BODY


def read_file(path: Path) -> bytes | None:
    """Return the content of a file, or None if there is none.

    Raises:
        SourceRefused: it is no regular file, is too large, or this user may not read it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise SourceRefused("this is not a file", where=str(path))
            content = file.read(MAX_BODY + 1)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        raise SourceRefused(f"it cannot be read: {error.strerror}", where=str(path)) from None
    if len(content) > MAX_BODY:
        raise SourceRefused(f"it has more than the {MAX_BODY} bytes that are read", where=str(path))
    return content
