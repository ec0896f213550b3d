"""How long a dry run takes from fork to exit, beside `cloud-init --version` in the same run.

    python tests/benchmarks/startup.py [--rounds 20] [--user-data FILE]

The two take turns, so that whatever else the machine does meets both. Exit code 1 if the dry run is slower.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
SAMPLE = HERE.parent / "data" / "contexts" / "default.context"
WARM_UP = 2
"""Rounds that fill the caches, of pages and of bytecode, and do not count."""


@dataclass(frozen=True, slots=True)
class Run:
    """Seconds of one process and its children."""

    wall: float
    cpu: float


def measure(command: list[str], environment: dict[str, str]) -> Run:
    """Run a command to its end; it has to succeed."""
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
        sys.exit(f"{command[0]} ended with {process.returncode}: {errors.decode(errors='replace')[-500:]}")
    return Run(wall, usage.ru_utime + usage.ru_stime)


def take_turns(commands: list[list[str]], rounds: int) -> list[list[Run]]:
    """Run the commands A B A B …, and return the runs of each.

    Both get an empty bytecode cache that the warm-up fills, as an installed package has one: a checkout under
    PYTHONDONTWRITEBYTECODE would be compiled anew each time.
    """
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"PYTHONPYCACHEPREFIX": cache}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        runs = [[measure(command, environment) for command in commands] for _ in range(WARM_UP + rounds)]
    return [list(column) for column in zip(*runs[WARM_UP:], strict=True)]


def report(commands: list[list[str]], columns: list[list[Run]]) -> float:
    """Print the medians in milliseconds; return the first one's wall time as a part of the last one's."""
    width = max(len(" ".join(command)) for command in commands)
    print(
        f"{'command':{width}}  {'wall':>6}  {'least':>6}  {'most':>6}  {'cpu':>6}   (ms, medians of {len(columns[0])})"
    )
    medians = []
    for command, runs in zip(commands, columns, strict=True):
        wall = [run.wall * 1000 for run in runs]
        cpu = statistics.median(run.cpu * 1000 for run in runs)
        medians.append(statistics.median(wall))
        print(f"{' '.join(command):{width}}  {medians[-1]:6.0f}  {min(wall):6.0f}  {max(wall):6.0f}  {cpu:6.0f}")
    print(f"ratio {medians[0] / medians[-1]:.2f}; the bound is 1.00")
    return medians[0] / medians[-1]


def program(name: str, hint: str) -> str:
    """Return the path of a program that has to be there."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    return found or sys.exit(f"{name} is not installed: {hint}")


def main() -> int:
    """Read the command line, measure, report."""
    parser = argparse.ArgumentParser(description="Compare a dry run with cloud-init --version.")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--user-data", type=Path, default=SAMPLE)
    arguments = parser.parse_args()
    agent = program("ucvm-agent", "pip install .")
    cloud_init = program("cloud-init", "apt-get install cloud-init")
    commands = [[agent, "--dry-run", "--user-data", str(arguments.user_data)], [cloud_init, "--version"]]
    return 0 if report(commands, take_turns(commands, arguments.rounds)) <= 1 else 1


if __name__ == "__main__":
    sys.exit(main())
