"""One program of a job, the job itself or its validation, from its start to the end of its last process."""

from __future__ import annotations

import os
import resource
import select
import signal
import time
from math import inf
from pathlib import Path

from ucvm_agent.jobs.running.capture import Capture
from ucvm_agent.jobs.running.disk import Disk
from ucvm_agent.jobs.running.privacy import FOLDER
from ucvm_agent.jobs.running.record import Cancel, End, Order, Outcome
from ucvm_agent.jobs.running.signals import Signals
from ucvm_agent.jobs.running.spawn import Program, spawn
from ucvm_agent.jobs.running.tree import Tree

GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL, when the time is over or the job is cancelled."""

KILL_PAUSE = 0.1
"""Seconds after which what is still there is killed again."""

KILL_SECONDS = 30.0
"""Seconds after which processes that the kernel cannot end, since they wait for a dead disk, are given up."""

MEMORY_PAUSE = 0.25
"""Seconds between two looks at the memory, where the kernel does not keep the limit."""

UNSTARTABLE = 127 << 8
"""The wait status of a program that could not be started, as a shell would have it."""


class Phase:
    """A program and what it does to the machine.

    Arguments:
        control: the folder of control.
        folder: the job's folder, open.
    """

    def __init__(self, order: Order, control: Path, folder: int, signals: Signals, tree: Tree) -> None:
        self._order = order
        self._limits = order.limits
        self._control = control
        self._folder = folder
        self._signals = signals
        self._tree = tree
        self._status: int | None = None
        self._end = End.OWN
        self._reason = ""
        self._kill_at = inf
        self._cpu_user = self._cpu_system = 0.0
        self._memory_peak = 0
        kernel_counts = tree.cgroup is not None and tree.cgroup.controls("memory")
        self._memory_due = 0.0 if self._limits.memory and not kernel_counts else inf

    def run(self, argv: tuple[str, ...], output: str, errors: str) -> Outcome:
        """Run the program with its output in the files of these names, end all that it leaves, tell how it ended."""
        order = self._order
        try:
            captures = [Capture(self._folder, name, self._limits.output, order.account) for name in (output, errors)]
            program = Program(argv, self._folder, order.folder, captures[0].inlet, captures[1].inlet)
            self._begin = time.monotonic()
            self._disk = Disk((order.folder, str(self._control / FOLDER)), self._limits.disk)
            self._process = spawn(program, order.account, self._limits, self._tree.cgroup)
        except OSError as error:
            return Outcome(status=UNSTARTABLE, end=End.UNSTARTABLE, reason=str(error))
        for capture in captures:
            os.close(capture.inlet)
        self._follow({capture.outlet: capture for capture in captures})
        left_over = self._end_all()
        for capture in captures:
            capture.close()
        return self._outcome(captures[0].size, captures[1].size, left_over)

    def _follow(self, captures: dict[int, Capture]) -> None:
        """Wait for the end of the program itself, or of all that was asked to end, and bring it about if need be."""
        deadline = self._begin + (self._limits.wall or inf)
        left = True
        while self._status is None or (left and self._in_grace()):
            patience = min(deadline, self._kill_at, self._memory_due, self._disk.due) - time.monotonic()
            measuring = [] if self._disk.outlet is None else [self._disk.outlet]
            waiting = [self._signals.outlet, *captures, *measuring]
            ready = select.select(waiting, [], [], None if patience == inf else max(0.0, patience))[0]
            for outlet in captures.keys() & set(ready):
                if not captures[outlet].take():
                    del captures[outlet]
            self._signals.take()
            left = self._reap()
            self._watch_disk(ready)
            self._watch_memory()
            if self._signals.asked_to_end:
                self._ask_to_end()
            if time.monotonic() >= deadline:
                deadline = inf
                self._stop(End.TIME, GRACE)
            if time.monotonic() >= self._kill_at:
                self._kill_at = time.monotonic() + KILL_PAUSE
                self._tree.kill()

    def _in_grace(self) -> bool:
        return self._end is not End.OWN and time.monotonic() < self._kill_at

    def _stop(self, end: End, grace: float) -> None:
        """End it for this reason, unless there is one already; without grace at once."""
        if self._end is not End.OWN:
            return
        self._end = end
        self._kill_at = time.monotonic() + grace
        if grace:
            self._tree.send(signal.SIGTERM)
            self._tree.send(signal.SIGCONT)

    def _ask_to_end(self) -> None:
        if self._end is End.OWN:
            cancel = Cancel.read(self._control)
            self._reason = cancel.reason if cancel else ""
            self._stop(End.CANCELLED if cancel else End.STOPPED, GRACE)

    def _watch_disk(self, ready: list[int]) -> None:
        if self._disk.outlet in ready and self._disk.take():
            self._stop(End.DISK, 0.0)
        if time.monotonic() >= self._disk.due and (process := self._disk.measure()):
            self._tree.others.add(process)

    def _watch_memory(self) -> None:
        if time.monotonic() < self._memory_due:
            return
        self._memory_due = time.monotonic() + MEMORY_PAUSE
        size = self._tree.memory()
        self._memory_peak = max(self._memory_peak, size)
        if size > self._limits.memory:
            self._stop(End.MEMORY, 0.0)

    def _reap(self) -> bool:
        """Take note of the children that have ended; False if there is none left at all."""
        try:
            while True:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
                if pid == 0:
                    return True
                if pid == self._process:
                    self._status = status
                if pid in self._tree.others:
                    self._tree.others.discard(pid)
                else:
                    self._count(usage)
        except ChildProcessError:
            return False

    def _count(self, usage: resource.struct_rusage) -> None:
        self._cpu_user += usage.ru_utime
        self._cpu_system += usage.ru_stime
        self._memory_peak = max(self._memory_peak, usage.ru_maxrss * 1024)

    def _end_all(self) -> int:
        """End all that is left of it, and return how many processes could not be ended."""
        self._disk.stop()
        self._wall = time.monotonic() - self._begin
        patience = time.monotonic() + KILL_SECONDS
        while self._reap():
            if time.monotonic() >= patience:
                return len(self._tree.processes())
            self._tree.kill()
            select.select([self._signals.outlet], [], [], KILL_PAUSE)
            self._signals.take()
        return 0

    def _outcome(self, stdout: int, stderr: int, left_over: int) -> Outcome:
        cgroup = self._tree.cgroup
        if cgroup and self._end is End.OWN and cgroup.memory_was_short():
            self._end = End.MEMORY
        cpu_user, cpu_system = (cgroup and cgroup.cpu_seconds()) or (self._cpu_user, self._cpu_system)
        return Outcome(
            status=UNSTARTABLE if self._status is None else self._status,
            end=self._end,
            reason=self._reason,
            wall=self._wall,
            cpu_user=cpu_user,
            cpu_system=cpu_system,
            memory_peak=max(self._memory_peak, cgroup.memory_peak() if cgroup else 0),
            stdout=stdout,
            stderr=stderr,
            left_over=left_over,
        )
