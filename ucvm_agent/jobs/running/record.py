"""What agent and supervisor tell each other: small files in the folder of control of a job.

    order       the agent: what to run
    beginning   who came first: the supervisor that runs it, or an agent that gave it up before it began
    validation  the supervisor: the job itself has ended, and its validation begins
    cancel      the agent: why the supervisor is to end it now
    outcome     the supervisor: how it ended

Each appears at once and as a whole, and `beginning` only once, so that no job is run twice. Only root, or whoever
the agent is, can see the folder.
"""

from __future__ import annotations

import dataclasses
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Self

from ucvm_agent.jobs.running.account import Account
from ucvm_agent.jobs.running.limits import Limits

_ROOM = 8192
"""Bytes of the disk that are kept free for the outcome; no outcome is longer."""

MAX_REASON = 500


class End(StrEnum):
    """Why a job ended."""

    OWN = "own"
    """By itself, well or not: the wait status tells."""
    CANCELLED = "cancelled"
    TIME = "time"
    MEMORY = "memory"
    DISK = "disk"
    STOPPED = "stopped"
    """The machine shuts down."""
    UNSTARTABLE = "unstartable"


class Record:
    """A dataclass that is kept in a file of this name."""

    name: ClassVar[str]

    def write(self, control: Path) -> None:
        """Make or replace the record, durably."""
        temporary = self._write_new(control)
        temporary.rename(control / self.name)
        sync_folder(control)

    def write_once(self, control: Path) -> bool:
        """Make the record, durably; False if there is one."""
        temporary = self._write_new(control, f".{os.getpid()}")
        try:
            os.link(temporary, control / self.name)
        except FileExistsError:
            return False
        finally:
            temporary.unlink()
        sync_folder(control)
        return True

    @classmethod
    def read(cls, control: Path) -> Self | None:
        """Return the record, or None if there is none."""
        with suppress(FileNotFoundError):
            return cls.of(json.loads((control / cls.name).read_bytes()))
        return None

    @classmethod
    def of(cls, values: dict[str, Any]) -> Self:
        """Return the record with the values that `write` wrote."""
        return cls(**values)

    def _write_new(self, control: Path, suffix: str = "") -> Path:
        temporary = control / f"{self.name}.new{suffix}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(json.dumps(dataclasses.asdict(self)).encode())  # type: ignore[call-overload]  # each is one
            file.truncate()  # behind the text: what was kept free is not needed any more
            file.flush()
            os.fsync(descriptor)
        return temporary


@dataclass(frozen=True, kw_only=True)
class Order(Record):
    """What to run.

    Arguments:
        unit: the name of the job's scope or cgroup.
        folder: the job's folder, absolute.
        validation: the file there that is run after the job; empty if there is none.
    """

    name: ClassVar[str] = "order"
    unit: str
    folder: str
    validation: str
    account: Account
    limits: Limits

    @classmethod
    def of(cls, values: dict[str, Any]) -> Self:
        """See `Record.of`."""
        return cls(**values | {"account": Account(**values["account"]), "limits": Limits(**values["limits"])})


@dataclass(frozen=True)
class Beginning(Record):
    """Who runs the job.

    Arguments:
        pid: of the supervisor; 0 if the job was given up before it began.
        started: when that process started, in the kernel's ticks: two processes can have the same number.
        boot: the boot of the machine.
        cgroup: of the job, if it has one of its own.
        exposed: why the job has no places of its own for temporary files; empty if it has (`privacy.py`), or if it is
            not another account's anyway.
    """

    name: ClassVar[str] = "beginning"
    pid: int = 0
    started: int = 0
    boot: str = ""
    cgroup: str = ""
    exposed: str = ""

    @classmethod
    def of_this_process(cls, cgroup: str, exposed: str) -> Self:
        """Return the record of the supervisor that this process is."""
        return cls(os.getpid(), start_time(os.getpid()) or 0, boot_id(), cgroup, exposed)


@dataclass(frozen=True)
class Validation(Record):
    """The job itself has ended, and its validation begins.

    Arguments:
        status: the raw wait status of the job.
    """

    name: ClassVar[str] = "validation"
    status: int


@dataclass(frozen=True)
class Cancel(Record):
    """Why the job is to be ended now."""

    name: ClassVar[str] = "cancel"
    reason: str


@dataclass(frozen=True, kw_only=True)
class Outcome(Record):
    """How the job ended; the figures are those of the job without its validation.

    Arguments:
        status: the raw wait status (wait(2)), which is what `exitCode` is (references, section 2.9).
        validate_status: that of the validation; None if there was none.
        end: why it ended.
        reason: why it was cancelled, or could not be started.
        wall, cpu_user, cpu_system: seconds.
        memory_peak: bytes.
        stdout, stderr: bytes that it wrote there, whether they were kept or not.
        left_over: processes that could not be killed within the supervisor's patience.
    """

    name: ClassVar[str] = "outcome"
    status: int
    validate_status: int | None = None
    end: End = End.OWN
    reason: str = ""
    wall: float = 0.0
    cpu_user: float = 0.0
    cpu_system: float = 0.0
    memory_peak: int = 0
    stdout: int = 0
    stderr: int = 0
    left_over: int = 0

    @classmethod
    def of(cls, values: dict[str, Any]) -> Self:
        """See `Record.of`."""
        return cls(**values | {"end": End(values["end"])})

    @classmethod
    def keep_room(cls, control: Path) -> None:
        """Take now what the outcome will need of the disk, which may be full by then."""
        descriptor = os.open(control / f"{cls.name}.new", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, _ROOM)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def lines(self) -> str:
        """Return the content of the file `resources`: a line for each figure."""
        figures = {
            "wall_seconds": f"{self.wall:.3f}",
            "cpu_user_seconds": f"{self.cpu_user:.3f}",
            "cpu_system_seconds": f"{self.cpu_system:.3f}",
            "memory_peak_bytes": self.memory_peak,
            "stdout_bytes": self.stdout,
            "stderr_bytes": self.stderr,
            "wait_status": self.status,
            "ended_by": self.end,
        }
        return "".join(f"{name}={value}\n" for name, value in figures.items())


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def boot_id() -> str:
    """Return what is another one after each start of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start_time(pid: int) -> int | None:
    """Return when a process started, in the kernel's ticks (proc(5)); None if there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(text.rpartition(b") ")[2].split()[19])
