"""What the fields of accounts may hold."""

from __future__ import annotations

import re
from datetime import date

_NEW_NAME = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]{0,31}\$?")
_ID_MAX = 2**32 - 2


def demand_new_name(name: str) -> None:
    """Raise ValueError unless useradd(8) would make a user or group of this name."""
    if not _NEW_NAME.fullmatch(name) or name in (".", "..") or name.isdecimal():
        raise ValueError(
            "expected an account name: letters, digits, `_`, `.` and `-`, at most 32, `-` not first, not a number"
        )


def demand_name(name: str) -> None:
    """Raise ValueError unless this can be the name of something that exists: any that does not break the files."""
    if not name or not name.isprintable() or name[0] in "-+~" or any(c in ":,/ " for c in name) or len(name) > 256:
        raise ValueError(f"{name[:40]!r} cannot be the name of a user or group")


def demand_field(value: str, what: str) -> None:
    """Raise ValueError if `value` would break the line it gets into."""
    if ":" in value or not value.isprintable():
        raise ValueError(f"a {what} may hold no `:` and no line end, since it becomes a field of /etc/passwd")


def demand_number(number: int | None, what: str) -> None:
    """Raise ValueError unless this can be a uid or gid; the 16-bit and 32-bit -1 mean no change to chown(2)."""
    if number is not None and (not 0 <= number <= _ID_MAX or number == 65535):
        raise ValueError(f"{number} cannot be a {what}")


def demand_date(text: str) -> None:
    """Raise ValueError unless this is a day, as in 2031-12-31, that shadow(5) can hold."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = None
    if day is None or day.year < 1970:
        raise ValueError(f"{text[:20]!r} is not a day (write it as 2031-12-31)")
