"""Calls a drop-in: one answer from one process, bounded in time and size, and nothing of it left over."""

from __future__ import annotations

import os
import resource
import select
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import IO

import structlog

from ucvm_agent.contextualize.system import ENVIRONMENT

log = structlog.get_logger()

SECONDS = 10.0
"""How long one call may take."""

MAX_OUTPUT = 4 * 1024 * 1024
"""Most bytes that one call may print."""

LOGGED = 2000
"""Characters of standard error that are logged."""


def call(path: Path, verb: str, question: bytes = b"", *, seconds: float = SECONDS) -> bytes:
    """Run `path verb` with `question` on its standard input, and return what it prints; blocks.

    Its process group is killed when it has ended, and before that when it takes or prints too much.

    Raises:
        ValueError: it could not be started, failed, or exceeded a bound.
    """
    with _memory("question") as asked, _memory("answer") as answer, _memory("errors") as errors:
        asked.write(question)
        asked.seek(0)
        try:
            process = subprocess.Popen(
                [path, verb],
                stdin=asked,
                stdout=answer,
                stderr=errors,
                cwd="/",
                env=ENVIRONMENT,
                start_new_session=True,
            )
        except OSError as error:
            raise ValueError(f"it cannot be started: {error.strerror}") from None
        in_time = _supervise(process, seconds)
        if complaint := _content(errors).decode(errors="replace").strip():
            log.debug("drop-in wrote to standard error", drop_in=str(path), verb=verb, text=complaint[-LOGGED:])
        if not in_time:
            raise ValueError(f"it took more than {seconds:g} seconds")
        output = _content(answer)
        if len(output) >= MAX_OUTPUT:
            raise ValueError(f"it printed more than {MAX_OUTPUT} bytes")
        if process.returncode:
            raise ValueError(f"it ended with exit status {process.returncode}")
        return output


def _memory(name: str) -> IO[bytes]:
    """Return a file that is on no disk: an answer may hold secrets, and a dry run leaves no traces."""
    return os.fdopen(os.memfd_create(name), "w+b")


def _content(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


def _supervise(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Return whether the process ended in time; afterwards nothing of its group runs any more."""
    with process:
        try:
            with suppress(ProcessLookupError):
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (MAX_OUTPUT, MAX_OUTPUT))
            return _ends(process.pid, seconds)
        finally:
            # Until it has been waited for, nobody else can get its number.
            os.killpg(process.pid, signal.SIGKILL)


def _ends(pid: int, seconds: float) -> bool:
    descriptor = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(seconds * 1000))
    finally:
        os.close(descriptor)
