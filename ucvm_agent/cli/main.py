"""The command line. Only this module prints results, turns errors into exit codes, and exits.

Exit codes:
    0  fine
    1  internal error
    2  wrong usage or settings
    3  errors in the user-data
    4  no source of user-data answered
    5  some action failed, or no plan can be made
    6  the state file cannot be used
    7  the controller does not answer, or cannot do it now
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import sys
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ucvm_agent import __version__
from ucvm_agent.errors import (
    ActionError,
    SourceError,
    StoreAbsent,
    StoreError,
    UcvmError,
    UsageError,
    UserDataError,
    ours,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ucvm_agent.contextualize.apply import Applied
    from ucvm_agent.contextualize.preview import Preview
    from ucvm_agent.settings import Settings
    from ucvm_agent.settings.layers import Effective
    from ucvm_agent.sources.base import Found
    from ucvm_agent.store.journal import SavedJournal
    from ucvm_agent.store.store import Store

INTERRUPTED = 130
"""Exit code after ^C, as shells have it."""


def main() -> NoReturn:
    """Run the program; the console script `ucvm-agent`."""
    gc.disable()  # what a command leaves lying about is not worth looking for; the daemon does
    # Plugins of pydantic would see all that is validated, secrets included, and are slow to look for.
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"
    arguments = parser().parse_args()
    command = dry_run if "dry_run" in arguments else arguments.command
    try:
        code = command(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output (`| head`) has seen enough; keep the interpreter from flushing again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except (UcvmError, BaseExceptionGroup) as error:
        reason = ours(error)
        if reason is None:
            raise
        print(f"ucvm-agent: {reason}", file=sys.stderr)
        code = reason.exit_code
    if command is daemon:
        sys.exit(code)
    # Nothing is open any more; clearing the interpreter away would take a twentieth of the whole run.
    sys.stderr.flush()
    os._exit(code)


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
    top.set_defaults(command=daemon)
    commands = top.add_subparsers(title="commands", metavar="COMMAND")
    apply_parser = _command(commands, "apply", apply, "contextualize once, without the daemon", [everywhere, work])
    apply_parser.add_argument("--local", action="store_true", help="only what can be told and done without a network")
    status_parser = _command(commands, "status", status, "tell the state of this machine", [everywhere])
    status_parser.add_argument("--json", action="store_true", help="for programs")
    status_parser.add_argument("--wait", action="store_true", help="until the machine is contextualized")
    sources_parser = _command(
        commands, "sources", sources, "ask all sources of user-data, and tell which one wins and why", [everywhere]
    )
    sources_parser.add_argument("--json", action="store_true", help="for programs")
    sources_parser.add_argument("--source", metavar="NAME", help="ask this source only")
    config_parser = _command(
        commands, "config", config, "print the settings in force and where each is set", [everywhere]
    )
    config_parser.add_argument("--json", action="store_true", help="for programs")
    forget_parser = _command(
        commands, "forget-key", forget_key, "forget the key by which a controller signs its orders", [everywhere]
    )
    forget_parser.add_argument("jid", metavar="JID", help="account of the controller, as `status` shows it")
    pair_parser = _command(commands, "pair", pair, "take a context from CernVM Online by its PIN", [everywhere])
    pair_parser.add_argument("pin", metavar="PIN", nargs="?", help="PIN or context id; asked for if it is left out")
    pair_parser.add_argument(
        "--secret-stdin", action="store_true", help="read the context's secret from standard input"
    )
    pair_parser.add_argument("--console", action="store_true", help="stay on a console until a context is paired")
    return top


def _command(
    commands: Any,
    name: str,
    call: Callable[[argparse.Namespace], int],
    help_: str,
    parents: list[argparse.ArgumentParser],
) -> argparse.ArgumentParser:
    added: argparse.ArgumentParser = commands.add_parser(
        name, help=help_, description=help_, parents=parents, argument_default=argparse.SUPPRESS
    )
    added.set_defaults(command=call)
    return added


# Commands; each imports what it needs when it is called, since a dry run has to start fast


def daemon(arguments: argparse.Namespace) -> int:
    """Be the daemon until a signal ends it."""
    from ucvm_agent.daemon import agent
    from ucvm_agent.process import log
    from ucvm_agent.process.loop import Loop
    from ucvm_agent.stages.preparation import boot_id

    stamp = log.Stamp(boot_id())

    def load(*, with_context: bool = True) -> Effective[Settings]:
        effective = _effective(arguments, with_context=with_context)
        log.configure(effective.settings.log, stamp)
        return effective

    gc.enable()
    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(agent.run(load, stamp))
    return 0


def dry_run(arguments: argparse.Namespace) -> int:
    """Show the plan; exit code 3 if the user-data has errors."""
    from ucvm_agent.stages.preparation import prepare

    settings = _settings(arguments)
    local = "local" in arguments
    found = asyncio.run(_discovered(settings, local=local))
    if found is None:
        return 0
    with _journal(settings) as journal:
        shown = prepare(found, settings, journal, early=local).preview(journal)
    print(_rendered(shown, None, arguments), end="")
    return UserDataError.exit_code if shown.errors else 0


def apply(arguments: argparse.Namespace) -> int:
    """Contextualize once, and show the plan and how it ended; exit code 5 if an action failed, 3 for bad user-data.

    With --local the rest is the daemon's; where nothing can be told without a network, nothing is done and said.
    """
    from ucvm_agent.events import State
    from ucvm_agent.stages.application import carry_out
    from ucvm_agent.stages.preparation import boot_id, prepare, state_file
    from ucvm_agent.store import lock
    from ucvm_agent.store.store import Store

    settings = _settings(arguments)
    path = state_file(settings)
    local = "local" in arguments
    with lock.hold(path.parent), closing(Store(path, boot_id())) as store, asyncio.Runner() as runner:
        found = runner.run(_discovered(settings, store, local=local))
        if found is None:
            return 0
        prepared = prepare(found, settings, store, early=local)
        shown = prepared.preview(store)
        applied = runner.run(carry_out(prepared, settings, store, store.enter))
        missing = "" if local else prepared.waits_for
        if missing:
            store.enter(State.DEGRADED, f"only the daemon waits for {missing}")
    print(_rendered(shown, applied, arguments), end="")
    if missing:
        print(f"ucvm-agent: not all is done: only the daemon waits for {missing}", file=sys.stderr)
    if applied.failed or missing:
        return ActionError.exit_code
    return UserDataError.exit_code if shown.errors else 0


def status(arguments: argparse.Namespace) -> int:
    """Tell the state; with --wait exit code 5 if the VM is degraded or failed."""
    from datetime import UTC, datetime

    from ucvm_agent.stages.preparation import boot_id, state_file
    from ucvm_agent.store import lock
    from ucvm_agent.store import render_status as show
    from ucvm_agent.store.status import FAULTY, read, wait_settled

    settings = _settings(arguments)
    path = state_file(settings)
    wait = "wait" in arguments
    found = wait_settled(path, boot_id()) if wait else read(path)
    running = lock.held(path.parent)
    if "json" in arguments:
        print(show.status_json(found, running=running, settings=settings))
    else:
        now = datetime.now(UTC)
        print(show.status_text(found, running=running, boot_id=boot_id(), settings=settings, now=now))
    return ActionError.exit_code if wait and found.state in FAULTY else 0


def sources(arguments: argparse.Namespace) -> int:
    """Ask all sources; exit code 4 if none has user-data."""
    from ucvm_agent.sources import render_survey as show_sources
    from ucvm_agent.stages.preparation import survey_sources

    rows = asyncio.run(survey_sources(_settings(arguments)))
    print(show_sources.as_json(rows) if "json" in arguments else show_sources.as_text(rows))
    return 0 if any(row.wins for row in rows) else SourceError.exit_code


def config(arguments: argparse.Namespace) -> int:
    """Print the effective settings and where each value came from."""
    from ucvm_agent.store import render_status as show

    effective = _effective(arguments)
    _warn_of_refused(effective)
    print(show.settings_json(effective) if "json" in arguments else show.settings_text(effective))
    return 0


def forget_key(arguments: argparse.Namespace) -> int:
    """Forget the key that is pinned for an account; the next that it signs by is pinned instead."""
    from ucvm_agent.stages.preparation import boot_id, state_file
    from ucvm_agent.store.status import read
    from ucvm_agent.store.store import Store

    path = state_file(_settings(arguments))
    read(path)  # where there is no state, none is to be made
    with closing(Store(path, boot_id())) as store:
        if not store.pins.forget(arguments.jid):
            raise UsageError("no key of this account is pinned", where=arguments.jid, hint="see ucvm-agent status")
    print(f"the key of {arguments.jid} is forgotten")
    return 0


def pair(arguments: argparse.Namespace) -> int:
    """Pair this machine with a context of CernVM Online, and let the daemon know."""
    from ucvm_agent.pairing import console
    from ucvm_agent.pairing import pair as pairing

    settings = _settings(arguments)
    if "console" in arguments:
        console.run(settings)
    else:
        print(pairing.run(settings, getattr(arguments, "pin", None), from_stdin="secret_stdin" in arguments))
    return 0


async def _discovered(settings: Settings, store: Store | None = None, *, local: bool = False) -> Found | None:
    """Return what a source has, with all that belongs to it.

    Arguments:
        store: remembers what is fetched; a dry run has none.
        local: do without network; then there may be nothing.
    """
    from ucvm_agent.stages.preparation import discover_local, include

    found = await (discover_local(settings) if local else _discovered_anywhere(settings))
    if store is not None and found is not None:
        from ucvm_agent.stages.completion import recall

        found = recall(found, store)
    return found if local or found is None else await include(found, settings, keep=store is not None)


async def _discovered_anywhere(settings: Settings) -> Found:
    from ucvm_agent.stages.preparation import discover, fall_back

    try:
        return await discover(settings)
    except SourceError:
        instead = await fall_back(settings)
        if instead is None:
            raise
        return instead


def _effective(arguments: argparse.Namespace, *, with_context: bool = True) -> Effective[Settings]:
    from ucvm_agent.settings.layers import load

    options: dict[str, Any] = {}
    if "root" in arguments:
        options["root"] = arguments.root
    if "log_level" in arguments:
        options["log"] = {"level": arguments.log_level}
    if "source" in arguments:
        options["sources"] = {"names": (arguments.source,)}
    if "device" in arguments:
        if "source" not in arguments:
            raise UsageError("--device is of no use without --source", hint="for example --source configdrive")
        options["sources"][arguments.source] = {"device": arguments.device}
    if "user_data" in arguments:
        options["sources"] = {"names": ("file",), "file": {"path": arguments.user_data}}
    kernel = Path("/proc/cmdline").read_text()
    return load(getattr(arguments, "config", None), os.environ, kernel, options, with_context=with_context)


def _settings(arguments: argparse.Namespace) -> Settings:
    """Return the settings for a command that talks to a person, who wants to see warnings only."""
    from ucvm_agent.process import log
    from ucvm_agent.stages.preparation import boot_id

    effective = _effective(arguments)
    _warn_of_refused(effective)
    settings = effective.settings
    quiet = (
        settings.log if ("log", "level") in effective.origins else settings.log.model_copy(update={"level": "warning"})
    )
    log.configure(quiet, log.Stamp(boot_id()))
    return settings


def _warn_of_refused(effective: Effective[Settings]) -> None:
    if effective.refused is not None:
        print(f"ucvm-agent: settings of the user-data are left out: {effective.refused}", file=sys.stderr)


@contextmanager
def _journal(settings: Settings) -> Iterator[SavedJournal | None]:
    """Yield the journal of what was done before, if there is one and this user may read it."""
    from ucvm_agent.stages.preparation import boot_id, state_file
    from ucvm_agent.store.journal import SavedJournal

    try:
        journal = SavedJournal(state_file(settings), boot_id())
    except StoreAbsent:
        yield None
    except StoreError as error:
        print(f"ucvm-agent: the plan is shown as if nothing had been done before: {error}", file=sys.stderr)
        yield None
    else:
        with closing(journal):
            yield journal


def _rendered(shown: Preview, applied: Applied | None, arguments: argparse.Namespace) -> str:
    if getattr(arguments, "format", "text") == "json":
        from ucvm_agent.contextualize.render_json import render_json

        return render_json(shown, applied)
    from ucvm_agent.contextualize.render_text import render_text

    color = getattr(arguments, "color", "auto")
    terminal = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    return render_text(shown, applied, color=color == "always" or (color == "auto" and terminal))
