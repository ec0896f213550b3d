"""What a contextualizer or a preview may know of the system: files, accounts, facts. Reads only."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ucvm_agent.errors import ActionError
from ucvm_agent.files.rootfs import Kind, RootFS, Status

PROGRAM_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
"""Where programs are looked for, beneath the root, whatever the environment says."""

ENVIRONMENT = {"PATH": ":".join(PROGRAM_PATH), "LANG": "C.UTF-8"}
"""All that programs which we start get of the agent's environment: the same at every boot."""


@dataclass(frozen=True, slots=True)
class User:
    """A line of /etc/passwd."""

    name: str
    uid: int
    gid: int
    gecos: str
    home: str
    shell: str


@dataclass(frozen=True, slots=True)
class Group:
    """A line of /etc/group."""

    name: str
    gid: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """What does not change while the agent runs.

    `os_id` is `ID` of os-release (`debian`, `almalinux`, …); `has_systemd` says that systemd runs *now*,
    which is never so for a root other than `/`. `memory` is in bytes.
    """

    hostname: str
    machine: str
    kernel: str
    cpus: int
    memory: int
    os_id: str
    os_version: str
    has_systemd: bool


class System:
    """The system beneath a root directory, as it is now.

    Arguments:
        root: the root directory; `/` is the running system itself.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.files = RootFS(self.root)

    @cached_property
    def live(self) -> bool:
        """Whether this is the running system, so that its own tools may be used."""
        return self.root.resolve() == Path("/")

    @cached_property
    def facts(self) -> Facts:
        """The facts, gathered once."""
        machine = os.uname()
        release = self._os_release()
        return Facts(
            hostname=machine.nodename if self.live else self._hostname(),
            machine=machine.machine,
            kernel=machine.release,
            cpus=len(os.sched_getaffinity(0)),
            memory=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
            os_id=release.get("ID", "linux"),
            os_version=release.get("VERSION_ID", ""),
            has_systemd=self.live and Path("/run/systemd/system").is_dir(),
        )

    def read(self, path: str, limit: int = 16 * 1024 * 1024) -> bytes | None:
        """Return the content of a regular file, or None if there is none or it may not be read."""
        try:
            return self.files.read(path, limit)
        except ActionError as error:
            if isinstance(error.__cause__, OSError):
                return None
            raise

    def status(self, path: str, *, follow: bool = True) -> Status | None:
        """Return what is at `path`, or None if there is nothing or it may not be seen."""
        try:
            return self.files.status(path, follow=follow)
        except ActionError as error:
            if isinstance(error.__cause__, OSError):
                return None
            raise

    def user(self, name: str) -> User | None:
        """Return the user of that name from the account files beneath the root; on `/` any that NSS knows."""
        for fields in self._accounts("/etc/passwd", 7):
            uid, gid = _number(fields[2]), _number(fields[3])
            if fields[0] == name and uid is not None and gid is not None:
                return User(name, uid, gid, *fields[4:])
        if self.live:
            with suppress(KeyError, ValueError):
                known = pwd.getpwnam(name)
                return User(name, known.pw_uid, known.pw_gid, known.pw_gecos, known.pw_dir, known.pw_shell)
        return None

    def group(self, name: str) -> Group | None:
        """Return the group of that name from the account files beneath the root; on `/` any that NSS knows."""
        for fields in self._accounts("/etc/group", 4):
            gid = _number(fields[2])
            if fields[0] == name and gid is not None:
                return Group(name, gid, tuple(member for member in fields[3].split(",") if member))
        if self.live:
            with suppress(KeyError, ValueError):
                known = grp.getgrnam(name)
                return Group(name, known.gr_gid, tuple(known.gr_mem))
        return None

    def program(self, name: str) -> str | None:
        """Return the absolute path (as seen from inside the root) of an executable on the usual PATH.

        An absolute `name` is that path itself, if it can be executed.
        """
        for path in [name] if name.startswith("/") else [f"{folder}/{name}" for folder in PROGRAM_PATH]:
            there = self.status(path)
            if there is not None and there.kind is Kind.FILE and there.mode & 0o111:
                return path
        return None

    def _text(self, path: str) -> str:
        return (self.read(path) or b"").decode(errors="surrogateescape")

    def _accounts(self, path: str, width: int) -> Iterator[list[str]]:
        """Yield the fields of each line that has as many as it should; the rest is not for us to repair."""
        for line in self._text(path).split("\n"):
            fields = line.split(":")
            if len(fields) == width:
                yield fields

    def _hostname(self) -> str:
        lines = (line.strip() for line in self._text("/etc/hostname").splitlines())
        return next((line for line in lines if line and not line.startswith("#")), "")

    def _os_release(self) -> dict[str, str]:
        """Return the fields of os-release(5)."""
        text = self._text("/etc/os-release") or self._text("/usr/lib/os-release")
        pairs = (line.strip().partition("=") for line in text.splitlines() if not line.lstrip().startswith("#"))
        return {key: value.strip("\"'") for key, _, value in pairs}


def _number(field: str) -> int | None:
    """Return a user or group number; the largest one means "none" to the kernel."""
    number = int(field) if len(field) <= 10 and field.isascii() and field.isdecimal() else -1
    return number if 0 <= number < 2**32 - 1 else None
