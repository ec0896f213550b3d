"""What can be said on the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ucvm_agent import __version__
from ucvm_agent.cli import commands


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line; `command` of its result is the function to call."""
    everywhere = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    everywhere.add_argument("--config", metavar="FILE", type=Path, help="settings file")
    everywhere.add_argument("--root", metavar="DIR", type=Path, help="treat DIR as /")
    everywhere.add_argument("--log-level", choices=("debug", "info", "warning", "error"))

    work = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    given = work.add_mutually_exclusive_group()
    given.add_argument("--source", metavar="NAME", help="ask this source only")
    given.add_argument("--user-data", metavar="FILE", help="read the user-data from FILE, or - for standard input")
    work.add_argument("--device", metavar="FILE", help="image or block device that the source named by --source reads")
    work.add_argument("--dry-run", action="store_true", help="show what would be done, change nothing")
    work.add_argument("--format", choices=("text", "json"), help="of the dry run and of apply")
    work.add_argument("--color", choices=("auto", "always", "never"))

    top = argparse.ArgumentParser(
        prog="ucvm-agent",
        description="Make this machine what its context says, and keep its controllers informed."
        " Without a command: be the daemon, or with --dry-run show the plan.",
        parents=[everywhere, work],
        argument_default=argparse.SUPPRESS,
    )
    top.add_argument("--version", action="version", version=f"ucvm-agent {__version__}")
    top.set_defaults(command=commands.daemon)
    _add_commands(top, everywhere, work)
    return top


def _add_commands(
    top: argparse.ArgumentParser, everywhere: argparse.ArgumentParser, work: argparse.ArgumentParser
) -> None:
    added = top.add_subparsers(title="commands", metavar="COMMAND")
    apply_parser = _command(
        added, "apply", commands.apply, "contextualize once, without the daemon", [everywhere, work]
    )
    apply_parser.add_argument("--local", action="store_true", help="only what can be told and done without a network")
    status_parser = _command(added, "status", commands.status, "tell the state of this machine", [everywhere])
    status_parser.add_argument("--json", action="store_true", help="for programs")
    status_parser.add_argument("--wait", action="store_true", help="until the machine is contextualized")
    sources_parser = _command(
        added,
        "sources",
        commands.sources,
        "ask all sources of user-data, and tell which one wins and why",
        [everywhere],
    )
    sources_parser.add_argument("--json", action="store_true", help="for programs")
    sources_parser.add_argument("--source", metavar="NAME", help="ask this source only")
    config_parser = _command(
        added, "config", commands.config, "print the settings in force and where each is set", [everywhere]
    )
    config_parser.add_argument("--json", action="store_true", help="for programs")
    forget_parser = _command(
        added, "forget-key", commands.forget_key, "forget the key by which a controller signs its orders", [everywhere]
    )
    forget_parser.add_argument("jid", metavar="JID", help="account of the controller, as `status` shows it")
    pair_parser = _command(added, "pair", commands.pair, "take a context from CernVM Online by its PIN", [everywhere])
    pair_parser.add_argument("pin", metavar="PIN", nargs="?", help="PIN or context id; asked for if it is left out")
    pair_parser.add_argument(
        "--secret-stdin", action="store_true", help="read the context's secret from standard input"
    )
    pair_parser.add_argument("--console", action="store_true", help="stay on a console until a context is paired")


def _command(
    subparsers: Any,
    name: str,
    call: Callable[[argparse.Namespace], int],
    help_: str,
    parents: list[argparse.ArgumentParser],
) -> argparse.ArgumentParser:
    added: argparse.ArgumentParser = subparsers.add_parser(
        name, help=help_, description=help_, parents=parents, argument_default=argparse.SUPPRESS
    )
    added.set_defaults(command=call)
    return added
