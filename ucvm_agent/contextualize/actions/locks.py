"""Locks between processes that no crash leaves behind, and work that is finished while one holds them."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ucvm_agent.errors import ActionError
from ucvm_agent.store.lock import WHOLE_FILE

T = TypeVar("T")


async def lock(path: Path, patience: float) -> int:
    """Make the file if need be, lock it, and return its descriptor: closing it unlocks.

    The lock is one of the open file, not of the process (F_OFD_SETLKW, fcntl(2)): it excludes other tasks of
    this process too, goes over to a child that inherits the descriptor, and excludes lckpwdf(3).

    Waiting for a lock cannot be interrupted, so a thread does it which is abandoned when the caller gives up;
    it unlocks at once what it then still gets.

    Raises:
        ActionError: the file cannot be made, or is not unlocked within `patience` seconds.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ActionError(f"cannot be locked: {error.strerror}", where=str(path), hint="run as root") from error
    if _locked_at_once(descriptor):
        return descriptor
    try:
        async with asyncio.timeout(patience):
            return await _locked_in_thread(descriptor)
    except TimeoutError as error:
        message = f"another process has kept it locked for {patience:.0f} seconds"
        raise ActionError(message, where=str(path), hint="find that process with lslocks") from error


async def finish_in_thread(function: Callable[[], T]) -> T:
    """Call a short function in a thread; a cancellation waits for its end, so that no lock is given up before."""
    work = asyncio.create_task(asyncio.to_thread(function))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        raise


def _locked_at_once(descriptor: int) -> bool:
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, WHOLE_FILE)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        os.close(descriptor)
        raise ActionError(f"cannot be locked: {error.strerror}") from error
    return True


async def _locked_in_thread(descriptor: int) -> int:
    loop = asyncio.get_running_loop()
    locked: asyncio.Future[int] = loop.create_future()

    def hand_over() -> None:
        if locked.done():
            os.close(descriptor)
        else:
            locked.set_result(descriptor)

    def wait() -> None:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLKW, WHOLE_FILE)
        try:
            loop.call_soon_threadsafe(hand_over)
        except RuntimeError:  # the loop is closed
            os.close(descriptor)

    threading.Thread(target=wait, name="lock", daemon=True).start()
    try:
        return await locked
    except asyncio.CancelledError:
        if locked.done() and not locked.cancelled():
            os.close(descriptor)
        raise
