"""`python3 -m ucvm_agent.bootloader ROOT`: makes the root file system beneath ROOT, from the initial RAM disk.

It tells what it does through the kernel's log, which is on the console and later in the journal. It ends with 1 if
there is no root, and leaves it to the initial RAM disk to open a rescue shell.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from ucvm_agent.bootloader import boot, console
from ucvm_agent.errors import SettingsError, UcvmError
from ucvm_agent.settings import Settings
from ucvm_agent.settings.layers import load


def main() -> int:
    """Read the kernel command line and start."""
    parser = argparse.ArgumentParser(prog="python3 -m ucvm_agent.bootloader", description="Make the root file system.")
    parser.add_argument("root", type=Path)
    parser.add_argument("--network", action="store_true", help="it is up; ask the metadata services, too")
    arguments = parser.parse_args()
    console.configure()
    command_line = Path("/proc/cmdline").read_text()
    try:
        asyncio.run(boot.boot(arguments.root, read_settings(command_line), command_line, network=arguments.network))
    except UcvmError as error:
        console.shout(f"there is no root file system: {error}")
        return 1
    return 0


def read_settings(command_line: str) -> Settings:
    """Return the settings of the kernel command line; one that is wrong must not keep the machine from starting."""
    try:
        return load(None, {}, command_line, {}, with_context=False).settings
    except SettingsError as error:
        console.shout(f"the settings on the kernel command line are wrong, only those of the root count: {error}")
    ours = " ".join(word for word in command_line.split() if word.startswith("ucvm.boot."))
    return load(None, {}, ours, {}, with_context=False).settings


if __name__ == "__main__":
    sys.exit(main())
