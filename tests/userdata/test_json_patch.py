"""A JSON Patch changes the cloud-config before it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.userdata.conftest import Decode, findings, values
from ucvm_agent.errors import BoundExceeded
from ucvm_agent.sources.base import Found
from ucvm_agent.userdata.context import Place, Severity
from ucvm_agent.userdata.decode import decode


def document(patch: str) -> str:
    archive = [
        {"type": "text/cloud-config", "content": "a: 1\nb: [x, y]\n", "filename": "config"},
        {"content": f"#cloud-config-jsonp\n{patch}\n", "filename": "patch"},
    ]
    return f"#cloud-config-archive\n{json.dumps(archive)}\n"


def test_a_patch_adds_replaces_and_removes(read: Decode) -> None:
    """What it changes is written where it is; all else where it was."""
    patch = [
        {"op": "test", "path": "/a", "value": 1},
        {"op": "remove", "path": "/b/0"},
        {"op": "add", "path": "/c", "value": {"d": True}},
    ]
    context = read(document(json.dumps(patch)))
    assert values(context) == {"a": 1, "b": ["y"], "c": {"d": True}}
    assert context.place(("a",)) == Place("config", 1, 1)
    assert context.place(("c", "d")) == Place("patch", 1, 1)
    assert context.problems == ()


@pytest.mark.parametrize(
    "patch",
    [
        "",
        "{",
        "7",
        "[7]",
        '[{"op": "none"}]',
        '[{"op": "add", "path": "/z", "value": 1}, {"op": "remove", "path": "/none"}]',
        '[{"op": "test", "path": "/a", "value": 2}]',
        '[{"op": "replace", "path": "", "value": 1}]',
        "[" * 100_000,
    ],
    ids=range(9),
)
def test_a_patch_that_does_not_fit_changes_nothing(read: Decode, patch: str) -> None:
    """And is named."""
    context = read(document(patch))
    assert values(context) == {"a": 1, "b": ["x", "y"]}
    assert [severity for severity, _, _ in findings(context)] == [Severity.ERROR]


def test_copies_of_copies_are_bounded(read: Decode) -> None:
    """Before they are all of the memory."""
    patch = [{"op": "copy", "from": "/b", "path": f"/b/{number}"} for number in (0, 0, 0)] * 30
    with pytest.raises(BoundExceeded):
        read(document(json.dumps(patch)))


@given(st.text() | st.recursive(st.none() | st.text(), lambda inner: st.lists(inner)).map(json.dumps))
def test_any_patch_is_read(patch: str) -> None:
    """Without any exception."""
    decode(Found("ec2", "test", document(patch).encode()))
