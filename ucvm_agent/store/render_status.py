"""What `ucvm-agent status` prints."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from ucvm_agent.events import describe_status

if TYPE_CHECKING:
    from ucvm_agent.settings import Settings
    from ucvm_agent.store.events import Delivery
    from ucvm_agent.store.jobs import JobLine
    from ucvm_agent.store.journal import JournalEntry, Outcome
    from ucvm_agent.store.status import Status

DIGEST_LENGTH = 12
"""Characters of a digest that are shown to people."""


def status_json(status: Status, *, running: bool, settings: Settings) -> str:
    """Return the status for programs: the fields of `Status`, with `running` and `insecure`."""
    document = status.model_dump(mode="json") | {"running": running, "insecure": list(settings.insecure)}
    return json.dumps(document, indent=2, ensure_ascii=False)


def status_text(status: Status, *, running: bool, boot_id: str, settings: Settings, now: datetime) -> str:
    """Return the status for people.

    Arguments:
        running: whether a daemon is at work now.
        boot_id: the present boot; the status may stem from an earlier one.
    """
    return "\n".join(
        [
            *_head(status, running, boot_id, now),
            *_list("problems in the user-data", status.problems),
            *_actions(status.actions, running),
            *_list("controllers", [_delivery(delivery) for delivery in status.deliveries]),
            *_list("jobs", [_job(job) for job in status.jobs]),
            *_list("pinned keys", [f"{pin.account}: {pin.key}, since {_moment(pin.since)}" for pin in status.pins]),
            *(f"warning: {setting}: what comes that way can be forged" for setting in settings.insecure),
        ]
    )


def _head(status: Status, running: bool, boot_id: str, now: datetime) -> Iterator[str]:
    since = datetime.fromisoformat(status.since) if status.since else now
    yield f"{status.state or 'new'} since {since:%Y-%m-%d %H:%M:%S} UTC ({_ago(now - since)})"
    if status.reason:
        yield _row("reason", status.reason)
    if status.boot_id == boot_id:
        yield _row("daemon", "running" if running else "not running")
    else:
        yield _row("daemon", "not running; this is how an earlier boot ended")
    yield _row("source", f"{status.source}, {status.origin}" if status.source else "none so far")
    yield _row("instance", status.instance_id or "the source gave no instance-id")
    yield _row("machine", f"{status.machine_id}, boot {status.boots}")
    if status.context:
        yield _row("context", status.context[:DIGEST_LENGTH])


def _row(name: str, text: str) -> str:
    return f"  {name:<10}{_hanging(text, 12)}"


def _hanging(text: str, indent: int) -> str:
    """Return a text of several lines, all but the first indented: a reason may hold what a script has printed."""
    return text.replace("\n", "\n" + " " * indent)


def _list(title: str, lines: tuple[str, ...] | list[str]) -> Iterator[str]:
    if lines:
        yield title
        yield from (f"  {_hanging(line, 4)}" for line in lines)


def _actions(actions: tuple[JournalEntry, ...], running: bool) -> Iterator[str]:
    counts = Counter(entry.outcome for entry in actions)
    words: dict[Outcome, str] = {"done": "done", "failed": "failed", "skipped": "skipped"}
    words["started"] = "under way" if running else "interrupted, the next start goes on with it"
    title = ", ".join(f"{counts[outcome]} {word}" for outcome, word in words.items() if counts[outcome])
    # What went wrong first: it is what the reader came for.
    order = {"failed": 0, "skipped": 1, "started": 2, "done": 3}
    width = max((len(entry.contextualizer) for entry in actions), default=0)
    yield from _list(
        f"actions: {title}",
        [
            f"{entry.outcome:<8} {entry.contextualizer:<{width}}  {entry.kind} {entry.target}"
            + (f": {entry.reason}" if entry.reason else "")
            for entry in sorted(actions, key=lambda entry: order[entry.outcome])
        ],
    )


def _delivery(delivery: Delivery) -> str:
    told = f"told at {_moment(delivery.delivered)}" if delivery.delivered else "never told yet"
    plural = "s" if delivery.waiting > 1 else ""
    waiting = f"{delivery.waiting} event{plural} waiting" if delivery.waiting else "nothing waiting"
    refused = f", {delivery.refused} refused" if delivery.refused else ""
    error = f" ({delivery.error})" if delivery.error else ""
    return f"{delivery.reporter}: {told}, {waiting}{refused}{error}"


def jobs_text(jobs: Sequence[JobLine]) -> str:
    """Return the jobs for people, a line each."""
    return "\n".join(_job(job) for job in jobs) or "no job so far"


def _job(job: JobLine) -> str:
    status = "" if job.exit_status is None else f", ended with {describe_status(job.exit_status)}"
    reason = f": {job.reason}" if job.reason else ""
    return f"slot {job.slot}: {job.job_id}, {job.phase} since {_moment(job.changed)}{status}, of {job.manager}{reason}"


def _moment(time: str) -> str:
    return f"{time[:19].replace('T', ' ')} UTC"


def _ago(span: timedelta) -> str:
    seconds = max(0, int(span.total_seconds()))
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= size:
            count = seconds // size
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return f"{seconds} s"
