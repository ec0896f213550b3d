"""All processes of a job, however they daemonized.

The supervisor adopts every orphan beneath it (PR_SET_CHILD_SUBREAPER, prctl(2)): forking twice and setsid(2) do not
lead out of its descendants. When it has no child left, nothing of the job is left. A cgroup, where there is one, makes
the killing a single step; where there is none, the processes are stopped until none is new, and killed then.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from ucvm_agent.jobs.running.cgroup import Cgroup

_PAGE = os.sysconf("SC_PAGE_SIZE")
END_SECONDS = 5.0
"""How long one waits for the end of what was killed."""

_SWEEPS = 100
"""How often one looks for processes that were forked meanwhile; a limit of processes makes a few enough."""

_AT_ONCE = 32
"""Most strays that are killed in one sweep; each takes a descriptor until it has ended."""


@dataclass
class Tree:
    """The processes of a job, beneath this process or in `cgroup`.

    Arguments:
        others: children of this process that do not belong to the job.
    """

    cgroup: Cgroup | None
    others: set[int] = field(default_factory=set)

    def processes(self) -> list[int]:
        """Return the numbers of all processes."""
        found = set(descendants(os.getpid())) - self.others
        return sorted(found.union(self.cgroup.processes() if self.cgroup else ()))

    def send(self, number: int) -> None:
        """Send a signal to all processes."""
        for pid in self.processes():
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)

    def kill(self) -> None:
        """Kill all processes."""
        if self.cgroup:
            self.cgroup.kill()
        stopped: set[int] = set()
        for _ in range(_SWEEPS):
            new = set(self.processes()) - stopped
            if not new:
                break
            for pid in new:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGSTOP)
            stopped |= new
        self.send(signal.SIGKILL)

    def memory(self) -> int:
        """Return how many bytes of memory they have that are not those of files, without what they share."""
        return sum(_private_bytes(pid) for pid in self.processes())


def descendants(ancestor: int) -> list[int]:
    """Return the numbers of the processes beneath one; those too that have ended and wait to be reaped."""
    children: dict[int, list[int]] = {}
    for pid, parent in _all_processes():
        children.setdefault(parent, []).append(pid)
    found: list[int] = []
    rest = [ancestor]
    while rest:
        below = children.get(rest.pop(), [])
        found += below
        rest += below
    return found


def kill_strays(home: str, temporary: Path) -> None:
    """Kill what is left of a job whose supervisor is no more, where its cgroup does not do so.

    A process can change its environment, but not what its job has in the place of /tmp. The number of a namespace would
    not tell: the kernel gives it to another one at once.

    Arguments:
        home: with which the job was started.
        temporary: its folder of places for temporary files (`privacy.py`).
    """
    mark = b"HOME=%s" % os.fsencode(home)
    for _ in range(_SWEEPS):  # what was forked meanwhile is found by the next one
        killed = list(islice(_kill_each(mark, temporary / "tmp"), _AT_ONCE))
        try:
            if not killed or not _have_ended(killed):
                return
        finally:
            for descriptor in killed:
                os.close(descriptor)


def _kill_each(mark: bytes, place: Path) -> Iterator[int]:
    """Kill the processes that have this in their environment or this folder as their /tmp, and yield pidfds of them."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(FileNotFoundError, ProcessLookupError, PermissionError), ExitStack() as opened:
                descriptor = os.pidfd_open(int(entry.name))  # before the look: its number may be another's after it
                opened.callback(os.close, descriptor)
                if mark in (entry / "environ").read_bytes().split(b"\0") or _has(entry, place):
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                    opened.pop_all()
                    yield descriptor


def _have_ended(processes: list[int]) -> bool:
    """Wait until processes have ended, given their pidfds; False if some do not in time."""
    deadline = time.monotonic() + END_SECONDS
    for descriptor in processes:
        end = select.poll()
        end.register(descriptor, select.POLLIN)
        if not end.poll(max(0.0, deadline - time.monotonic()) * 1000):
            return False
    return True


def _has(process: Path, place: Path) -> bool:
    """Whether the process, beneath /proc, has this folder as its /tmp."""
    with suppress(FileNotFoundError):
        return (process / "root/tmp").samefile(place)
    return False


def tasks_of(uid: int) -> int:
    """Return how many processes and threads a user has, as RLIMIT_NPROC counts them."""
    count = 0
    for entry in Path("/proc").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            if entry.name.isdigit() and entry.stat().st_uid == uid:
                count += len(list((entry / "task").iterdir()))
    return count


def _all_processes() -> list[tuple[int, int]]:
    """Return number and parent of every process that we may see (proc(5))."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(FileNotFoundError, ProcessLookupError):
                text = (entry / "stat").read_text(errors="replace")
                found.append((int(entry.name), int(text.rpartition(") ")[2].split()[1])))
    return found


def _private_bytes(pid: int) -> int:
    try:
        fields = Path("/proc", str(pid), "statm").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return max(0, int(fields[1]) - int(fields[2])) * _PAGE
