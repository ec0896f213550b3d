"""The command line of the controller. Only this module and `commands.py` with `submitting.py` print, and only this
one exits.

The exit codes are those of `ucvm_agent/cli/main.py`.
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
from ucvm_agent.process.exits import exit_code

if TYPE_CHECKING:
    from ucvm_agent.controller.settings import Settings
    from ucvm_agent.settings.layers import Effective


def main() -> NoReturn:
    """Run the program; the console script `ucvm-controller`."""
    arguments = parser().parse_args()
    sys.exit(exit_code("ucvm-controller", lambda: arguments.command(arguments)))


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
    _add_remote(commands, everywhere)
    return top


def _add_remote(commands: Any, everywhere: argparse.ArgumentParser) -> None:
    """Add the commands that ask a controller."""
    asking = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS, parents=[everywhere])
    asking.add_argument("--url", metavar="URL", help="address of the controller")
    asking.add_argument("--token-file", metavar="FILE", type=Path, help="file with its token")
    asking.add_argument("--json", action="store_true", help="for programs")

    def add(name: str, help_: str, *names: str) -> argparse.ArgumentParser:
        added = _command(commands, name, remote, help_, asking)
        added.set_defaults(name=name)
        for each in names:
            added.add_argument(each, metavar=each.upper())
        return added

    _describe_submit(add("submit", "put a job into the queue"))
    jobs = add("jobs", "list jobs, the last ones first")
    jobs.add_argument("--status", choices=("waiting", "running", "done", "failed", "cancelled"))
    jobs.add_argument("--limit", metavar="N", type=_count, help="at most (default: 50)")
    job = add("job", "show a job", "id").add_mutually_exclusive_group()
    job.add_argument("--log", action="store_true", help="print what it has written")
    job.add_argument("--follow", action="store_true", help="print what it writes, until it ends")
    job.add_argument("--output", metavar="FILE", type=Path, help="fetch its archive")
    commands.choices["job"].add_argument("--stderr", action="store_true", help="instead of its standard output")
    add("vms", "list VMs")
    add("vm", "show a VM", "vm")
    events = add("events", "list events")
    events.add_argument("--vm", metavar="VM", help="of this one only")
    events.add_argument("--follow", action="store_true", help="and those that come")
    events.add_argument("--limit", metavar="N", type=_count, help="at most (default: 50)")
    add("cancel", "end a job", "id").add_argument("--reason", metavar="TEXT")
    add("drain", "let a VM finish its jobs and take no more", "vm").add_argument("--reason", metavar="TEXT")
    add("resume", "let a VM take jobs again", "vm")
    add("forget", "remove jobs that have ended, and their files").add_argument("id", metavar="ID", nargs="+")
    add("forget-vm", "remove a VM and its events, and let any account report for it", "vm")
    push = add("push", "tell a VM of its context", "vm")
    push.add_argument("--dry-run", action="store_true", help="show what it would do, and let it do nothing")


def _describe_submit(submit: argparse.ArgumentParser) -> None:
    submit.add_argument("program", metavar="COMMAND", help="a program here, by URL, or among the inputs")
    words = "all that follows, options as well: those of submit come before COMMAND"
    submit.add_argument("arguments", metavar="ARGUMENT", nargs=argparse.REMAINDER, help=words)
    submit.add_argument("--input", metavar="FILE|URL", action="append", help="an input file; again for more")
    submit.add_argument("--package", metavar="NAME", action="append", help="VO_NAME@PACKAGE::VERSION; again for more")
    submit.add_argument("--env", metavar="NAME=VALUE", action="append", help="for its environment; again for more")
    submit.add_argument("--validate", metavar="SCRIPT", help="a program here that judges the output")
    submit.add_argument("--wall", metavar="SECONDS", type=float, help="it may run at most")
    submit.add_argument("--memory", metavar="BYTES", type=_size, help="it may use at most, such as 2G")
    submit.add_argument("--cpus", metavar="N", type=float, help="it may use at most")
    submit.add_argument("--id", metavar="ID", help="name of the job; made up if left out")
    submit.add_argument("--count", metavar="N", type=_count, help="so many of it")
    submit.add_argument("--wait", action="store_true", help="until it has ended; exit code 5 if it was not done")


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"not a number from 1 on: {text}")
    return int(text)


def _size(text: str) -> int:
    from ucvm_agent.controller.submitting import size

    try:
        return size(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"not a number of bytes, such as 512M or 2G: {text}") from None


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
    from ucvm_agent.controller.controller import run
    from ucvm_agent.controller.web.site import serve as serve_site
    from ucvm_agent.process import log
    from ucvm_agent.process.loop import Loop

    settings = effective(arguments).settings
    log.configure(settings.log, log.Stamp(settings.name))
    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(run(settings, serve_site))
    return 0


def remote(arguments: argparse.Namespace) -> int:
    """Ask a controller over HTTP."""
    from ucvm_agent.controller.commands import run
    from ucvm_agent.process import log
    from ucvm_agent.process.loop import Loop

    found = effective(arguments)
    level = found.settings.log.level if ("log", "level") in found.origins else "warning"
    log.configure(found.settings.log.model_copy(update={"level": level}), log.Stamp("ucvm-controller"))
    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(run(found.settings, arguments))


def config(arguments: argparse.Namespace) -> int:
    """Print the settings in force, and where each was set."""
    from ucvm_agent.settings.render import settings_json, settings_text

    found = effective(arguments)
    print(settings_json(found) if "json" in arguments else settings_text(found))
    return 0


def effective(arguments: argparse.Namespace) -> Effective[Settings]:
    """Return the settings, with the options of the command line."""
    from ucvm_agent.controller.settings import CONTROLLER
    from ucvm_agent.settings.layers import load_for

    options: dict[str, Any] = {}
    if "redis" in arguments:
        options["redis"] = arguments.redis
    client = {name: getattr(arguments, name) for name in ("url", "token_file") if name in arguments}
    if client:
        options["client"] = client
    if "log_level" in arguments:
        options["log"] = {"level": arguments.log_level}
    return load_for(CONTROLLER, getattr(arguments, "config", None), os.environ, options)
