"""A control group (version 2) of a job's own, where the kernel gives us one.

What the hierarchy offers is used, the rest is made up for elsewhere: `cgroup.kill` is there as soon as a group can be
made; memory, cpu and pids depend on which controllers the hierarchy has and were given to us (cgroups(7)).
"""

from __future__ import annotations

import os
import select
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ucvm_agent.jobs.running.limits import Limits

_PERIOD = 100_000  # microseconds; the kernel's default


@dataclass(frozen=True)
class Cgroup:
    """A group at `path` in the mounted hierarchy."""

    path: Path

    @classmethod
    def make(cls, unit: str, limits: Limits) -> Cgroup | None:
        """Make the group of a job and set its limits; None where that is not possible.

        In a scope of systemd, which is delegated to us, this process moves out of the way first: only the leaves of
        the tree may have both processes and limits.
        """
        above = _own_path()
        if above is None:
            return None
        group = cls(above / unit)
        try:
            if above.name == f"{unit}.scope":
                group = cls(above / "job")
                (above / "supervisor").mkdir(exist_ok=True)
                (above / "supervisor/cgroup.procs").write_text("0")
            for controller in ("memory", "cpu", "pids"):
                with suppress(OSError):
                    (above / "cgroup.subtree_control").write_text(f"+{controller}")
            group.kill()  # what a job of the same name left that was lost
            group.remove()
            group.path.mkdir(exist_ok=True)
            group._limit(limits)
        except OSError:
            return None
        return group

    def enter(self) -> None:
        """Put this process into the group; it stays there with all that it starts."""
        (self.path / "cgroup.procs").write_text("0")

    def controls(self, controller: str) -> bool:
        """Return whether the kernel keeps the limits of this controller."""
        return controller in self._read("cgroup.controllers").split()

    def processes(self) -> list[int]:
        """Return the numbers of all processes in the group."""
        return [int(line) for line in self._read("cgroup.procs").split()]

    def kill(self) -> None:
        """Kill all processes in the group at once; before Linux 5.14 that is left to others."""
        with suppress(OSError):
            descriptor = os.open(self.path / "cgroup.kill", os.O_WRONLY | os.O_CLOEXEC)
            with os.fdopen(descriptor, "w") as file:
                file.write("1")

    def wait_empty(self, seconds: float) -> None:
        """Wait until its last process has ended, at most so long: killing takes a moment."""
        deadline = time.monotonic() + seconds
        with suppress(OSError), (self.path / "cgroup.events").open() as file:
            changes = select.poll()
            changes.register(file, select.POLLPRI)  # the kernel tells of a change in this way (cgroups(7))
            while "populated 1" in file.read() and (rest := deadline - time.monotonic()) > 0:
                changes.poll(rest * 1000)
                file.seek(0)

    def cpu_seconds(self) -> tuple[float, float] | None:
        """Return the processor time of all its processes, in user and in system mode."""
        figures = self._figures("cpu.stat")
        if "user_usec" not in figures:
            return None
        return figures["user_usec"] / 1e6, figures["system_usec"] / 1e6

    def memory_peak(self) -> int:
        """Return the most bytes that it ever had; 0 if the kernel does not tell."""
        return int(self._read("memory.peak") or 0)

    def memory_was_short(self) -> bool:
        """Return whether the kernel killed some of it because of its limit of memory."""
        return self._figures("memory.events").get("oom_kill", 0) > 0

    def remove(self) -> None:
        """Remove the group if no process is left in it."""
        with suppress(OSError):
            self.path.rmdir()

    def _limit(self, limits: Limits) -> None:
        values = {
            "memory.max": limits.memory and str(limits.memory),
            "memory.swap.max": limits.memory and "0",
            "memory.oom.group": "1",
            "cpu.max": limits.cpus and f"{int(limits.cpus * _PERIOD)} {_PERIOD}",
            "pids.max": limits.processes and str(limits.processes),
        }
        for name, value in values.items():
            if value and (self.path / name).exists():
                (self.path / name).write_text(value)

    def _read(self, name: str) -> str:
        try:
            return (self.path / name).read_text()
        except OSError:
            return ""

    def _figures(self, name: str) -> dict[str, int]:
        return {key: int(value) for key, value in (line.split() for line in self._read(name).splitlines())}


def _own_path() -> Path | None:
    """Return the group that this process is in; None if version 2 is not mounted."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    points = [fields[1] for fields in mounts if fields[2] == "cgroup2"]
    own = [line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::")]
    return Path(points[0], own[0].lstrip("/")) if points and own else None
