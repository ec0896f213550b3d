"""Groups and users.

Beneath a root that is not `/` (and on `/` where there are no tools) the account files are edited, under the
lock of lckpwdf(3); on `/` the system's own tools do it. Both follow from the same `with_…` function.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from pydantic import SecretStr

from ucvm_agent.contextualize.actions import account_changes, account_names, account_tools
from ucvm_agent.contextualize.actions.account_files import LIMIT, Accounts, read_accounts, write_accounts
from ucvm_agent.contextualize.actions.attributes import demand_path, path_resource
from ucvm_agent.contextualize.actions.base import ALREADY_SO, Action, Change, Effect, Resource
from ucvm_agent.contextualize.actions.homes import make_home
from ucvm_agent.contextualize.actions.locks import finish_in_thread, lock
from ucvm_agent.contextualize.actions.passwords import demand_password, to_stored_form
from ucvm_agent.contextualize.actions.secret import Secret, SecretReference
from ucvm_agent.errors import ActionError

if TYPE_CHECKING:
    from ucvm_agent.contextualize.system import System
    from ucvm_agent.contextualize.target import Target
    from ucvm_agent.files.rootfs import RootFS

LOCK_PATIENCE = 60.0
"""Seconds to wait for somebody else who is changing accounts."""

_NO_HOMES = ("", "/", "/nonexistent", "/dev/null")
"""What is written as the home of an account that is not to have one."""


@dataclass(frozen=True, kw_only=True)
class EnsureGroup(Action):
    """Make a group exist with at least these members (names that are no users yet are added all the same).

    Arguments:
        gid: wanted number; None = the next free one. An existing group keeps its number.
        system: take a free number from the system range.

    Raises:
        ValueError: something cannot be in an account file.
    """

    kind: ClassVar[str] = "group"
    name: str
    gid: int | None = None
    system: bool = False
    members: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        account_names.demand_new_name(self.name)
        account_names.demand_number(self.gid, "gid")
        for member in self.members:
            account_names.demand_name(member)

    @property
    def target(self) -> str:
        """The name."""
        return self.name

    def provides(self) -> frozenset[Resource]:
        """See `Action.provides`: the group."""
        return frozenset({Resource("group", self.name)})

    def preview(self, system: System) -> Change:
        """See `Action.preview`."""
        before = read_accounts(system.read)
        effect = Effect.UPDATE if before.group.find(self.name) else Effect.CREATE
        try:
            after = account_changes.with_group(before, self)
        except ActionError as error:
            return Change(effect, f"would be refused: {error}")
        words = account_changes.describe_group(before, after, self.name)
        number = f", gid {self.gid}" if effect is Effect.CREATE and self.gid is not None else ""
        return Change(effect, words + number) if words else ALREADY_SO

    async def apply(self, target: Target) -> None:
        """See `Action.apply`."""
        system = target.system
        async with _locked(target):
            if not _has_tools(system):
                await finish_in_thread(partial(self._edit, system.files))
                return
            await account_tools.change_group(system, self, await asyncio.to_thread(_read, system.files))
            group = system.group(self.name)
            for member in self.members:
                if system.user(member) and not (group and member in group.members):
                    await account_tools.add_member(system, self.name, member)
        # The tools refuse members who are no users yet.
        async with _locked(target, files=True):
            await finish_in_thread(partial(self._edit, system.files))

    def _edit(self, files: RootFS) -> None:
        before = _read(files)
        write_accounts(files, before, account_changes.with_group(before, self))


@dataclass(frozen=True, kw_only=True)
class EnsureUser(Action):
    """Make a user exist. An existing one keeps its number and home, and gets what is given here besides.

    Arguments:
        uid: wanted number; None = the next free one.
        primary_group: name; empty = a group of the user's own name, made with it.
        groups: supplementary groups to be in (never taken out of others).
        password: plain text or a crypt hash (`$5$ $6$ $y$ …`); None = leave as it is, locked for a new user;
            a reference is followed when it is applied.
        lock_password: make the password unusable.
        home: empty = `/home/NAME` for a new user.
        shell: empty = the system's default for a new user (/etc/default/useradd).
        create_home: make the home with the skeleton beneath the root (never overwrites anything).
        system: a number from the system range, and no home unless `home` says where.
        expire_date: last day of the account, as in 2031-12-31.
        inactive_days: days after the end of the password until the account is locked; -1 = never.

    Raises:
        ValueError: something cannot be in an account file; the message never holds the password.
    """

    kind: ClassVar[str] = "user"
    name: str
    uid: int | None = None
    gecos: str = ""
    home: str = ""
    shell: str = ""
    primary_group: str = ""
    groups: tuple[str, ...] = ()
    password: Secret | None = None
    lock_password: bool = False
    system: bool = False
    create_home: bool = True
    expire_date: str = ""
    inactive_days: int | None = None

    def __post_init__(self) -> None:
        account_names.demand_new_name(self.name)
        account_names.demand_number(self.uid, "uid")
        account_names.demand_field(self.gecos, "full name")
        for group in filter(None, (self.primary_group, *self.groups)):
            account_names.demand_name(group)
        for path, what in ((self.home, "home"), (self.shell, "shell")):
            if path:
                demand_path(path, root=True)
                account_names.demand_field(path, what)
        if isinstance(self.password, SecretStr):
            demand_password(self.password.get_secret_value())
        if self.expire_date:
            account_names.demand_date(self.expire_date)
        if self.inactive_days is not None and self.inactive_days < -1:
            raise ValueError("inactive_days counts days; -1 means never")

    @property
    def target(self) -> str:
        """The name."""
        return self.name

    def provides(self) -> frozenset[Resource]:
        """See `Action.provides`: the user, the group that is made with it, and the home."""
        own = {Resource("user", self.name)}
        if not self.primary_group:
            own.add(Resource("group", self.name))
        if self._wants_home:
            own.add(path_resource(self.home or f"/home/{self.name}"))
        return frozenset(own)

    def requires(self) -> frozenset[Resource]:
        """See `Action.requires`: the groups."""
        named = {Resource("group", group) for group in (self.primary_group, *self.groups) if group}
        return frozenset(named) - self.provides()

    def preview(self, system: System) -> Change:
        """See `Action.preview`; a password is never shown, only that it changes."""
        own = () if self.primary_group else (self.name,)
        groups = [group for group in (self.primary_group, *self.groups) if group and group not in own]
        before = account_changes.with_assumed_groups(read_accounts(system.read), groups)
        there = before.passwd.find(self.name)
        effect = Effect.UPDATE if there else Effect.CREATE
        try:
            # A plain password that is not the present one is not hashed just to be looked at.
            after = account_changes.with_user(before, self, _today(), lambda _: "changed")
        except ActionError as error:
            return Change(effect, f"would be refused: {error}")
        home = there[5] if there else self.home or f"/home/{self.name}"
        words = list(filter(None, [account_changes.describe_user(before, after, self.name)]))
        words += [f"password from {self.password}"] * isinstance(self.password, SecretReference)
        words += [f"uid {self.uid}"] * (there is None and self.uid is not None)
        words += [f"new home {home}"] * (self._wants_home and home not in _NO_HOMES and system.status(home) is None)
        return Change(effect, ", ".join(words)) if words else ALREADY_SO

    async def apply(self, target: Target) -> None:
        """See `Action.apply`; the home comes last, and is found missing after a crash before it."""
        system, known = target.system, await self._follow(target)
        async with _locked(target):
            before, after = await asyncio.to_thread(known._compare, system.files)
            if _has_tools(system):
                await account_tools.change_user(system, known, before, after)
            else:
                await finish_in_thread(partial(write_accounts, system.files, before, after))
        if self._wants_home:
            await asyncio.to_thread(self._make_home, system, after)

    async def _follow(self, target: Target) -> EnsureUser:
        """Return the same user with the password itself in place of a reference."""
        if not isinstance(self.password, SecretReference):
            return self
        password = await target.secrets.resolve_text(self.password)
        try:
            return replace(self, password=password)
        except ValueError as error:
            raise ActionError(str(error), where=str(self.password)) from None

    @property
    def _wants_home(self) -> bool:
        return self.create_home and not (self.system and not self.home)

    def _compare(self, files: RootFS) -> tuple[Accounts, Accounts]:
        before = _read(files)
        return before, account_changes.with_user(before, self, _today(), to_stored_form)

    def _make_home(self, system: System, accounts: Accounts) -> None:
        user = system.user(self.name)
        if user and user.home not in _NO_HOMES:
            mode = accounts.defined("HOME_MODE")
            make_home(system.files, user.home, mode=mode, uid=user.uid, gid=user.gid)


def _read(files: RootFS) -> Accounts:
    return read_accounts(lambda path: files.read(path, LIMIT))


def _today() -> date:
    return datetime.now(UTC).date()


def _has_tools(system: System) -> bool:
    return system.live and system.program("useradd") is not None


@asynccontextmanager
async def _locked(target: Target, *, files: bool = False) -> AsyncIterator[None]:
    """Keep others from changing accounts meanwhile.

    The tools lock the files themselves, but give up when many of them wait: so they take turns by a lock of
    our own, unless `files` are going to be edited.
    """
    system = target.system
    if _has_tools(system) and not files:
        path = target.runs / "accounts.lock"
    else:
        await asyncio.to_thread(_make_etc, system.files)
        path = system.files.real("/etc/.pwd.lock")
    descriptor = await lock(path, LOCK_PATIENCE)
    try:
        yield
    finally:
        os.close(descriptor)


def _make_etc(files: RootFS) -> None:
    if files.status("/etc") is None:
        files.make_directory("/etc", mode=0o755, uid=0, gid=0)
