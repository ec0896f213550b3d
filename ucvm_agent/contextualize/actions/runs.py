"""Programs that are run exactly once, whatever happens to the agent meanwhile.

Each run has its files in one folder: KEY.program says what it is, KEY.lock is locked while it runs, KEY.log is
its output, KEY.result how it ended. `supervisor.py` writes the last two. What a restarted agent finds:

    KEY.result               it has ended: take the result
    KEY.lock is locked       it is running: wait for it
    KEY.program only         it died together with the machine: run it again
    nothing of these         it was not started yet, or is to be tried again (`Target.run_key`)
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import structlog

from ucvm_agent.contextualize.actions.locks import lock
from ucvm_agent.errors import ActionError
from ucvm_agent.files.private_file import sync_folder

log = structlog.get_logger()

START_SECONDS = 60.0
"""How long the supervisor may take to start; a machine that is booting can be slow."""

END_SECONDS = 60.0
"""How much longer than a program's own time limit its supervisor may take to end it."""

LABEL = "amiconfig"
"""Scripts in public contexts look for this word among their parents, and do nothing where it is missing."""

_SHOWN_LINES = 10
_SHOWN_BYTES = 1000


class Way(StrEnum):
    """The ways in which a run can end, in the words of KEY.result."""

    EXITED = "exited"
    KILLED = "killed"
    TIMEOUT = "timeout"
    UNSTARTABLE = "unstartable"


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended; `code` is an exit status, a signal or an errno."""

    way: Way
    code: int = 0

    @property
    def good(self) -> bool:
        """Whether it succeeded."""
        return self.way is Way.EXITED and self.code == 0

    @property
    def missing(self) -> bool:
        """Whether there is no such program."""
        return self.way is Way.UNSTARTABLE and self.code == errno.ENOENT

    def __str__(self) -> str:
        match self.way:
            case Way.EXITED:
                return f"ended with exit status {self.code}"
            case Way.KILLED:
                names = {number.value: number.name for number in signal.Signals}
                return f"was killed by {names.get(self.code, f'signal {self.code}')}"
            case Way.TIMEOUT:
                return "was stopped because its time was over"
            case Way.UNSTARTABLE:
                return f"could not be started: {os.strerror(self.code)}"


@dataclass(frozen=True, slots=True)
class Program:
    """A program to run.

    Arguments:
        title: for people, in KEY.program; without secrets.
        argv: the program, looked up on PATH inside the root, and its arguments.
        environment: all of its environment.
        root: what it sees as `/`.
        timeout: seconds.
    """

    title: str
    argv: tuple[str, ...] = field(repr=False)
    environment: dict[str, str] = field(repr=False)
    root: Path
    timeout: float


class Run:
    """One run of a program.

    Arguments:
        folder: where its files are (0700).
        key: the begin of their names.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.folder = folder
        self.key = key

    @property
    def log(self) -> Path:
        """The file with the output."""
        return self._file("log")

    async def end(self, program: Program) -> Ending:
        """Run the program, or find it run or running, and return how it ended.

        Cancellation means that the agent stops: the program goes on, and the next call finds it.

        Raises:
            ActionError: its supervisor could not be started, or died.
        """
        patience = program.timeout + END_SECONDS
        descriptor = await lock(self._file("lock"), patience)
        try:
            if (ending := await asyncio.to_thread(self._ending)) is not None:
                log.info("command had ended meanwhile", run=self.key, ending=str(ending))
                return ending
            await asyncio.to_thread(self._prepare, program.title)
            await self._start(program, descriptor)
        except ActionError:
            self._file("program").unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        os.close(await lock(self._file("lock"), patience))
        ending = await asyncio.to_thread(self._ending)
        if ending is None:
            raise ActionError("its supervisor died", where=program.title, hint="look for the reason in the kernel log")
        return ending

    def last_lines(self) -> str:
        """Return the end of the output, made harmless for a terminal."""
        with suppress(OSError), self.log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _SHOWN_BYTES))
            lines = file.read().decode(errors="replace").splitlines()[-_SHOWN_LINES:]
            return "\n".join("".join(c for c in line if c.isprintable() or c == "\t") for line in lines).strip()
        return ""

    def _file(self, suffix: str) -> Path:
        return self.folder / f"{self.key}.{suffix}"

    def _ending(self) -> Ending | None:
        try:
            way, _, code = self._file("result").read_text().strip().partition(" ")
        except FileNotFoundError:
            return None
        return Ending(Way(way), int(code or 0))

    def _prepare(self, title: str) -> None:
        """Make it known on the disk that the program is going to be started."""
        file = self._file("program")
        if file.exists():
            log.warning("command died together with the machine, running it again", run=self.key, command=title)
            return
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(f"{title}\n")
            stream.flush()
            os.fsync(descriptor)
        sync_folder(self.folder)

    async def _start(self, program: Program, descriptor: int) -> None:
        """Start the supervisor, which inherits the lock; return once it stands on its own."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-I", "-S", "-X", "utf8", str(Path(__file__).with_name("supervisor.py"))),
            *(LABEL, self.key, str(program.root), str(program.timeout), *program.argv),
            stdin=descriptor,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            env=program.environment,
            cwd=self.folder,
        )
        try:
            async with asyncio.timeout(START_SECONDS):
                _, errors = await process.communicate()
        except TimeoutError as error:
            process.kill()
            await process.wait()
            raise ActionError("its supervisor does not start", where=program.title) from error
        if process.returncode:
            reason = errors.decode(errors="replace").strip().rpartition("\n")[2]
            raise ActionError(f"its supervisor could not be started: {reason}", where=program.title)
