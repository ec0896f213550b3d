"""What a contextualizer or a preview may know of the system: files, accounts, facts. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ucvm_agent.contextualize.rootfs import RootFS, Status


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
    which is never so for a root other than `/`.
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
        self.root = root
        self.files = RootFS(root)

    @property
    def live(self) -> bool:
        """Whether this is the running system, so that its own tools may be used."""
        raise NotImplementedError

    @property
    def facts(self) -> Facts:
        """The facts, gathered once."""
        raise NotImplementedError

    def read(self, path: str, limit: int = 16 * 1024 * 1024) -> bytes | None:
        """Return the content of a regular file, or None if there is none or it may not be read."""
        raise NotImplementedError

    def status(self, path: str, *, follow: bool = True) -> Status | None:
        """Return what is at `path`, or None."""
        raise NotImplementedError

    def user(self, name: str) -> User | None:
        """Return the user of that name from the account files beneath the root."""
        raise NotImplementedError

    def group(self, name: str) -> Group | None:
        """Return the group of that name from the account files beneath the root."""
        raise NotImplementedError

    def program(self, name: str) -> str | None:
        """Return the absolute path (as seen from inside the root) of an executable on the usual PATH."""
        raise NotImplementedError
