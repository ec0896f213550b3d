"""What the commands show people: tables that fit a terminal, with nothing in them that could command it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ValidationError

from ucvm_agent.controller.model import Entry, Job, JobStatus, Machine
from ucvm_agent.events import (
    ActionEnded,
    ContextReceived,
    Contextualized,
    Event,
    JobChanged,
    Note,
    State,
    StateChanged,
    describe_status,
)

GAP = "  "
NARROWEST = 12
"""Columns that the last one of a table gets at least, on however small a terminal."""

_RED, _GREEN, _YELLOW, _BLUE, _FAINT = "31", "32", "33", "34", "2"
_COLOURS: Mapping[str, str] = {
    State.READY: _GREEN,
    State.WORKING: _BLUE,
    State.DEGRADED: _RED,
    State.FAILED: _RED,
    State.STOPPED: _FAINT,
    "offline": _FAINT,
    JobStatus.WAITING: _YELLOW,
    JobStatus.RUNNING: _BLUE,
    JobStatus.DONE: _GREEN,
    JobStatus.CANCELLED: _FAINT,
}

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, and those that turn the direction of text."""


class Screen:
    """Where tables are shown.

    Arguments:
        width: columns; None = as wide as it takes.
        color: whether states have colours.
    """

    def __init__(self, width: int | None, *, color: bool) -> None:
        self.width = width
        self._color = color

    def table(self, titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
        """Yield the lines of a table; the last column takes what is left of the width."""
        cells = [[clean(cell) for cell in row] for row in rows]
        widths = [max(map(len, column)) for column in zip(titles, *cells, strict=True)]
        if self.width is not None:
            used = sum(widths[:-1]) + len(GAP) * (len(widths) - 1)
            widths[-1] = max(NARROWEST, self.width - used)
        yield self._line(titles, widths, lambda _: _FAINT)
        for row in cells:
            yield self._line(row, widths, lambda cell: _COLOURS.get(cell, ""))

    def _line(self, cells: Sequence[str], widths: Sequence[int], colour: Any) -> str:
        parts = []
        for cell, width in zip(cells, widths, strict=True):
            shown = cell if len(cell) <= width else f"{cell[: width - 1]}…"
            parts.append(self.paint(shown.ljust(width), colour(cell)))
        return GAP.join(parts).rstrip()

    def paint(self, text: str, colour: str) -> str:
        """Return a text in a colour, if this is a screen that has some."""
        return f"\033[{colour}m{text}\033[0m" if self._color and colour else text


def clean(text: str) -> str:
    """Return a text that cannot command a terminal; others chose it."""
    return _UNPRINTABLE.sub("?", text)


def ago(time: datetime | None) -> str:
    """Return how long ago something was, in one unit."""
    if time is None:
        return ""
    seconds = max(0, int((datetime.now(UTC) - time).total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


JOB_TITLES = ("STATUS", "JOB", "SINCE", "VM", "COMMAND OR REASON")


def job_row(job: Job) -> Sequence[str]:
    """Return a job as a row beneath `JOB_TITLES`; why it failed is worth more than its command."""
    command = f"{job.description.command} {job.description.arguments}".strip()
    return job.status, job.id, ago(job.changed), _place(job), (job.reason if job.ended else "") or command


MACHINE_TITLES = ("STATE", "VM", "SINCE", "JOBS", "REASON")


def machine_row(machine: Machine) -> Sequence[str]:
    """Return a VM as a row beneath `MACHINE_TITLES`; where nothing is wrong now, why it was degraded or failed last."""
    away = not machine.online and machine.state is not State.STOPPED
    state = "offline" if away else machine.state or "new"
    since = machine.seen if away else machine.since
    reason = machine.reason or (f"before: {machine.failure}" if machine.failure else "")
    return state, machine.host or machine.machine_id, ago(since), str(len(machine.jobs)), reason


EVENT_TITLES = ("TIME", "VM", "EVENT")


def event_row(entry: Entry) -> Sequence[str]:
    """Return an event as a row beneath `EVENT_TITLES`."""
    event = entry.event
    return f"{event.time.astimezone():%m-%d %H:%M:%S}", entry.host or event.machine_id[:8], tell(event)


def tell(event: Event) -> str:
    """Return what an event says."""
    body, reason = event.body, getattr(event.body, "reason", "")
    match body:
        case StateChanged():
            text = str(body.state)
        case ContextReceived():
            text = f"context from {body.source}: {body.errors} errors, {body.warnings} warnings"
        case ActionEnded():
            text = f"{body.contextualizer}: {body.action} {body.target} {body.result}"
        case Contextualized():
            text = f"contextualized: {body.changed} changed, {body.failed} failed"
        case JobChanged():
            text = f"job {body.job_id} {body.phase}"
        case Note():
            text = body.message
    return f"{text}: {reason}" if reason else text


def details(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield the lines of a list of facts, without those that are empty."""
    yield from (f"{name:<12}{clean(value)}" for name, value in pairs if value)


def job_details(job: Job, events: Iterable[Entry] = ()) -> Iterator[str]:
    """Yield what there is to say of a job.

    Arguments:
        events: the last ones of the VM that it runs on.
    """
    told, result, lease = job.description, job.result, job.lease
    phase, note = _progress(job.id, events)
    needs_ours = job.status is JobStatus.WAITING and told.needs_ours
    yield from details(
        [
            ("job", job.id),
            ("status", f"{job.status}{phase and f' ({phase})'}, {ago(job.changed)}"),
            ("note", note),
            ("reason" if job.ended else "before", job.reason),
            ("waits for", "an agent of ours with a free slot" if needs_ours else ""),
            ("command", f"{told.command} {told.arguments}".strip()),
            ("inputs", " ".join(told.input_files)),
            ("packages", " ".join(told.packages)),
            ("vm", _place(job)),
            ("agent", result.agent if result else lease.agent if lease else ""),
            ("tries", f"{job.tries} of {job.max_tries}"),
            ("submitted", f"{job.submitted.astimezone():%Y-%m-%d %H:%M:%S}"),
            ("exit", describe_status(result.exit_status) if result else ""),
            (
                "validation",
                describe_status(result.validation_status) if result and result.validation_status is not None else "",
            ),
            ("took", f"{result.seconds:.1f} s" if result and result.seconds else ""),
            ("archive", result.checksum and f"sha256 {result.checksum}" if result else ""),
        ]
    )


def _progress(job_id: str, events: Iterable[Entry]) -> tuple[str, str]:
    """Return the phase in which a VM has a job, and what it has noted of it since."""
    phase = note = ""
    for body in (entry.event.body for entry in events):
        if isinstance(body, JobChanged) and body.job_id == job_id:
            phase, note = str(body.phase), ""
        elif isinstance(body, Note) and f" job {job_id} " in body.message:
            note = body.message
    return phase, note


def machine_details(machine: Machine) -> Iterator[str]:
    """Yield what there is to say of a VM."""
    yield from details(
        [
            ("vm", machine.machine_id),
            ("host", machine.host),
            ("instance", machine.instance_id),
            ("state", f"{machine.state or 'new'}, {ago(machine.since)}".rstrip(", ")),
            ("reason", machine.reason),
            ("failure", machine.failure),
            ("online", "yes" if machine.online else f"no, last heard of {ago(machine.seen)} ago"),
            ("account", machine.jid),
            (
                "refused",
                f"{machine.refused} messages from others, last {machine.refused_from}" if machine.refused else "",
            ),
            ("boot", machine.boot_id),
            ("jobs", " ".join(machine.jobs)),
        ]
    )


def _place(job: Job) -> str:
    holder = job.result or job.lease
    return (holder.host or holder.agent) if holder else ""


class _Action(BaseModel):
    contextualizer: str
    kind: str
    target: str
    change: str
    diff: str


class _Problem(BaseModel):
    severity: str
    message: str
    line: int | None = None


class _Plan(BaseModel):
    """What of a plan is shown (docs/dry-run.md)."""

    problems: list[_Problem]
    actions: list[_Action]


def has_errors(plan: object) -> bool:
    """Whether a VM has found errors in a context; False for a plan of another form, which does not tell."""
    try:
        return any(problem.severity == "error" for problem in _Plan.model_validate(plan).problems)
    except ValidationError:
        return False


def plan_lines(plan: object) -> Iterator[str]:
    """Yield the lines of a plan that a VM has made; of another version's, which has another form, its JSON."""
    try:
        known = _Plan.model_validate(plan)
    except ValidationError:
        yield from json.dumps(plan, indent=2, ensure_ascii=True).splitlines()
        return
    for problem in known.problems:
        yield clean(f"{problem.severity}: line {problem.line or '?'}: {problem.message}")
    for action in known.actions:
        yield clean(f"{action.change:<8}{action.contextualizer}: {action.kind} {action.target}")
        yield from (f"    {clean(line)}" for line in action.diff.splitlines())
