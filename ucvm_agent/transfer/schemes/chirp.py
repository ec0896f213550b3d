"""`chirp://HOST[:PORT]/PATH`: the file servers of Co-Pilot, by the programs chirp_get and chirp_put.

References/copilot-protocol.md, sections 3.4 and 6.6. The programs connect again by themselves when a connection
breaks, and then begin anew; so chirp_get needs a file as its standard output, where it can.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import signal
import socket
from contextlib import suppress
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import IO

from ucvm_agent.errors import TransferDelayed, TransferError, TransferRefused
from ucvm_agent.transfer import base
from ucvm_agent.transfer.location import Location
from ucvm_agent.transfer.partial import Partial

_BY_TEXT = {os.strerror(number): number for number in errno.errorcode}
_LASTING = frozenset(
    {errno.EACCES, errno.EISDIR, errno.ENAMETOOLONG, errno.ENOENT, errno.ENOTDIR, errno.EPERM, errno.EROFS}
)


class Transfer(base.Transfer):
    """Moves files from and to Chirp servers."""

    async def fetch(self, source: Location, partial: Partial) -> None:
        """See `Transfer.fetch`; it always begins anew."""
        await _resolve(source)
        await asyncio.to_thread(partial.restart)
        limits = ("prlimit", f"--fsize={partial.limit}", "--core=0", "--")
        # Only with standard output does chirp_get refuse a folder, instead of fetching all that is in it.
        try:
            await self._run((*limits, *self._program("chirp_get"), source.server, source.path, "-"), partial.file)
        except TransferDelayed:
            await asyncio.to_thread(partial.expect, 1)  # chirp_get does not tell a full disk from a broken connection
            raise
        await asyncio.to_thread(partial.written)

    async def send(self, source: Path, target: Location) -> None:
        """See `Transfer.send`."""
        await _resolve(target)
        await self._run((*self._program("chirp_put"), str(source), target.server, target.path))

    def _program(self, name: str) -> tuple[str, ...]:
        if shutil.which(name) is None:
            raise TransferRefused(f"the program {name} is not installed", hint="install coop-computing-tools")
        return (name, "-a", self.settings.chirp_auth, "-t", str(max(1, int(self.settings.timeout))))

    async def _run(self, command: tuple[str, ...], output: IO[bytes] | None = None) -> None:
        try:
            process = await asyncio.create_subprocess_exec(
                *("setpriv", "--pdeathsig", "KILL", *command),  # it ends with the agent, however that ends
                stdin=DEVNULL,
                stdout=output or DEVNULL,
                stderr=PIPE,
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
                start_new_session=True,
            )
        except OSError as error:
            raise TransferDelayed(f"no program can be started: {error.strerror}") from None
        try:
            _, complaint = await process.communicate()
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        if process.returncode:
            raise _explain(process.returncode, complaint)


async def _resolve(location: Location) -> None:
    """Tell an unknown host from an unknown file, which the programs do not."""
    if location.host.startswith("["):
        raise TransferRefused("chirp_get and chirp_put know no addresses of IPv6", hint="name the host")
    try:
        await asyncio.get_running_loop().getaddrinfo(location.host, None, family=socket.AF_INET)
    except (OSError, UnicodeError):
        raise TransferDelayed("the name of the server cannot be resolved", hint="is the network up?") from None


def _explain(status: int, complaint: bytes) -> TransferError:
    if status == -signal.SIGXFSZ:
        return TransferRefused("the file has more bytes than are allowed", hint="transfer.max_bytes in the settings")
    reason = complaint.decode(errors="replace").strip().rpartition(": ")[2]
    number = _BY_TEXT.get(reason)
    if number in _LASTING:
        return TransferRefused(f"the server refuses: {reason}")
    if number is None:
        return TransferDelayed(f"it failed with status {status}")
    return TransferDelayed(f"the connection failed: {reason}", hint="is the server up, and has it space?")
