"""The running system's own tools for accounts, since they also tell NSS caches, audit and SELinux."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ucvm_agent.contextualize.actions.account_changes import UNUSABLE, joined_groups
from ucvm_agent.contextualize.actions.account_files import Accounts
from ucvm_agent.contextualize.actions.tools import run_tool

if TYPE_CHECKING:
    from ucvm_agent.contextualize.actions.accounts import EnsureGroup, EnsureUser
    from ucvm_agent.contextualize.system import System


async def change_group(system: System, wanted: EnsureGroup, before: Accounts) -> None:
    """Make a group, if it is not there; members come separately."""
    if before.group.find(wanted.name) is None:
        number = () if wanted.gid is None else ("--gid", str(wanted.gid))
        await run_tool(system, "groupadd", *["--system"] * wanted.system, *number, wanted.name)


async def add_member(system: System, group: str, user: str) -> None:
    """Add a user who exists to a group that exists."""
    await run_tool(system, "gpasswd", "--add", user, group)


async def change_user(system: System, wanted: EnsureUser, before: Accounts, after: Accounts) -> None:
    """Make a user, or change one, so that it is as in `after`; the home comes separately."""
    old, new = before.passwd.find(wanted.name), after.passwd.find(wanted.name)
    assert new is not None  # noqa: S101 - `after` is what `with_user` returned
    groups = ",".join(joined_groups(before, after, wanted.name))
    options = [*_option("--expiredate", wanted.expire_date), *_option("--inactive", wanted.inactive_days)]
    if old is None:
        own_group = not wanted.primary_group and before.group.find(wanted.name) is None
        options += ["--system"] * wanted.system
        options += ["--user-group"] if own_group else ["--gid", wanted.primary_group or wanted.name]
        options += [*_option("--uid", wanted.uid), *_option("--comment", new[4]), *_option("--groups", groups)]
        options += ["--no-create-home", "--home-dir", new[5], "--shell", new[6]]
        await run_tool(system, "useradd", *options, wanted.name)
    else:
        options += [*_option("--comment", wanted.gecos), *_option("--shell", wanted.shell)]
        options += [*_option("--gid", wanted.primary_group)]
        options += ["--append", "--groups", groups] if groups else []
        if options:
            await run_tool(system, "usermod", *options, wanted.name)
    password = after.password_of(wanted.name) or UNUSABLE
    if password != (before.password_of(wanted.name) or UNUSABLE):
        await run_tool(system, "chpasswd", "--encrypted", stdin=f"{wanted.name}:{password}\n")


def _option(name: str, value: object) -> list[str]:
    return [] if value in (None, "") else [name, str(value)]
