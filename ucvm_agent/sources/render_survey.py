"""What `ucvm-agent sources` prints."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ucvm_agent.sources.base import Found
    from ucvm_agent.sources.survey import Surveyed

CANDIDATE = {True: "yes", None: "maybe", False: "no"}
"""What the machine says, in a word."""


def as_json(rows: Sequence[Surveyed]) -> str:
    """Return the survey for programs; `winner` is null if no source has user-data."""
    winner = next((row.source for row in rows if row.wins), None)
    return json.dumps({"winner": winner, "sources": [_document(row) for row in rows]}, indent=2, ensure_ascii=False)


def as_text(rows: Sequence[Surveyed]) -> str:
    """Return the survey for people: two lines a source, with a star for the one that wins."""
    width = max([len("source"), *(len(row.source) for row in rows)])
    lines = [f"  {'source':<{width}}  candidate  reached       time  what it holds, or why not"]
    for row in rows:
        lines += _lines(row, width)
    if not any(row.wins for row in rows):
        lines.append("no source has user-data")
    return "\n".join(lines)


def _lines(row: Surveyed, width: int) -> Iterator[str]:
    mark, candidate = "*" if row.wins else " ", CANDIDATE[row.candidate.likely]
    if row.seconds is None:
        yield f"{mark} {row.source:<{width}}  {candidate:<9}  not asked: {row.candidate.why}"
        return
    reached, time = "yes" if row.reached else "no", f"{row.seconds * 1000:.0f} ms"
    holds = _holds(row.found) if row.found else row.reason
    yield f"{mark} {row.source:<{width}}  {candidate:<9}  {reached:<7}  {time:>9}  {holds}"
    yield f"  {'':<{width}}  {row.candidate.why}"


def _holds(found: Found) -> str:
    user_data = "no user-data" if found.user_data is None else f"{len(found.user_data)} bytes of user-data"
    vendor_data = f", {len(found.vendor_data)} of vendor data" if found.vendor_data is not None else ""
    return f"{user_data}{vendor_data}, instance {found.metadata.instance_id or 'unknown'}, from {found.origin}"


def _document(row: Surveyed) -> dict[str, object]:
    found = row.found
    return {
        "source": row.source,
        "candidate": row.candidate.likely,
        "why": row.candidate.why,
        "asked": row.seconds is not None,
        "reached": row.reached,
        "seconds": None if row.seconds is None else round(row.seconds, 3),
        "reason": row.reason,
        "origin": found.origin if found else "",
        "user_data_bytes": len(found.user_data) if found and found.user_data is not None else None,
        "vendor_data_bytes": len(found.vendor_data) if found and found.vendor_data is not None else None,
        "instance_id": found.metadata.instance_id if found else "",
        "wins": row.wins,
    }
