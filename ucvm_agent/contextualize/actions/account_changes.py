"""What the account files have to be for a group or a user to be as wanted.

One pure function for each, from `Accounts` to `Accounts`. The preview, the editing of the files and the use of
the system's own tools all follow from the difference between the two.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING

from ucvm_agent.contextualize.actions.account_files import Accounts, Row
from ucvm_agent.contextualize.actions.passwords import matches
from ucvm_agent.contextualize.actions.secret import SecretReference
from ucvm_agent.errors import ActionError

if TYPE_CHECKING:
    from ucvm_agent.contextualize.actions.accounts import EnsureGroup, EnsureUser

StoredForm = Callable[[str], str]
"""Turns a password into what is stored of it."""

UNUSABLE = "!"
"""Stored as the password of a user who has none."""

_EPOCH = date(1970, 1, 1)


def with_group(accounts: Accounts, wanted: EnsureGroup) -> Accounts:
    """Return the accounts with this group, and its members in it.

    Raises:
        ActionError: another group has the wanted number, or none is free.
    """
    if accounts.group.find(wanted.name) is None:
        taken = accounts.group.numbers()
        if wanted.gid is not None and wanted.gid in taken:
            owner = accounts.group_name(str(wanted.gid))
            raise ActionError(f"gid {wanted.gid} belongs to group {owner}", hint="choose another gid, or none")
        gid = _free_number(accounts, "GID", taken, system=wanted.system) if wanted.gid is None else wanted.gid
        accounts = _with_new_group(accounts, wanted.name, gid)
    return with_members(accounts, wanted.name, wanted.members)


def with_members(accounts: Accounts, group: str, names: Iterable[str]) -> Accounts:
    """Return the accounts with these members in a group that exists."""
    there = accounts.group.find(group)
    missing = [name for name in dict.fromkeys(names) if there and name not in _members(there)]
    if not there or not missing:
        return accounts
    changed = replace(accounts, group=accounts.group.put(_joined(there, missing)))
    hidden = accounts.gshadow.find(group) if accounts.gshadow else None
    if accounts.gshadow and hidden:
        missing = [name for name in missing if name not in _members(hidden)]
        changed = replace(changed, gshadow=accounts.gshadow.put(_joined(hidden, missing)))
    return changed


def with_assumed_groups(accounts: Accounts, names: Iterable[str]) -> Accounts:
    """Return the accounts with all these groups, for a preview: an earlier action may make those that are missing.

    An assumed group has its name for a number.
    """
    for name in names:
        if accounts.group.find(name) is None:
            accounts = replace(accounts, group=accounts.group.put((name, "x", name, "")))
    return accounts


def with_user(accounts: Accounts, wanted: EnsureUser, today: date, stored_form: StoredForm) -> Accounts:
    """Return the accounts with this user, as wanted.

    Arguments:
        today: the day that is noted with a new password.

    Raises:
        ActionError: another user has the wanted number, none is free, or a group does not exist.
    """
    there = accounts.passwd.find(wanted.name)
    before = accounts.password_of(wanted.name)
    if there is None:
        accounts, row = _new_user(accounts, wanted)
    else:
        gid = _gid(accounts, wanted.primary_group) if wanted.primary_group else there[3]
        row = (*there[:3], gid, wanted.gecos or there[4], there[5], wanted.shell or there[6])
    for group in wanted.groups:
        _gid(accounts, group)
        accounts = with_members(accounts, group, (wanted.name,))
    password = _password(wanted, before, stored_form)
    if password != before:
        row = (row[0], "x" if accounts.shadow else password, *row[2:])
    if accounts.shadow:
        # A line without its user is what a crash left behind: it is made anew.
        old = (accounts.shadow.find(wanted.name) if there else None) or _new_shadow(accounts, wanted.name)
        new = _with_ageing(_with_password(old, password, today) if password != before else old, wanted)
        if there is None or new != old:
            accounts = replace(accounts, shadow=accounts.shadow.put(new))
    return replace(accounts, passwd=accounts.passwd.put(row))


def describe_group(before: Accounts, after: Accounts, name: str) -> str:
    """Say for people how a group differs; empty if it does not."""
    old, new = before.group.find(name), after.group.find(name)
    known = _members(old) if old else []
    words = ["new group"] if old is None else []
    words += [f"with {member}" for member in (_members(new) if new else []) if member not in known]
    return ", ".join(words)


def describe_user(before: Accounts, after: Accounts, name: str) -> str:
    """Say for people how a user differs, without secrets; empty if nothing does."""
    old, new = before.passwd.find(name), after.passwd.find(name)
    words = []
    if old is None:
        words.append("new user")
    elif new and old != new:
        for label, position in (("name", 4), ("shell", 6)):
            if old[position] != new[position]:
                words.append(f"{label} {old[position]!r} becomes {new[position]!r}")
        if old[3] != new[3]:
            words.append(f"primary group {before.group_name(old[3])} becomes {after.group_name(new[3])}")
    words += [f"in group {group}" for group in joined_groups(before, after, name)]
    return ", ".join(words + _describe_shadow(before, after, name))


def joined_groups(before: Accounts, after: Accounts, name: str) -> list[str]:
    """Return the groups that a user is in afterwards, and not before."""
    known = {row[0] for row in before.group.rows() if name in _members(row)}
    return [row[0] for row in after.group.rows() if name in _members(row) and row[0] not in known]


def _describe_shadow(before: Accounts, after: Accounts, name: str) -> list[str]:
    old, new = before.password_of(name), after.password_of(name) or UNUSABLE
    words = []
    if old != new:
        locked = new.startswith("!") and new.lstrip("!") == (old or "")
        changed = "password changed" if before.passwd.find(name) else "with a password"
        words.append("password locked" if locked else changed)
    was, now = (table and table.find(name) for table in (before.shadow, after.shadow))
    if now and now[6] != (was[6] if was else ""):
        words.append(f"locked {now[6]} days after its password expires")
    if now and now[7] != (was[7] if was else ""):
        words.append(f"expires {_EPOCH + timedelta(days=int(now[7]))}")
    return words


def _new_user(accounts: Accounts, wanted: EnsureUser) -> tuple[Accounts, Row]:
    taken = accounts.passwd.numbers()
    own_group = not wanted.primary_group and accounts.group.find(wanted.name) is None
    if wanted.uid is not None and wanted.uid in taken:
        owner = next(row[0] for row in accounts.passwd.rows() if row[2].isdecimal() and int(row[2]) == wanted.uid)
        raise ActionError(f"uid {wanted.uid} belongs to user {owner}", hint="choose another uid, or none")
    both = taken | accounts.group.numbers() if own_group else taken
    uid = _free_number(accounts, "UID", both, system=wanted.system) if wanted.uid is None else wanted.uid
    if own_group:
        gids = accounts.group.numbers()
        gid = uid if uid not in gids else _free_number(accounts, "GID", gids, system=wanted.system)
        accounts = _with_new_group(accounts, wanted.name, gid)
    home = wanted.home or f"/home/{wanted.name}"
    primary = _gid(accounts, wanted.primary_group or wanted.name)
    return accounts, (wanted.name, "x", str(uid), primary, wanted.gecos, home, wanted.shell or accounts.shell)


def _with_new_group(accounts: Accounts, name: str, gid: int) -> Accounts:
    gshadow = accounts.gshadow.put((name, "!", "", "")) if accounts.gshadow else None
    return replace(accounts, group=accounts.group.put((name, "x", str(gid), "")), gshadow=gshadow)


def _gid(accounts: Accounts, group: str) -> str:
    found = accounts.group.find(group)
    if found is None:
        raise ActionError(f"there is no group {group}", hint="make the group first")
    return found[2]


def _members(row: Row) -> list[str]:
    return [member for member in row[3].split(",") if member]


def _joined(row: Row, names: Iterable[str]) -> Row:
    return (*row[:3], ",".join([*_members(row), *names]))


def _free_number(accounts: Accounts, kind: str, taken: Collection[int], *, system: bool) -> int:
    """Return a number as useradd(8) chooses it: system ones downwards, others above the highest in use."""
    prefix = f"SYS_{kind}" if system else kind
    low, high = accounts.defined(f"{prefix}_MIN"), accounts.defined(f"{prefix}_MAX")
    if system:
        order = range(high, low - 1, -1)
    else:
        first = max((number + 1 for number in taken if low <= number < high), default=low)
        order = range(first, high + 1)
    for numbers in (order, range(low, high + 1)):
        if (free := next((number for number in numbers if number not in taken), None)) is not None:
            return free
    raise ActionError(
        f"no number between {low} and {high} is free", where="/etc/login.defs", hint=f"raise {prefix}_MAX"
    )


def _password(wanted: EnsureUser, before: str | None, stored_form: StoredForm) -> str:
    """Return what is to be stored as the password; `before` is None for a new user."""
    bare = (before or "").lstrip("!")
    if wanted.password is None:
        stored = UNUSABLE if before is None else before
    elif isinstance(wanted.password, SecretReference):
        stored = stored_form(str(wanted.password))  # a preview, which does not know it
    else:
        given = wanted.password.get_secret_value()
        stored = bare if matches(given, bare) else stored_form(given)
    return f"!{stored}" if wanted.lock_password and not stored.startswith(("!", "*")) else stored


def _new_shadow(accounts: Accounts, name: str) -> Row:
    ageing = (str(accounts.defined(f"PASS_{item}")) for item in ("MIN_DAYS", "MAX_DAYS", "WARN_AGE"))
    return (name, UNUSABLE, "", *ageing, "", "", "")


def _with_password(row: Row, password: str, today: date) -> Row:
    return (row[0], password, str((today - _EPOCH).days), *row[3:])


def _with_ageing(row: Row, wanted: EnsureUser) -> Row:
    expire = str((date.fromisoformat(wanted.expire_date) - _EPOCH).days) if wanted.expire_date else row[7]
    inactive = row[6] if wanted.inactive_days is None else str(wanted.inactive_days)
    return (*row[:6], inactive, expire, row[8])
