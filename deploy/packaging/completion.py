"""Print the completion of a program for bash.

    python completion.py MODULE

MODULE has the function `parser`. What is to be completed is told by the names that the parser gives to arguments.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

import shtab

from ucvm_agent import sources


def complete_arguments(parser: argparse.ArgumentParser) -> None:
    """Let files, folders and sources be completed as what they are."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                complete_arguments(command)
        elif action.option_strings[:1] == ["--source"]:
            action.choices = sources.NAMES
        elif action.metavar in ("FILE", "DIR"):
            action.complete = shtab.FILE if action.metavar == "FILE" else shtab.DIRECTORY


if __name__ == "__main__":
    parser = import_module(sys.argv[1]).parser()
    complete_arguments(parser)
    print(shtab.complete(parser, "bash"))
