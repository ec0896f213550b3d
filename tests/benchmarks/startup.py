"""How long a dry run takes from fork to exit, beside `cloud-init --version` in the same run.

    python -m tests.benchmarks.startup [--rounds 20] [--user-data FILE]

The two take turns, so that whatever else the machine does meets both. Exit code 1 if the dry run is slower.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.benchmarks.installation import REPOSITORY, cloud_init, installed_agent, without_caches
from tests.benchmarks.measure import compare, measure

SAMPLE = REPOSITORY / "tests" / "data" / "contexts" / "default.context"
BOUND = 1.0
WARM_UP = 2
"""Rounds that fill the caches, of pages and of bytecode, and do not count."""


def main() -> int:
    """Read the command line, measure, report."""
    parser = argparse.ArgumentParser(description="Compare a dry run with cloud-init --version.")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--user-data", type=Path, default=SAMPLE)
    arguments = parser.parse_args()
    environment = without_caches()
    with installed_agent() as agent:
        commands = [str(agent), "--dry-run", "--user-data", str(arguments.user_data)], [cloud_init(), "--version"]
        rounds = [[measure(command, environment) for command in commands] for _ in range(WARM_UP + arguments.rounds)]
    ours, theirs = zip(*rounds[WARM_UP:], strict=True)
    return 0 if compare(ours, theirs, ("ucvm-agent --dry-run", "cloud-init --version"), BOUND) else 1


if __name__ == "__main__":
    sys.exit(main())
