"""Fills a template in. `template.py` runs this file as a program of its own, with a request on standard input.

A template can compute for ever, or double a text until there is no memory left, without ever yielding a piece that
could be counted; nothing but the limits of a process ends that for sure. So this imports nothing of ours.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import islice
from traceback import walk_tb
from typing import Any

from jinja2 import TemplateError, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

MISSING = "CI_MISSING_JINJA_VAR/"
"""What stands in the place of a name that there is nothing for, before the name."""

MAX_RENDERED = 2**20
"""Most characters that a template yields."""

MAX_MISSING, MAX_NAME = 100, 100
"""Most names without a value that are told, and most characters of each."""

MAX_WORDS = 200
"""Most characters of a reason."""

SECONDS = 5
"""Most seconds of computing, …"""
MEMORY = 512 * 2**20
"""… and most bytes of address space."""


@dataclass(frozen=True, slots=True)
class Filled:
    """What came of a template.

    Arguments:
        text: filled in; None if it cannot be.
        missing: names that there is no value for.
        failure: why it cannot be filled in; of the template it holds names at most.
        line: where that is, from 1; 0 = unknown.
    """

    text: str | None
    missing: tuple[str, ...] = ()
    failure: str = ""
    line: int = 0


class _Refused(Exception):
    """The template wants what is never done."""


class _Sandbox(ImmutableSandboxedEnvironment):
    """jinja2's sandbox with one bound and one lock more."""

    intercepted_binops = frozenset({"*", "**"})

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return not attr.startswith("_") and super().is_safe_attribute(obj, attr, value)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        numbers = isinstance(left, int | float) and isinstance(right, int | float)
        if not numbers or (operator == "**" and abs(right) > 64):
            raise _Refused("texts and lists are not multiplied here, and powers are small")
        return super().call_binop(context, operator, left, right)


def fill(text: str, data: dict[str, Any]) -> Filled:
    """Fill a template in.

    Arguments:
        data: what it can name.
    """
    missing: dict[str, None] = {}

    class Missing(Undefined):
        """A name without a value: it stands for a text that says so, and is false in a condition."""

        def __str__(self) -> str:
            missing[str(self._undefined_name)] = None
            return f"{MISSING}{self._undefined_name}"

        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            return Missing(name=f"{self._undefined_name}.{name}")

        def __getitem__(self, name: object) -> Any:
            return Missing(name=f"{self._undefined_name}.{name}")

    environment = _Sandbox(undefined=Missing, keep_trailing_newline=True, trim_blocks=True)
    try:
        rendered = _joined(environment.from_string(text).generate(data))
    except (TemplateError, _Refused) as error:
        return Filled(None, failure=_explain(error), line=getattr(error, "lineno", None) or _line(error))
    except (ArithmeticError, LookupError, MemoryError, RecursionError, TypeError, ValueError) as error:
        return Filled(None, failure=type(error).__name__, line=_line(error))
    return Filled(rendered, tuple(name[:MAX_NAME] for name in islice(missing, MAX_MISSING)))


def _explain(error: Exception) -> str:
    """Return jinja's words, without what it got in the place of something else: that may be a piece of a secret."""
    words = (str(error.args[0]) if error.args else "").partition(", got")[0].split("\n")[0].rstrip(".")
    return words[:MAX_WORDS] or type(error).__name__


def _line(error: BaseException) -> int:
    """Return the last line of the template that was at work, which jinja writes into the traceback; 0 = unknown."""
    lines = [line for frame, line in walk_tb(error.__traceback__) if frame.f_code.co_filename == "<template>"]
    return lines[-1] if lines else 0


def _joined(pieces: Iterable[str]) -> str:
    rendered: list[str] = []
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > MAX_RENDERED:
            raise _Refused("the result is too large")
        rendered.append(piece)
    return "".join(rendered)


def main() -> None:
    """Fill in the template of the request within the limits, and print what came of it, as JSON."""
    request = json.load(sys.stdin)
    used = int(time.process_time()) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (used + SECONDS, used + SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    json.dump(asdict(fill(request["text"], request["data"])), sys.stdout)


if __name__ == "__main__":
    main()
