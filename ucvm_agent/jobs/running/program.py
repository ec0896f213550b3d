"""Starting those modules of this room that are programs of their own."""

from __future__ import annotations

import sys
from pathlib import Path

import ucvm_agent

ENVIRONMENT = {"PYTHONPATH": str(Path(ucvm_agent.__file__).parents[1]), "LANG": "C.UTF-8"}
"""All of their environment: nothing that the agent was told comes near a job."""


def command(module: str, *arguments: str) -> tuple[str, ...]:
    """Return the command line of a module; it finds the standard library and ours, and nothing else."""
    return (sys.executable, "-P", "-S", "-m", f"ucvm_agent.jobs.running.{module}", *arguments)
