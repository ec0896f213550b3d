"""A contextualizer is tested as a function: a context and a root directory go in, actions come out."""

# ruff: noqa: S101 - a test is made of assertions

from __future__ import annotations

from pathlib import Path

from site_scratch import Scratch

from ucvm_agent.contextualize.actions import MakeDirectory, WriteFile
from ucvm_agent.contextualize.plan import Plan, make_plan
from ucvm_agent.contextualize.system import System
from ucvm_agent.sources.base import Found
from ucvm_agent.userdata.decode import decode

CONTEXT = b"""\
#cloud-config
scratch:
  path: /data/scratch
  owner: atlas
  environment: true
"""


def plan(user_data: bytes, root: Path) -> Plan:
    """Return what the contextualizer makes of the user-data, beneath `root`."""
    context = decode(Found(source="test", origin="test", user_data=user_data))
    return make_plan(context, System(root), [Scratch()])


def test_makes_the_directory_and_tells_the_shells(tmp_path: Path) -> None:
    """Both are in the plan, in this order, and nothing is wrong with the context."""
    made = plan(CONTEXT, tmp_path)
    assert not made.problems
    assert [step.action for step in made.steps] == [
        MakeDirectory(path="/data/scratch", owner="atlas", mode=0o755),
        WriteFile(path="/etc/profile.d/scratch.sh", content=b"export SCRATCH='/data/scratch'\n"),
    ]


def test_does_nothing_unless_it_is_asked(tmp_path: Path) -> None:
    """A context without its keys is no mistake."""
    assert plan(b"", tmp_path).steps == ()


def test_refuses_what_is_in_the_way(tmp_path: Path) -> None:
    """The problem has the line of the key that is to be changed."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/scratch").touch()
    made = plan(CONTEXT, tmp_path)
    assert made.steps == ()
    assert [(problem.place.line, problem.message) for problem in made.problems] == [
        (3, "scratch.path: there is a file at /data/scratch")
    ]


def test_refuses_a_relative_path(tmp_path: Path) -> None:
    """The options model does this before the contextualizer is even asked."""
    made = plan(b"[scratch]\npath = data\n", tmp_path)
    assert made.steps == ()
    assert [problem.message for problem in made.problems] == ["[scratch] path: expected an absolute path"]
