"""The transient scope of systemd in which a job and its supervisor run.

It is beside the agent's own unit, so that a restart of the agent leaves the job alone, and it is delegated: inside, the
supervisor makes the job a cgroup of its own with the exact limits (`cgroup.py`). Those of the scope are a second line
for hierarchies in which that is not possible, and leave room for the supervisor.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ucvm_agent.jobs.running.limits import Limits

_RUNNING = Path("/run/systemd/system")
"""Is there where systemd is process 1 (sd_booted(3))."""

_OWN_MEMORY = 64 * 1024**2
_OWN_TASKS = 8
_OWN_SECONDS = 600


def scope_command(unit: str, limits: Limits) -> tuple[str, ...]:
    """Return what goes before the supervisor's command line to run it in a scope; empty where that is not possible."""
    program = shutil.which("systemd-run")
    if not program or os.geteuid() != 0 or not _RUNNING.is_dir():
        return ()
    return (program, *scope_options(unit, limits))


def scope_options(unit: str, limits: Limits) -> tuple[str, ...]:
    """Return the options of systemd-run(1) for the scope of a job (systemd.resource-control(5))."""
    properties = {
        "Delegate": "yes",
        "MemoryMax": limits.memory and limits.memory + _OWN_MEMORY,
        "CPUQuota": limits.cpus and f"{limits.cpus * 100:.0f}%",
        "TasksMax": limits.processes and limits.processes + _OWN_TASKS,
        "RuntimeMaxSec": limits.wall and int(2 * limits.wall) + _OWN_SECONDS,  # job, validation, and the end of both
    }
    settings = (f"--property={name}={value}" for name, value in properties.items() if value)
    return ("--scope", "--quiet", "--collect", f"--unit={unit}", *settings, "--")
