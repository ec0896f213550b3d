"""Our events as the monitoring commands of Co-Pilot: `reportEvent` and `reportEventDuration`."""

from __future__ import annotations

from ucvm_agent.copilot.messages import ReportDuration, ReportEvent, content
from ucvm_agent.copilot.stanza import Hash
from ucvm_agent.events import ActionEnded, Contextualized, Event

COMPONENT = "agent"
"""The part of a counter's name that says who counts (references/copilot-protocol.md, section 7)."""


def report(event: Event) -> Hash:
    """Return the content of the message that reports an event to a monitor.

    An event that took time is a `reportEventDuration` with milliseconds, any other a `reportEvent`; both are
    counted below `copilot.agent.` and the event's name (references/copilot-protocol.md, section 2.13).
    """
    if isinstance(event.body, ActionEnded | Contextualized):
        milliseconds = str(round(event.body.seconds * 1000))
        return content(ReportDuration(component=COMPONENT, event=event.name, duration=milliseconds))
    return content(ReportEvent(component=COMPONENT, event=event.name))
