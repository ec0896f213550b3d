"""Groups, users and their authorized keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pydantic import SecretStr

from ucvm_agent.contextualize.actions.base import Action, Change

if TYPE_CHECKING:
    from ucvm_agent.contextualize.system import System
    from ucvm_agent.contextualize.target import Target


@dataclass(frozen=True, kw_only=True)
class EnsureGroup(Action):
    """Make a group exist with at least these members (names that are no users yet are added all the same).

    Arguments:
        gid: wanted number; None = the next free one. An existing group keeps its number.
        system: take a free number from the system range.
    """

    kind: ClassVar[str] = "group"
    name: str
    gid: int | None = None
    system: bool = False
    members: tuple[str, ...] = ()

    @property
    def target(self) -> str:
        """The name."""
        return self.name

    def preview(self, system: System) -> Change:
        """See `Action.preview`."""
        raise NotImplementedError

    async def apply(self, target: Target) -> None:
        """See `Action.apply`."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class EnsureUser(Action):
    """Make a user exist. An existing one keeps its number and home, and gets what is given here besides.

    Arguments:
        uid: wanted number; None = the next free one.
        primary_group: name; empty = a group of the user's own name, made with it.
        groups: supplementary groups to be in (never taken out of others).
        password: plain text or a crypt hash (`$5$ $6$ $y$ …`); None = leave as it is, locked for a new user.
        lock_password: make the password unusable.
        home: empty = `/home/NAME` for a new user.
        create_home: make the home with the skeleton beneath the root (never overwrites anything).
        system: a number from the system range, and no home unless asked for.
    """

    kind: ClassVar[str] = "user"
    name: str
    uid: int | None = None
    gecos: str = ""
    home: str = ""
    shell: str = ""
    primary_group: str = ""
    groups: tuple[str, ...] = ()
    password: SecretStr | None = None
    lock_password: bool = False
    system: bool = False
    create_home: bool = True
    expire_date: str = ""
    inactive_days: int | None = None

    @property
    def target(self) -> str:
        """The name."""
        return self.name

    def preview(self, system: System) -> Change:
        """See `Action.preview`."""
        raise NotImplementedError

    async def apply(self, target: Target) -> None:
        """See `Action.apply`."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class AuthorizeKeys(Action):
    """Add OpenSSH public keys to a user's `~/.ssh/authorized_keys` (0700 and 0600, owned by the user).

    Keys are compared by their blob, so that another comment or option does not make a second line.
    """

    kind: ClassVar[str] = "authorized_keys"
    user: str
    keys: tuple[str, ...]

    @property
    def target(self) -> str:
        """The user's name."""
        return self.user

    def preview(self, system: System) -> Change:
        """See `Action.preview`: a diff of the file."""
        raise NotImplementedError

    async def apply(self, target: Target) -> None:
        """See `Action.apply`."""
        raise NotImplementedError
