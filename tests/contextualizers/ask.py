"""Asks one contextualizer what a user-data means, with the real decoder and a real system beneath a folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

from ucvm_agent.contextualize.base import Action, Contextualizer
from ucvm_agent.contextualize.options import read_options
from ucvm_agent.contextualize.system import System
from ucvm_agent.sources.base import Found, Metadata
from ucvm_agent.userdata.context import Problem
from ucvm_agent.userdata.decode import decode

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJ1c3RlZGJ1c3RlZGJ1c3RlZGJ1c3RlZGJ1c3RlZDEy alice@example.org"
OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGN1c3RlZGJ1c3RlZGJ1c3RlZGJ1c3RlZGJ1c3RlZDEy bob@example.org"


@dataclass(frozen=True)
class Answer:
    """What a contextualizer wants done, and what it found wrong."""

    actions: list[Action]
    problems: list[Problem]

    @property
    def texts(self) -> list[str]:
        """The problems as `severity line: message`, in the order of the text."""
        found = sorted(self.problems, key=lambda problem: problem.place)
        return [f"{problem.severity} {problem.place.line}: {problem.message}" for problem in found]


def ask(contextualizer: Contextualizer[Any], text: str, system: System, metadata: Metadata | None = None) -> Answer:
    """Return the answer of the contextualizer to a user-data, written indented."""
    found = Found("file", "test", dedent(text).lstrip("\n").encode(), metadata=metadata or Metadata())
    context = decode(found)
    options, problems = read_options(contextualizer.name, contextualizer.options, context)
    assert options is not None
    problems += contextualizer.remarks(options, context, system)
    return Answer(list(contextualizer.plan(options, context, system)), problems)


def furnish(root: Path, files: Mapping[str, str]) -> System:
    """Return a system with these files beneath a folder; those in a `bin` folder can be executed."""
    for name, text in files.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755 if "bin/" in name else 0o644)
    return System(root)
