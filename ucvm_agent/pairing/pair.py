"""Pairing: a person tells this machine by a PIN which context of CernVM Online it has.

What the service gives is kept beside the state, and the daemon is told to contextualize anew. The secret of an
encrypted context comes from a terminal without echo or from standard input, never from the command line
(references/cernvm-online.md, sections 5 and 7).
"""

from __future__ import annotations

import asyncio
import getpass
import os
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from ucvm_agent.errors import SettingsError, SourceError, SourceUnavailable, UsageError
from ucvm_agent.events import Note
from ucvm_agent.files.rootfs import RootFS
from ucvm_agent.settings import Settings
from ucvm_agent.sources import chosen
from ucvm_agent.sources.cernvm_online import PAIRED, Source
from ucvm_agent.sources.online_context import Ticket, read_context
from ucvm_agent.stages.place import boot_id, state_file
from ucvm_agent.store import lock
from ucvm_agent.store.store import Store

MAX_SECRET = 1024
"""Most characters of a secret that are read from standard input."""


def run(settings: Settings, typed: str | None, *, from_stdin: bool) -> str:
    """Pair, and return what to say to the person.

    Arguments:
        typed: PIN or context id; None = ask for it.
        from_stdin: the secret is the first line of standard input.

    Raises:
        UsageError: the ticket is none, or a secret is missing; SettingsError: pairing would have no effect;
        SourceError: the service gives no context; StoreError: the state cannot be used.
    """
    if typed is None and from_stdin:
        raise UsageError("with --secret-stdin the PIN has to be on the command line")
    ticket = read_ticket(input("PIN: ") if typed is None else typed)
    return pair(settings, ticket, _line_of_stdin if from_stdin else ask_secret)


def read_ticket(typed: str) -> Ticket:
    """Read what was typed.

    Raises:
        UsageError: it is neither PIN nor context id.
    """
    if ":" in typed:
        raise UsageError("a secret on the command line can be seen by others", hint="leave it out; it is asked for")
    try:
        return Ticket.parse(typed)
    except ValueError as error:
        raise UsageError(str(error), hint="the PIN is on the page of the context at CernVM Online") from None


def pair(settings: Settings, ticket: Ticket, secret: Callable[[], str]) -> str:
    """Fetch the context of a ticket, keep it, and let the daemon know.

    Arguments:
        secret: called for the secret if the context is encrypted.

    Returns:
        What happened, a sentence.

    Raises:
        As `run`.
    """
    if chosen(settings) and Source.name not in settings.sources.names:
        hint = f"add {Source.name} to sources.names"
        raise SettingsError("the settings do not let this source be asked", where="sources.names", hint=hint)
    path = state_file(settings)
    with closing(Store(path, boot_id())) as store:
        try:
            text = _fetch(settings, ticket, secret, store.machine_id)
        except SourceError as error:
            store.events.emit(Note(message=f"{Source.name}: {_word(error)}: {error.message}"))
            raise
        name = read_context(text).name or "without a name"
        keep(path.parent, text)
        store.events.emit(Note(message=f"{Source.name}: paired with the context {name}"))
    if lock.hang_up(path.parent):
        return f"Paired with the context {name}; the agent contextualizes this machine now: see `ucvm-agent status`."
    return f"Paired with the context {name}; no agent is running here, it is used at the next start."


def keep(folder: Path, text: bytes) -> None:
    """Keep the context that was paired; after a power cut it is there as a whole, or the one before it."""
    RootFS(folder).write(f"/{PAIRED}", text, mode=0o600, uid=os.geteuid(), gid=os.getegid())


def ask_secret() -> str:
    """Ask for the secret on the terminal, without showing it.

    Raises:
        UsageError: there is no terminal, or the secret is empty.
    """
    if not sys.stdin.isatty():
        raise UsageError("the context is encrypted, and there is no terminal to ask for its secret", hint=_BY_STDIN)
    if not (secret := getpass.getpass("Secret of the context: ")):
        raise UsageError("an encrypted context has a secret; it cannot be empty")
    return secret


_BY_STDIN = "give it by --secret-stdin"


def _line_of_stdin() -> str:
    secret = sys.stdin.readline(MAX_SECRET).rstrip("\r\n")
    if not secret:
        raise UsageError("the context is encrypted, and standard input holds no secret")
    return secret


def _fetch(settings: Settings, ticket: Ticket, secret: Callable[[], str], machine_id: str) -> bytes:
    # It loads aiohttp, which is for those who pair.
    from ucvm_agent.sources.online_service import OnlineService, WrongSecret

    service = OnlineService(settings.sources.cernvm_online)

    def fetch(with_secret: str) -> bytes:
        return asyncio.run(service.fetch(ticket, with_secret, machine_id))

    if ticket.is_encrypted:
        return fetch(secret())
    try:
        return fetch("")
    except WrongSecret:
        if ticket.is_pin:
            raise
    return fetch(secret())  # a context id does not tell that there is one


def _word(error: SourceError) -> str:
    """Return the service's state as controllers know it (references/cernvm-online.md, section 7)."""
    from ucvm_agent.sources.online_service import WrongSecret

    if isinstance(error, WrongSecret):
        return "wrong-secret"
    return "service-unreachable" if isinstance(error, SourceUnavailable) else "not-found"
