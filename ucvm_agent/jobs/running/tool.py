"""Programs of the system that are run for a job, before it begins or when it is over."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE
from contextlib import suppress
from typing import Any

from ucvm_agent.errors import JobError, ours

_CHUNK = 64 * 1024
_MAX_ERRORS = 4096
"""Bytes of its complaints that are kept, the last ones."""


async def run_tool(*argv: str, seconds: float, most: int = 0, **options: Any) -> tuple[int, bytes, str]:
    """Run a program to its end; return its exit status, what it has printed, and the end of what it complains of.

    It is killed with all that it has started if it takes too long, prints too much, or nobody waits for it any more.

    Arguments:
        seconds: that it may take.
        most: bytes that it may print.
        options: of subprocess.Popen.

    Raises:
        JobError: it cannot be started, takes too long, or prints too much.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, start_new_session=True, cwd="/", **options
        )
    except OSError as error:
        raise JobError(f"{argv[0]} cannot be started: {error.strerror or error}") from error
    try:
        async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
            output = group.create_task(_read(process.stdout, most))
            errors = group.create_task(_read_end(process.stderr))
            status = group.create_task(process.wait())
    except TimeoutError as error:
        raise JobError(f"{argv[0]} does not end within {seconds:g} s") from error
    except ExceptionGroup as group_error:
        raise ours(group_error) or group_error from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return status.result(), output.result(), errors.result().decode(errors="replace").strip()


async def _read(stream: asyncio.StreamReader | None, most: int) -> bytes:
    content = bytearray()
    while stream and (chunk := await stream.read(_CHUNK)):
        content += chunk
        if len(content) > most:
            raise JobError(f"it prints more than {most} bytes")
    return bytes(content)


async def _read_end(stream: asyncio.StreamReader | None) -> bytes:
    end = b""
    while stream and (chunk := await stream.read(_CHUNK)):
        end = (end + chunk)[-_MAX_ERRORS:]
    return end
