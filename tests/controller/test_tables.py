"""What a terminal is shown, whatever others have chosen for names."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucvm_agent.controller.model import Machine
from ucvm_agent.controller.submitting import size
from ucvm_agent.controller.tables import Screen, clean, machine_row, plan_lines
from ucvm_agent.events import State

TEXT = st.text(st.characters(exclude_categories=[]), max_size=60)


@given(
    rows=st.lists(st.tuples(st.sampled_from(["ready", "failed"]), TEXT.map(lambda text: text[:20]), TEXT), max_size=5)
)
def test_a_table_fits_and_commands_nothing(rows: list[tuple[str, str, str]]) -> None:
    """No line is wider than the screen, none is broken, and no control character is left."""
    lines = list(Screen(80, color=False).table(("STATE", "VM", "REASON"), rows))
    assert len(lines) == len(rows) + 1
    assert all(len(line) <= 80 for line in lines)
    assert all(clean(line) == line for line in lines)


@pytest.mark.parametrize(
    ("state", "reason", "failure", "shown"),
    [
        (State.DEGRADED, "script failed", "script failed", "script failed"),
        (State.READY, "no job can be run here", "script failed", "no job can be run here"),
        (State.READY, "", "script failed", "before: script failed"),
        (State.READY, "", "", ""),
    ],
)
def test_a_vm_is_shown_with_what_is_wrong_with_it_now(state: State, reason: str, failure: str, shown: str) -> None:
    """Of one that is well again, what was wrong last."""
    machine = Machine(machine_id="m", seen=datetime.now(UTC), online=True, state=state, reason=reason, failure=failure)
    assert machine_row(machine)[-1] == shown


@given(
    plan=st.recursive(TEXT | st.integers() | st.none(), lambda inner: st.dictionaries(TEXT, inner) | st.lists(inner))
)
def test_a_plan_of_another_form_is_shown_as_it_is(plan: object) -> None:
    """A VM may run another version, or lie."""
    assert all(clean(line) == line for line in plan_lines(plan))


@pytest.mark.parametrize(("text", "expected"), [("7", 7), ("512k", 512 * 1024), ("2G", 2 * 1024**3)])
def test_sizes_are_written_as_people_do(text: str, expected: int) -> None:
    """With a unit, or in bytes."""
    assert size(text) == expected


@given(text=TEXT)
def test_a_size_that_is_none_is_refused(text: str) -> None:
    """Never anything but a number or `ValueError`."""
    with suppress(ValueError):
        assert size(text) >= 0
