"""Whether a file is here that a manager demands (references/copilot-protocol.md, sections 3.3 and 6.6)."""

from __future__ import annotations

import asyncio
from pathlib import Path, PurePosixPath

import structlog

log = structlog.get_logger()

SECONDS = 30.0
"""For a look at a path: behind it may be an automounter, or a server that is away."""


async def is_there(path: str, prefixes: tuple[str, ...]) -> bool:
    """Return whether a path exists; beneath other folders than these none does, whatever is there.

    Arguments:
        prefixes: absolute folders.
    """
    wanted = PurePosixPath(path)
    allowed = any(wanted.is_relative_to(prefix) for prefix in prefixes)
    if not allowed or ".." in wanted.parts or not path.isprintable():
        log.warning("a demanded file may not be looked for", path=path, setting="jobs.require_prefixes")
        return False
    try:
        async with asyncio.timeout(SECONDS):
            return await asyncio.to_thread(_exists, path)
    except TimeoutError:
        return False


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except OSError:
        return False
