"""A redirection is followed only where the settings lead as well."""

from __future__ import annotations

import pytest

from ucvm_agent.copilot.messages import Redirect
from ucvm_agent.copilot.redirection import redirect
from ucvm_agent.errors import MessageRefused

DONE = {"command": "jobDone", "jobID": "b0a1c2d3-0001", "exitCode": "0", "state": "done", "theirs": {"x": "1"}}


def test_what_is_forwarded_is_unchanged() -> None:
    """Even what we do not know: it is for whoever it is sent to."""
    message = Redirect(referral="sm@site.example/a", info=DONE)
    assert redirect(message, {"sm@site.example"}) == ("sm@site.example/a", {"info": DONE})


@pytest.mark.parametrize(
    ("referral", "info"),
    [
        ("sm@elsewhere.example", DONE),
        ("", DONE),
        ("sm@site.example", {"command": "makeCoffee"}),
        ("sm@site.example", {"command": "jobDone"}),
        ("sm@site.example", {"command": "runJob", "job": {"id": "1", "command": "x"}}),
        ("sm@site.example", {"command": "redirect", "referral": "sm@site.example", "info": DONE}),
    ],
)
def test_a_manager_cannot_make_us_say_anything_to_anybody(referral: str, info: dict[str, object]) -> None:
    """Only accounts that the settings name, and only what an agent says to a manager."""
    with pytest.raises(MessageRefused):
        redirect(Redirect(referral=referral, info=info), {"sm@site.example"})
