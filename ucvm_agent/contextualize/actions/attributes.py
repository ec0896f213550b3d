"""Paths, modes and owners of what actions make: checked, compared and put into words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ucvm_agent.contextualize.actions.base import Change, Effect, Resource
from ucvm_agent.errors import ActionError, UnsafePath
from ucvm_agent.files.resolve import split
from ucvm_agent.files.rootfs import Kind

if TYPE_CHECKING:
    from ucvm_agent.contextualize.system import System
    from ucvm_agent.files.rootfs import Status


def demand_path(path: str, *, root: bool = False) -> None:
    """Raise ValueError unless `path` is absolute, without `..`, and (unless `root`) not the root directory."""
    try:
        steps = split(path)
    except UnsafePath as error:
        raise ValueError(str(error)) from None
    if not steps and not root:
        raise ValueError("/: the root directory itself cannot be written")


def demand_bytes(content: object) -> None:
    """Raise ValueError unless this is bytes: to forget to encode a text is the slip of every first contextualizer."""
    if not isinstance(content, bytes):
        raise ValueError("the content of a file is bytes: encode the text")


def demand_mode(mode: int) -> None:
    """Raise ValueError unless `mode` is permission bits, those for set-user-ID and the like included."""
    if not 0 <= mode <= 0o7777:
        raise ValueError(f"{mode} is not a file mode (write four octal digits, as in 0644)")


def path_resource(path: str) -> Resource:
    """Return the path as a resource, written in the one way by which it is compared."""
    return Resource("path", "/" + "/".join(split(path)))


def parents(path: str) -> frozenset[Resource]:
    """Return the directories above `path`, without the root directory."""
    steps = split(path)
    return frozenset(Resource("path", "/" + "/".join(steps[:count])) for count in range(1, len(steps)))


def accounts(owner: str, group: str) -> frozenset[Resource]:
    """Return the user and the group that something is to belong to."""
    return frozenset({Resource("user", owner), Resource("group", group)})


def numbers(system: System, owner: str, group: str, path: str) -> tuple[int, int]:
    """Return the numbers of a user and a group.

    Root is 0 even beneath a root that has no account files yet.

    Raises:
        ActionError: one of them does not exist; `path` says for what it is needed.
    """
    uid, gid = _uid(system, owner), _gid(system, group)
    if uid is None:
        raise ActionError(f"there is no user {owner}", where=path, hint="make the user, or name another owner")
    if gid is None:
        raise ActionError(f"there is no group {group}", where=path, hint="make the group, or name another one")
    return uid, gid


def attribute_difference(system: System, there: Status, mode: int, owner: str, group: str) -> str:
    """Return before and after lines for mode and owner; empty if they are as wanted."""
    lines = []
    if there.mode != mode:
        lines += [f"-mode {there.mode:04o}\n", f"+mode {mode:04o}\n"]
    if (there.uid, there.gid) != (_uid(system, owner), _gid(system, group)):
        lines += [f"-owner {there.uid}:{there.gid}\n", f"+owner {owner}:{group}\n"]
    return "".join(lines)


def describe_attributes(mode: int, owner: str, group: str) -> str:
    """Return mode and owner in words."""
    return f"mode {mode:04o}, owner {owner}:{group}"


def obstacle(there: Status) -> Change:
    """Return the preview of an action that will fail, since something else is where it wants to write."""
    return Change(Effect.UPDATE, f"would be refused: a {there.kind} is there")


def obstacle_above(system: System, path: str) -> Change | None:
    """Return the preview of an action whose path leads through what is no directory; None if none is in the way."""
    steps = split(path)
    for count in range(len(steps) - 1, 0, -1):
        above = "/" + "/".join(steps[:count])
        if there := system.status(above):
            directory = there.kind is Kind.DIRECTORY
            return None if directory else Change(Effect.UPDATE, f"would be refused: {above} is a {there.kind}")
    return None


def _uid(system: System, owner: str) -> int | None:
    user = system.user(owner)
    return user.uid if user else 0 if owner == "root" else None


def _gid(system: System, group: str) -> int | None:
    known = system.group(group)
    return known.gid if known else 0 if group == "root" else None
