"""The contract of an action."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar

from pydantic import SecretBytes, SecretStr

from ucvm_agent.userdata.context import Frequency

if TYPE_CHECKING:
    from ucvm_agent.contextualize.system import System
    from ucvm_agent.contextualize.target import Target


class Effect(StrEnum):
    """What applying an action would do now; NONE means that it is already done."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    RUN = "run"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Change:
    """What an action would change now, for people: one line, and a unified diff where there is one.

    Neither ever holds a secret.
    """

    effect: Effect
    summary: str
    diff: str = ""


ALREADY_SO = Change(Effect.NONE, "already so")


@dataclass(frozen=True, slots=True, order=True)
class Resource:
    """Something that one action makes and another one needs: `("user", "atlas")`, `("path", "/srv/data")`."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, kw_only=True)
class Action(ABC):
    """One typed, idempotent, inspectable operation.

    Arguments:
        frequency: overrules the frequency of the contextualizer that yields it.
    """

    kind: ClassVar[str]
    frequency: Frequency | None = None

    @property
    @abstractmethod
    def target(self) -> str:
        """What it acts on, as people name it: a path, a user name, a command line."""

    def provides(self) -> frozenset[Resource]:
        """Return what exists after it; actions that need one of these run later, or not if it failed."""
        return frozenset()

    def requires(self) -> frozenset[Resource]:
        """Return what it needs; needs that no action of the plan provides are the system's business."""
        return frozenset()

    @property
    def causes(self) -> frozenset[Resource]:
        """What it follows: it is done only if one of these was changed in the same run; always if there are none."""
        return frozenset()

    @abstractmethod
    def preview(self, system: System) -> Change:
        """Say what applying it would change now; reads only, and works without any privilege.

        What cannot be read without privilege, or will be made by an earlier action, counts as not there.
        """

    @abstractmethod
    async def apply(self, target: Target) -> None:
        """Do it, atomically where the system allows: after a crash it is either done or can be done again.

        Raises:
            ActionError: with what was tried, what was answered, and what to do about it.
        """

    def digest(self) -> str:
        """Return a SHA-256 (hex) of what it is, so that the journal knows it again."""
        text = [self.kind]
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, SecretStr | SecretBytes):
                value = value.get_secret_value()
            text.append(f"{item.name}={value!r}")
        return hashlib.sha256("\0".join(text).encode()).hexdigest()
