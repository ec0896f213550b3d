"""Our events as Co-Pilot counters."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ucvm_agent.copilot.events import report
from ucvm_agent.events import ActionEnded, AnyBody, Event, Note, State, StateChanged


@pytest.mark.parametrize(
    ("body", "info"),
    [
        (
            StateChanged(state=State.READY),
            {"command": "reportEvent", "component": "agent", "event": "state.ready"},
        ),
        (Note(message="x"), {"command": "reportEvent", "component": "agent", "event": "note"}),
        (
            ActionEnded(contextualizer="users", action="user", target="jo", result="failed", seconds=1.2345),
            {
                "command": "reportEventDuration",
                "component": "agent",
                "event": "action.failed",
                "duration": "1234",
            },
        ),
    ],
)
def test_an_event_is_counted_under_its_name(body: AnyBody, info: dict[str, str]) -> None:
    """What took time carries its milliseconds."""
    event = Event(id="i", machine_id="m", boot_id="b", seq=1, time=datetime.now(UTC), monotonic=1.0, body=body)
    assert report(event) == {"info": info}
