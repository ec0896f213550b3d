"""Public keys in a user's authorized_keys (sshd(8)), in a folder that the user may meddle with."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ucvm_agent.contextualize.actions.account_names import demand_name
from ucvm_agent.contextualize.actions.base import ALREADY_SO, Action, Change, Effect, Resource
from ucvm_agent.contextualize.actions.difference import content_difference
from ucvm_agent.contextualize.system import User
from ucvm_agent.errors import ActionError
from ucvm_agent.files.rootfs import RootFS
from ucvm_agent.public_key import parse_public_key

if TYPE_CHECKING:
    from ucvm_agent.contextualize.system import System
    from ucvm_agent.contextualize.target import Target

FILE = ".ssh/authorized_keys"
LIMIT = 16 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class AuthorizeKeys(Action):
    """Add OpenSSH public keys to a user's `~/.ssh/authorized_keys` (0700 and 0600, owned by the user).

    Keys are compared by their blob, so that another comment or option does not make a second line.

    Raises:
        ValueError: one of them is no public key.
    """

    kind: ClassVar[str] = "authorized_keys"
    user: str
    keys: tuple[str, ...]

    def __post_init__(self) -> None:
        demand_name(self.user)
        for key in self.keys:
            parse_public_key(key)

    @property
    def target(self) -> str:
        """The user's name."""
        return self.user

    def requires(self) -> frozenset[Resource]:
        """See `Action.requires`: the user."""
        return frozenset({Resource("user", self.user)})

    def preview(self, system: System) -> Change:
        """See `Action.preview`: a diff of the file."""
        user = _find_user(system, self.user) or User(self.user, 0, 0, "", f"/home/{self.user}", "")
        before = b""
        try:
            if system.status(user.home) is not None:
                before = read_keys(system.files, user)
        except ActionError as error:
            if not isinstance(error.__cause__, PermissionError):
                return Change(Effect.UPDATE, f"would be refused: {error}")
        after = with_keys(before, self.keys)
        if after == before:
            return ALREADY_SO
        path = f"{user.home.rstrip('/')}/{FILE}"
        count = after.count(b"\n") - before.count(b"\n")
        diff = content_difference(path, before or None, after)
        return Change(Effect.UPDATE if before else Effect.CREATE, f"{count} more in {path}", diff)

    async def apply(self, target: Target) -> None:
        """See `Action.apply`."""
        await asyncio.to_thread(self._apply, target.system)

    def _apply(self, system: System) -> None:
        user = _find_user(system, self.user)
        if user is None:
            raise ActionError(f"there is no user {self.user}", hint="make the user first")
        if user.uid == 0 and system.status(user.home) is None:
            system.files.make_directory(user.home, mode=0o700, uid=0, gid=0)
        write_keys(system.files, user, self.keys)


def with_keys(content: bytes, keys: Iterable[str]) -> bytes:
    """Return the content of an authorized_keys with these keys added that are not in it yet."""
    known = set(_blobs(content))
    for key in map(parse_public_key, keys):
        if key.blob not in known:
            known.add(key.blob)
            content += (b"" if not content or content.endswith(b"\n") else b"\n") + key.line.encode() + b"\n"
    return content


def read_keys(files: RootFS, user: User) -> bytes:
    """Return the content of a user's authorized_keys; empty if there is none.

    Raises:
        ActionError: the file or its folder is a link, or somebody else's.
    """
    with _home(files, user) as home, _folder(home, user, make=False) as folder:
        return b"" if folder is None else _read(folder, user)


def write_keys(files: RootFS, user: User, keys: Iterable[str]) -> None:
    """Add keys to a user's authorized_keys, atomically; nothing that the user put there is followed.

    Raises:
        ActionError: as in `read_keys`, or the system refuses.
    """
    with _home(files, user) as home, _folder(home, user, make=True) as folder:
        if folder is not None:
            _replace(folder, user, with_keys(_read(folder, user), keys))


def _find_user(system: System, name: str) -> User | None:
    """Return a user; root is there even beneath a root that has no account files yet."""
    return system.user(name) or (User("root", 0, 0, "root", "/root", "/bin/sh") if name == "root" else None)


def _blobs(content: bytes) -> Iterator[bytes]:
    for line in content.decode(errors="replace").splitlines():
        with suppress(ValueError):
            yield parse_public_key(line).blob


@contextmanager
def _home(files: RootFS, user: User) -> Iterator[int]:
    """Open the home, whose path is root's business."""
    home = files.real(user.home)
    try:
        descriptor = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise ActionError(f"the home of {user.name} cannot be opened: {error.strerror}", where=user.home) from error
    try:
        yield descriptor
    except OSError as error:
        raise ActionError(f"{error.strerror}", where=f"{user.home}/{FILE}") from error
    finally:
        os.close(descriptor)


@contextmanager
def _folder(home: int, user: User, *, make: bool) -> Iterator[int | None]:
    """Open `.ssh`; None if there is none and none is to be made."""
    if make:
        with suppress(FileExistsError):
            os.mkdir(".ssh", 0o700, dir_fd=home)
    try:
        descriptor = os.open(".ssh", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=home)
    except FileNotFoundError:
        yield None
        return
    except NotADirectoryError as error:
        raise ActionError("is no directory", where=f"{user.home}/.ssh", hint="move it away") from error
    try:
        _demand_owner(descriptor, user, f"{user.home}/.ssh")
        if make:
            _give(descriptor, user, 0o700)
        yield descriptor
    finally:
        os.close(descriptor)


def _read(folder: int, user: User) -> bytes:
    where = f"{user.home}/{FILE}"
    try:
        descriptor = os.open("authorized_keys", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise ActionError("is a link, or cannot be read", where=where, hint="move it away") from error
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ActionError("is no regular file", where=where, hint="move it away")
        _demand_owner(descriptor, user, where)
        content = file.read(LIMIT + 1)
    if len(content) > LIMIT:
        raise ActionError(f"is larger than {LIMIT} bytes", where=where)
    return content


def _replace(folder: int, user: User, content: bytes) -> None:
    name = ".authorized_keys.ucvm-new"
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=folder)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        _give(descriptor, user, 0o600)
        os.fsync(descriptor)
    os.rename(name, "authorized_keys", src_dir_fd=folder, dst_dir_fd=folder)
    os.fsync(folder)


def _demand_owner(descriptor: int, user: User, where: str) -> None:
    if os.fstat(descriptor).st_uid not in (0, user.uid):
        message = f"belongs neither to {user.name} nor to root"
        raise ActionError(message, where=where, hint="look who made it, and remove it")


def _give(descriptor: int, user: User, mode: int) -> None:
    os.fchown(descriptor, user.uid, user.gid)
    os.fchmod(descriptor, mode)
