"""Whose rights a job has: those of an account that is not the agent's, nor another slot's, where the agent is root."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from typing import TypedDict

from ucvm_agent.errors import JobError

_PATH = "/usr/local/bin:/usr/bin:/bin"


class Rights(TypedDict, total=False):
    """Arguments of `subprocess.Popen`."""

    user: int
    group: int
    extra_groups: tuple[int, ...]


@dataclass(frozen=True)
class Account:
    """An account by name and numbers."""

    name: str
    uid: int
    gid: int

    @property
    def other(self) -> bool:
        """Whether it is not the account that this process has."""
        return self.uid != os.geteuid()

    def become(self) -> None:
        """Give up all rights but those of this account, for good."""
        if self.other:
            os.setgroups([])
            os.setresgid(self.gid, self.gid, self.gid)
            os.setresuid(self.uid, self.uid, self.uid)

    def environment(self, home: str) -> dict[str, str]:
        """Return all of the environment that its programs get; nothing of the agent's is in it."""
        names = {"USER": self.name, "LOGNAME": self.name}
        return {"PATH": _PATH, "HOME": home, "LANG": "C.UTF-8", "SHELL": "/bin/sh"} | names

    def rights(self) -> Rights:
        """Return the arguments by which a subprocess gets the rights of this account."""
        return {"user": self.uid, "group": self.gid, "extra_groups": ()} if self.other else {}


def find_account(name: str, slot: int) -> Account:
    """Return the account of the jobs of a slot: `NAME-3` for the third where there is one, else that of all, `NAME`.

    With an account for each slot, no job can read, signal or trace another slot's. An agent that is not root cannot
    give its rights away: its jobs run with its own, whatever `name` says. That is for laptops and tests; such a job
    can harm whatever its owner can harm.

    Raises:
        JobError: there is no such account, or it is root's.
    """
    if os.geteuid() != 0:
        return Account(_own_name(), os.geteuid(), os.getegid())
    try:
        entry = _entry(f"{name}-{slot}") or pwd.getpwnam(name)
    except KeyError as error:
        hint = f"make it: useradd --system --no-create-home --shell /usr/sbin/nologin {name}"
        raise JobError("the account of jobs does not exist", where=f"jobs.user = {name!r}", hint=hint) from error
    if entry.pw_uid == 0 or entry.pw_gid == 0:
        raise JobError(f"jobs may not have the rights of root, as {entry.pw_name}", where=f"jobs.user = {name!r}")
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _entry(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _own_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
