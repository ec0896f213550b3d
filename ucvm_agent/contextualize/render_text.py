"""Shows people what a plan would do, on any terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import TYPE_CHECKING

from ucvm_agent.contextualize.actions import Change, Effect
from ucvm_agent.contextualize.plan import Step
from ucvm_agent.contextualize.preview import Preview
from ucvm_agent.userdata.context import Context, Problem, Severity
from ucvm_agent.userdata.excerpt import caret, excerpt

if TYPE_CHECKING:
    from ucvm_agent.contextualize.apply import Applied

WIDTH = 80
"""Columns that sentences are wrapped to; lines of a diff are never broken."""

SHOWN_LINES = 40
"""Most lines of one diff that are shown; the JSON form has them all."""


class Style(StrEnum):
    """How a terminal is told to write."""

    BOLD = "1"
    FAINT = "2"
    RED = "31"
    GREEN = "32"
    YELLOW = "33"
    BLUE = "34"
    CYAN = "36"


Paint = Callable[[Style, str], str]

_SEVERITIES = {Severity.ERROR: Style.RED, Severity.WARNING: Style.YELLOW, Severity.NOTE: Style.CYAN}
_EFFECTS = {
    Effect.CREATE: Style.GREEN,
    Effect.UPDATE: Style.YELLOW,
    Effect.DELETE: Style.RED,
    Effect.RUN: Style.BLUE,
    Effect.NONE: Style.FAINT,
}
_DIFF_LINES = {
    "---": Style.FAINT,
    "+++": Style.FAINT,
    "@@": Style.CYAN,
    "+": Style.GREEN,
    "-": Style.RED,
}
"""What a line of a diff begins with; the first that fits counts."""


def render_text(preview: Preview, applied: Applied | None = None, *, color: bool) -> str:
    """Return problems first, then what would be done, then one line that sums it up.

    Without colour it says the same. Control characters from the user-data are shown, never sent to the terminal.

    Arguments:
        applied: how the plan ended, if it was carried out after the preview.
    """
    paint = _painted if color else _plain
    blocks = [
        *(_problem(preview.plan.context, problem, paint) for problem in preview.plan.problems),
        *_contextualizers(preview, paint),
        [paint(Style.BOLD, line) for line in _wrapped(_summary(preview))],
        *([_end(applied, paint)] if applied else []),
    ]
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def _painted(style: Style, text: str) -> str:
    return f"\x1b[{style}m{text}\x1b[0m"


def _plain(style: Style, text: str) -> str:
    return text


def _wrapped(text: str, indent: str = "", further: str = "") -> list[str]:
    return textwrap.wrap(
        _printable(text),
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent + further,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() or each == "\t" else repr(each)[1:-1] for each in text)


# Problems


def _problem(context: Context, problem: Problem, paint: Paint) -> list[str]:
    place = problem.place
    numbers = [str(number) for number in (place.line, place.column) if number]
    where = ":".join([place.part, *numbers])
    head, *rest = _wrapped(f"{where}: {problem.severity}: {problem.message}", further="  ")
    kind = f" {problem.severity}:"
    lines = [head.replace(kind, paint(_SEVERITIES[problem.severity], kind), 1), *rest]
    if quoted := excerpt(context, place):
        lines.append(f"    {quoted}")
        if column := caret(context, place):
            lines.append(" " * (column + 3) + paint(Style.GREEN, "^"))
    if problem.hint:
        lines += _wrapped(f"hint: {problem.hint}", "  ", "      ")
    return lines


# Actions


def _contextualizers(preview: Preview, paint: Paint) -> Iterator[list[str]]:
    groups: dict[str, list[tuple[Step, Change]]] = {}
    for step, change in zip(preview.plan.steps, preview.changes, strict=True):
        groups.setdefault(step.contextualizer, []).append((step, change))
    for name, pairs in groups.items():
        lines = [paint(Style.BOLD, name)]
        unchanged = 0
        for step, change in pairs:
            if change.effect is Effect.NONE:
                unchanged += 1
            else:
                lines += _action(step, change, paint)
        if unchanged:
            lines.append(paint(Style.FAINT, f"  {unchanged} unchanged"))
        yield lines


def _action(step: Step, change: Change, paint: Paint) -> Iterator[str]:
    what = f"{step.action.kind} {step.action.target}: {change.summary}"
    if change.effect is Effect.RUN and step.action.target in change.summary:
        what = change.summary.removeprefix("run ")
    head, *rest = _wrapped(f"{change.effect:<6}  {what}", "  ", " " * 8)
    yield head.replace(change.effect, paint(_EFFECTS[change.effect], change.effect), 1)
    yield from rest
    diff = change.diff.splitlines()
    for line in diff[:SHOWN_LINES]:
        style = next((style for start, style in _DIFF_LINES.items() if line.startswith(start)), None)
        text = _printable(line)
        yield " " * 10 + (paint(style, text) if style else text)
    if len(diff) > SHOWN_LINES:
        yield " " * 10 + paint(Style.FAINT, f"… {len(diff) - SHOWN_LINES} more lines")


def _summary(preview: Preview) -> str:
    effects, severities = preview.effects, preview.severities
    verbs = [f"{effects[each]} to {each}" for each in Effect if each is not Effect.NONE and effects[each]]
    done = [f"{effects[Effect.NONE]} unchanged"] if effects[Effect.NONE] else []
    found = [_count(severities[each], each) for each in Severity if severities[each]]
    return "; ".join(filter(None, [", ".join([*(verbs or ["nothing to do"]), *done]), ", ".join(found)]))


def _end(applied: Applied, paint: Paint) -> list[str]:
    lines = []
    for failure in applied.failures:
        what = f"{failure.kind} {failure.target} of {failure.contextualizer}: {failure.reason}"
        first, *printed = f"failed  {what}".split("\n")
        head, *rest = _wrapped(first, further=" " * 8)
        lines += [head.replace("failed", paint(Style.RED, "failed"), 1), *rest]
        lines += [each for line in printed for each in _wrapped(line, " " * 8)]
    numbers = [f"{applied.changed} changed", f"{applied.unchanged} unchanged"]
    numbers += [f"{applied.failed} failed"] * bool(applied.failed) + [f"{applied.skipped} skipped"] * bool(
        applied.skipped
    )
    return [*lines, paint(Style.BOLD, f"done in {applied.seconds:.1f} s: {', '.join(numbers)}")]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
