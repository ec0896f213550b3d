"""The commands. Only they print results; each imports what it needs when it is called: a dry run has to start fast."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from ucvm_agent.cli.given import read_effective, read_settings, warn_of_refused
from ucvm_agent.errors import ActionError, SourceError, StoreAbsent, StoreError, UsageError, UserDataError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from ucvm_agent.contextualize.apply import Applied
    from ucvm_agent.contextualize.preview import Preview
    from ucvm_agent.settings import Settings
    from ucvm_agent.settings.layers import Effective
    from ucvm_agent.sources.base import Found
    from ucvm_agent.store.journal import SavedJournal
    from ucvm_agent.store.store import Store


def daemon(arguments: argparse.Namespace) -> int:
    """Be the daemon until a signal ends it."""
    from ucvm_agent.daemon import agent
    from ucvm_agent.process import log
    from ucvm_agent.process.loop import Loop
    from ucvm_agent.stages.place import boot_id

    stamp = log.Stamp(boot_id())

    def load(*, with_context: bool = True) -> Effective[Settings]:
        effective = read_effective(arguments, with_context=with_context)
        log.configure(effective.settings.log, stamp)
        return effective

    gc.enable()
    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(agent.run(load, stamp))
    return 0


def dry_run(arguments: argparse.Namespace) -> int:
    """Show the plan; exit code 3 if the user-data has errors."""
    from ucvm_agent.stages.preparation import prepare

    settings = read_settings(arguments)
    _leave_to_the_plan(settings, arguments)
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
    from ucvm_agent.stages.place import boot_id, state_file
    from ucvm_agent.stages.preparation import prepare
    from ucvm_agent.store import lock
    from ucvm_agent.store.store import Store

    settings = read_settings(arguments)
    _leave_to_the_plan(settings, arguments)
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

    from ucvm_agent.stages.place import boot_id, state_file
    from ucvm_agent.store import lock
    from ucvm_agent.store.render_status import status_json, status_text
    from ucvm_agent.store.status import FAULTY, read, wait_settled

    settings = read_settings(arguments)
    path = state_file(settings)
    wait = "wait" in arguments
    found = wait_settled(path, boot_id()) if wait else read(path)
    running = lock.held(path.parent)
    if "json" in arguments:
        print(status_json(found, running=running, settings=settings))
    else:
        now = datetime.now(UTC)
        print(status_text(found, running=running, boot_id=boot_id(), settings=settings, now=now))
    return ActionError.exit_code if wait and found.state in FAULTY else 0


def sources(arguments: argparse.Namespace) -> int:
    """Ask all sources; exit code 4 if none has user-data."""
    from ucvm_agent.sources import render_survey
    from ucvm_agent.stages.discovery import survey_sources

    rows = asyncio.run(survey_sources(read_settings(arguments)))
    print(render_survey.as_json(rows) if "json" in arguments else render_survey.as_text(rows))
    return 0 if any(row.wins for row in rows) else SourceError.exit_code


def config(arguments: argparse.Namespace) -> int:
    """Print the effective settings and where each value came from."""
    from ucvm_agent.settings.render import settings_json, settings_text

    effective = read_effective(arguments)
    warn_of_refused(effective)
    print(settings_json(effective) if "json" in arguments else settings_text(effective))
    return 0


def forget_key(arguments: argparse.Namespace) -> int:
    """Forget the key that is pinned for an account; the next that it signs by is pinned instead."""
    from ucvm_agent.stages.place import boot_id, state_file
    from ucvm_agent.store.status import read
    from ucvm_agent.store.store import Store

    path = state_file(read_settings(arguments))
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

    settings = read_settings(arguments)
    if "console" in arguments:
        console.run(settings)
    else:
        print(pairing.run(settings, getattr(arguments, "pin", None), from_stdin="secret_stdin" in arguments))
    return 0


def _leave_to_the_plan(settings: Settings, arguments: argparse.Namespace) -> None:
    """Keep out of the log on the terminal what is printed with the plan."""
    import logging

    if settings.log.file is None and "log_level" not in arguments:
        for name in ("contextualize.apply", "include.gathering"):
            logging.getLogger(f"ucvm_agent.{name}").setLevel(logging.ERROR)


async def _discovered(settings: Settings, store: Store | None = None, *, local: bool = False) -> Found | None:
    """Return what a source has, with all that belongs to it.

    Arguments:
        store: remembers what is fetched; a dry run has none.
        local: do without network; then there may be nothing.
    """
    from ucvm_agent.stages.discovery import discover_local
    from ucvm_agent.stages.preparation import include

    found = await (discover_local(settings) if local else _discovered_anywhere(settings))
    if store is not None and found is not None:
        from ucvm_agent.stages.completion import recall

        found = recall(found, store)
    return found if local or found is None else await include(found, settings, keep=store is not None)


async def _discovered_anywhere(settings: Settings) -> Found:
    from ucvm_agent.stages.discovery import discover, fall_back

    waits = False

    def tell(reason: str) -> None:
        nonlocal waits
        if not waits:
            print(f"ucvm-agent: no user-data yet ({reason}); `--user-data FILE` reads a file", file=sys.stderr)
        waits = True

    try:
        return await discover(settings, tell)
    except SourceError:
        instead = await fall_back(settings)
        if instead is None:
            raise
        return instead


@contextmanager
def _journal(settings: Settings) -> Iterator[SavedJournal | None]:
    """Yield the journal of what was done before, if there is one and this user may read it."""
    from ucvm_agent.stages.place import boot_id, state_file
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
