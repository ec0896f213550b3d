"""Files of `KEY="VALUE"` lines that shells read, such as /etc/cvmfs/default.local and /etc/cernvm/site.conf."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

from ucvm_agent.contextualize.actions import WriteFile
from ucvm_agent.contextualize.base import System, put_block

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ACTIVE = re.compile(r'["\\$`\x00-\x1f\x7f]')


def _unquoted(value: object) -> object:
    """Take off the pair of quotes that a shell would (references/ucernvm-boot.md, section 3)."""
    if isinstance(value, str) and len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1]
    return value


def _plain(value: str) -> str:
    if found := _ACTIVE.search(value):
        shown = found.group() if found.group().isprintable() else "a control character"
        raise ValueError(f"a shell reads this value and would act on {shown}")
    return value


Plain = Annotated[str, BeforeValidator(_unquoted), AfterValidator(_plain)]
"""Text that means itself between double quotes of a shell and of everything that imitates one."""


def _variable(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"expected a variable name (letters, digits and _), not {name!r}")
    return name


Variable = Annotated[str, AfterValidator(_variable)]
"""The name of a shell variable."""


def assign(values: Iterable[tuple[str, str]]) -> str:
    """Return a line `KEY="VALUE"` for each pair; the values have to be `Plain`."""
    return "".join(f'{name}="{value}"\n' for name, value in values)


def export(values: Mapping[str, str]) -> str:
    """Return a line `export KEY=VALUE` for each pair, with any value quoted so that it means itself."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in values.items())


def add_block(system: System, path: str, name: str, lines: str, *, sensitive: bool = False) -> Iterator[WriteFile]:
    """Yield the file with these lines in our block; without any, only a file where an earlier context left a block."""
    there = system.read(path) or b""
    if lines or outside_block(there, name) != there:
        yield WriteFile(path=path, content=lines.encode(), block=name, sensitive=sensitive)


def outside_block(text: bytes, name: str) -> bytes:
    """Return what of a file is not in our block, and so comes from the image, its people or its scripts."""
    return put_block(text, name, b"")


def replace(text: str, values: Mapping[str, str]) -> str:
    """Return the text of such a file with these assignments in place of its own, and all other lines kept."""
    waiting = dict(values)
    lines: list[str] = []
    for line in text.splitlines():
        name = line.partition("=")[0].strip()
        if name not in values:
            lines.append(f"{line}\n")
        elif name in waiting:
            lines.append(assign([(name, waiting.pop(name))]))
    return "".join(lines) + assign(waiting.items())
