"""The prompt of a console on which a context can be paired, like a login: for a unit on tty2.

It never ends because of what somebody types. It ends when this machine is paired, or when its terminal is gone.
"""

from __future__ import annotations

import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from ucvm_agent import __version__
from ucvm_agent.errors import StoreError, UcvmError, UsageError
from ucvm_agent.pairing.pair import ask_secret, pair, read_ticket
from ucvm_agent.settings import Settings
from ucvm_agent.sources.cernvm_online import PAIRED
from ucvm_agent.stages.place import state_file
from ucvm_agent.store.status import read

IDLE_SECONDS = 60.0
"""How long a prompt waits before the banner is shown anew, with the state as it is then."""
SECRET_SECONDS = 60.0
"""How long the prompt for a secret waits; a PIN lives for five minutes."""
FAILURE_SECONDS = 3.0
"""Pause after a failure, against those who try PINs."""

_GONE = "the terminal is gone"


def run(settings: Settings) -> None:
    """Ask until this machine is paired, here or elsewhere.

    Raises:
        UsageError: standard input is no terminal, or is gone.
    """
    if not sys.stdin.isatty():
        raise UsageError("--console needs a terminal", hint="use `ucvm-agent pair PIN --secret-stdin` without one")
    # ^C gives up what was being typed, even where our parent ignored it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    paired_before = _paired(settings)
    shown = ""
    while _paired(settings) == paired_before:
        if (banner := _banner(settings)) != shown:
            print(f"\n{banner}\n")
            shown = banner
        if typed := _ask("PIN: "):
            print(_try(settings, typed))
    print("This machine is paired.")


def _ask(prompt: str) -> str:
    """Return what was typed; an empty string after a while, ^C or ^D."""
    try:
        with _limit(IDLE_SECONDS):
            return input(prompt).strip()
    except (TimeoutError, EOFError, KeyboardInterrupt, UnicodeDecodeError):
        print()
        if not _has_terminal():
            raise UsageError(_GONE) from None
        return ""
    except OSError:
        raise UsageError(_GONE) from None


def _has_terminal() -> bool:
    try:
        return sys.stdin.isatty() and sys.stdout.isatty()
    except ValueError:
        return False


def _try(settings: Settings, typed: str) -> str:
    """Pair by what was typed, and return what to say."""
    try:
        return pair(settings, read_ticket(typed), _limited(ask_secret))
    except (TimeoutError, EOFError, KeyboardInterrupt):
        return "\nNothing was paired."
    except UcvmError as error:
        time.sleep(FAILURE_SECONDS)
        hint = f"\n{error.hint[:1].upper()}{error.hint[1:]}." if error.hint else ""
        return f"{error.message[:1].upper()}{error.message[1:]}.{hint}"


def _paired(settings: Settings) -> tuple[int, int] | None:
    """Return what tells one pairing from another: the file with the context."""
    try:
        status = (state_file(settings).parent / PAIRED).stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _banner(settings: Settings) -> str:
    lines = [
        f"ucvm-agent {__version__} on {socket.gethostname()}",
        f"CernVM Online: {settings.sources.cernvm_online.url}",
        f"state: {_state(settings)}",
    ]
    if _paired(settings) is not None:
        lines.append("A context was paired before; another PIN replaces it.")
    lines.append("Type the PIN from the page of your context.")
    return "\n".join(lines)


def _state(settings: Settings) -> str:
    try:
        status = read(state_file(settings))
    except StoreError as error:
        return error.message
    reason = f": {status.reason}" if status.reason else ""
    return f"{status.state or 'new'}{reason}; machine {status.machine_id}"


def _limited(ask: Callable[[], str]) -> Callable[[], str]:
    def limited() -> str:
        with _limit(SECRET_SECONDS):
            return ask()

    return limited


@contextmanager
def _limit(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in a read of the terminal that takes longer; only a signal can interrupt one."""

    def expire(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
