"""Time and processor time of whole processes, and the table that shows them."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of a process and the children that it waited for."""

    wall: float
    cpu: float


def measure(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Cost:
    """Run a command to its end.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    started = time.perf_counter()
    # Not subprocess.run: only wait4 tells the processor time of this one process.
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stderr.close()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, stderr=errors.decode(errors="replace"))
    return Cost(wall, usage.ru_utime + usage.ru_stime)


def compare(ours: Sequence[Cost], theirs: Sequence[Cost], names: tuple[str, str], bound: float) -> bool:
    """Print the medians in milliseconds and their ratios; say whether both ratios are within the bound."""
    width = max(map(len, names))
    print(f"{'':{width}}  {'wall':>6}  {'least':>6}  {'most':>6}  {'cpu':>6}   (ms, medians of {len(ours)})")
    for name, costs in zip(names, (ours, theirs), strict=True):
        wall = [cost.wall * 1000 for cost in costs]
        cpu = statistics.median(cost.cpu * 1000 for cost in costs)
        print(f"{name:{width}}  {statistics.median(wall):6.0f}  {min(wall):6.0f}  {max(wall):6.0f}  {cpu:6.0f}")
    wall_ratio = statistics.median(cost.wall for cost in ours) / statistics.median(cost.wall for cost in theirs)
    cpu_ratio = statistics.median(cost.cpu for cost in ours) / statistics.median(cost.cpu for cost in theirs)
    print(f"ratio {wall_ratio:.2f} wall, {cpu_ratio:.2f} cpu; the bound is {bound:.2f}")
    return wall_ratio <= bound and cpu_ratio <= bound
