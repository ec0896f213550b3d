"""The state of the VM as its XMPP presence."""

from __future__ import annotations

from ucvm_agent.events import State
from ucvm_agent.xmpp.presence import Show

SHOWN = {
    State.READY: Show.CHAT,
    State.WORKING: Show.BUSY,
    State.DEGRADED: Show.AWAY,
    State.FAILED: Show.AWAY_LONG,
    State.DRAINING: Show.AWAY_LONG,
    State.STOPPED: Show.AWAY_LONG,
}
"""READY invites work; the states that lead to it are plainly available."""


def presence(state: State, reason: str) -> tuple[Show, str]:
    """Return how a state shows, and the status text."""
    return SHOWN.get(state, Show.AVAILABLE), f"{state}: {reason}" if reason else str(state)
