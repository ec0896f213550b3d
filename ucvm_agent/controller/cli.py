"""The command line of the controller. Only this module prints results, turns errors into exit codes, and exits.

The exit codes are those of `ucvm_agent/cli.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ucvm_agent import __version__
from ucvm_agent.errors import UcvmError, ours

if TYPE_CHECKING:
    from ucvm_agent.controller.settings import Settings
    from ucvm_agent.layers import Effective

INTERRUPTED = 130
"""Exit code after ^C, as shells have it."""


def main() -> NoReturn:
    """Run the program; the console script `ucvm-controller`."""
    arguments = parser().parse_args()
    try:
        code = arguments.command(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except (UcvmError, BaseExceptionGroup) as error:
        reason = ours(error)
        if reason is None:
            raise
        print(f"ucvm-controller: {reason}", file=sys.stderr)
        code = reason.exit_code
    sys.exit(code)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line; `command` of its result is the function to call."""
    everywhere = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    everywhere.add_argument("--config", metavar="FILE", type=Path, help="settings file")
    top = argparse.ArgumentParser(
        prog="ucvm-controller", description="Hand out jobs and contexts to VMs, and watch them.", parents=[everywhere]
    )
    top.add_argument("--version", action="version", version=f"ucvm-controller {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    serve_parser = _command(commands, "serve", serve, "be the controller until a signal ends it", everywhere)
    serve_parser.add_argument("--redis", metavar="URL", help="keep everything in Redis, which several may share")
    serve_parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"))
    config_parser = _command(commands, "config", config, "print the settings and where each is set", everywhere)
    config_parser.add_argument("--json", action="store_true", help="for programs")
    return top


def _command(
    commands: Any,
    name: str,
    call: Callable[[argparse.Namespace], int],
    help_: str,
    parent: argparse.ArgumentParser,
) -> argparse.ArgumentParser:
    added: argparse.ArgumentParser = commands.add_parser(
        name, help=help_, description=help_, parents=[parent], argument_default=argparse.SUPPRESS
    )
    added.set_defaults(command=call)
    return added


# Commands; each imports what it needs when it is called


def serve(arguments: argparse.Namespace) -> int:
    """Be the controller."""
    from ucvm_agent import log
    from ucvm_agent.controller.controller import run
    from ucvm_agent.controller.web.site import serve as serve_site
    from ucvm_agent.loop import Loop

    settings = effective(arguments).settings
    log.configure(settings.log, log.Stamp(settings.name))
    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(run(settings, serve_site))
    return 0


def config(arguments: argparse.Namespace) -> int:
    """Print the settings in force, and where each was set."""
    from ucvm_agent import show

    found = effective(arguments)
    print(show.settings_json(found) if "json" in arguments else show.settings_text(found))
    return 0


def effective(arguments: argparse.Namespace) -> Effective[Settings]:
    """Return the settings, with the options of the command line."""
    from ucvm_agent.controller.settings import CONTROLLER
    from ucvm_agent.layers import load_for

    options: dict[str, Any] = {}
    if "redis" in arguments:
        options["redis"] = arguments.redis
    if "log_level" in arguments:
        options["log"] = {"level": arguments.log_level}
    return load_for(CONTROLLER, getattr(arguments, "config", None), os.environ, options)
