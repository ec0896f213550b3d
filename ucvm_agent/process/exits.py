"""How a command ends: what stopped it, as a line for people and as an exit code."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable

from ucvm_agent.errors import UcvmError, ours

INTERRUPTED = 130
"""Exit code after ^C, as shells have it."""


def exit_code(program: str, command: Callable[[], int]) -> int:
    """Run a command and return its exit code; an error of ours is told on stderr, all others go on.

    Arguments:
        program: its name, before what is told.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # what is shown may hold any character, a terminal may not
    try:
        code = command()
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output (`| head`) has seen enough; keep the interpreter from flushing again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (UcvmError, BaseExceptionGroup) as error:
        reason = ours(error)
        if reason is None:
            raise
        print(f"{program}: {reason}", file=sys.stderr)
        return reason.exit_code
    return code
