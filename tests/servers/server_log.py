"""What a server prints, which tells when it listens."""

from __future__ import annotations

import asyncio
from collections import deque
from pathlib import Path


async def keep_log(
    stream: asyncio.StreamReader | None, log_file: Path, sign: bytes, listening: asyncio.Future[None]
) -> None:
    """Append what a server prints to a file, until it ends.

    Arguments:
        sign: part of the line that says that it listens.
        listening: settled with that line; with RuntimeError if the server ends without it.
    """
    assert stream is not None
    last: deque[bytes] = deque(maxlen=20)
    with log_file.open("ab") as file:
        while line := await stream.readline():
            file.write(line)
            file.flush()
            last.append(line)
            if sign in line and not listening.done():
                listening.set_result(None)
    if not listening.done():
        text = b"".join(last).decode(errors="replace")
        listening.set_exception(RuntimeError(f"it did not start: {log_file}: {text}"))
