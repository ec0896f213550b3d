"""The account files as they are on the disk: passwd(5), group(5), shadow(5), gshadow(5), login.defs(5).

Editing is done on values: `Accounts` in, `Accounts` out, and only what differs is written. A line that is not
edited stays byte for byte, well-formed or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ucvm_agent.files.rootfs import RootFS

LIMIT = 64 * 1024 * 1024
"""Most bytes that are read of an account file: half a million accounts."""

WIDTHS = {"gshadow": 4, "group": 4, "shadow": 9, "passwd": 7}
"""Fields of a line. A file that others refer to is written after those, so the order matters: a group or user
exists when it is in group or passwd, and a crash before that leaves only lines that the next run takes over."""

_DEFAULTS = {
    "UID_MIN": 1000,
    "UID_MAX": 60000,
    "SYS_UID_MIN": 101,
    "SYS_UID_MAX": 999,
    "GID_MIN": 1000,
    "GID_MAX": 60000,
    "SYS_GID_MIN": 101,
    "SYS_GID_MAX": 999,
    "PASS_MIN_DAYS": 0,
    "PASS_MAX_DAYS": 99999,
    "PASS_WARN_AGE": 7,
    "HOME_MODE": 0o700,
}

Row = tuple[str, ...]
Read = Callable[[str], bytes | None]


@dataclass(frozen=True, slots=True)
class Table:
    """One account file.

    Arguments:
        lines: without line ends; the last one is empty if the file ends with one.
        width: number of fields of a well-formed line.
    """

    lines: tuple[bytes, ...]
    width: int

    @property
    def content(self) -> bytes:
        """The file."""
        return b"\n".join(self.lines)

    def rows(self) -> Iterator[Row]:
        """Yield the fields of the well-formed lines."""
        for line in self.lines:
            if row := self._row(line):
                yield row

    def find(self, name: str) -> Row | None:
        """Return the fields of the first line of that name, the one that counts."""
        return next((row for row in self.rows() if row[0] == name), None)

    def put(self, row: Row) -> Table:
        """Replace the line of that name, or add one: before those of NIS (`+…`), which have to be the last."""
        line = ":".join(row).encode(errors="surrogateescape")
        for number, old in enumerate(self.lines):
            found = self._row(old)
            if found and found[0] == row[0]:
                return replace(self, lines=(*self.lines[:number], line, *self.lines[number + 1 :]))
        end = len(self.lines) - (not self.lines[-1])
        end = next((number for number, old in enumerate(self.lines) if old.startswith((b"+", b"-"))), end)
        return replace(self, lines=(*self.lines[:end], line, *(self.lines[end:] or (b"",))))

    def numbers(self) -> frozenset[int]:
        """Return the uids or gids that are in use."""
        return frozenset(int(row[2]) for row in self.rows() if row[2].isdecimal())

    def _row(self, line: bytes) -> Row | None:
        fields = tuple(line.decode(errors="surrogateescape").split(":"))
        return fields if len(fields) == self.width and fields[0] and fields[0][0] not in "+-" else None


@dataclass(frozen=True, slots=True)
class Accounts:
    """All account files beneath a root; shadow and gshadow are None where the system has none.

    Arguments:
        definitions: login.defs.
        shell: the shell of new users.
    """

    passwd: Table
    group: Table
    shadow: Table | None
    gshadow: Table | None
    definitions: Mapping[str, str]
    shell: str

    def defined(self, name: str) -> int:
        """Return a number of login.defs (octal or hexadecimal ones too), or its default."""
        text = self.definitions.get(name, "")
        try:
            return int(text, 8 if text.startswith("0") and text.isdecimal() else 0)
        except ValueError:
            return _DEFAULTS[name]

    def password_of(self, name: str) -> str | None:
        """Return what is stored as the password of a user; None if the user does not exist."""
        user = self.passwd.find(name)
        if user is None:
            return None
        stored = (self.shadow.find(name) if self.shadow else None) or user
        return "!" if stored[1] == "x" else stored[1]

    def group_name(self, gid: str) -> str:
        """Return the name of the group with that number, or the number."""
        return next((row[0] for row in self.group.rows() if row[2] == gid), gid)


def read_accounts(read: Read) -> Accounts:
    """Read the account files; `read` returns the content of a file or None.

    Where even passwd is missing, shadow is made with it, so that no password gets into a file for all to read.
    """
    found = {name: read(f"/etc/{name}") for name in WIDTHS}
    if found["passwd"] is None and found["shadow"] is None:
        found["shadow"] = b""
    tables = {
        name: Table(tuple((content or b"").split(b"\n")), WIDTHS[name])
        for name, content in found.items()
        if content is not None or name in ("passwd", "group")
    }
    useradd = _definitions(read("/etc/default/useradd"), "=")
    return Accounts(
        passwd=tables["passwd"],
        group=tables["group"],
        shadow=tables.get("shadow"),
        gshadow=tables.get("gshadow"),
        definitions=_definitions(read("/etc/login.defs"), None),
        shell=useradd.get("SHELL") or "/bin/sh",
    )


def write_accounts(files: RootFS, before: Accounts, after: Accounts) -> None:
    """Write the files that differ, each as a whole, in the order of `WIDTHS`; modes and owners stay.

    Raises:
        ActionError: the system refuses.
    """
    for name in WIDTHS:
        old, new = getattr(before, name), getattr(after, name)
        if new is None or new == old:
            continue
        path = f"/etc/{name}"
        there = files.status(path)
        if there:
            files.write(path, new.content, mode=there.mode, uid=there.uid, gid=there.gid)
        else:
            secret = name in ("shadow", "gshadow")
            readers = after.group.find("shadow") if secret else None
            gid = int(readers[2]) if readers and readers[2].isdecimal() else 0
            files.write(path, new.content, mode=0o640 if secret else 0o644, uid=0, gid=gid)


def _definitions(content: bytes | None, separator: str | None) -> dict[str, str]:
    """Return the settings of a file with one `NAME value` (or `NAME=value`) a line."""
    pairs = (line.strip().split(separator, 1) for line in (content or b"").decode(errors="replace").splitlines())
    return {pair[0].strip(): pair[1].strip().strip('"') for pair in pairs if len(pair) == 2 and pair[0][:1] != "#"}
