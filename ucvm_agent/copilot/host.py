"""The description of a machine that an agent sends when it asks for a job (references/copilot-protocol.md, section 5).

It looks like a ClassAd, but nothing in it is escaped: no value may hold what ends it.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

_FORBIDDEN = str.maketrans("", "", '[]{};"\r\n')
_MEMORY = {"MemTotal": "Memory", "MemFree": "FreeMemory", "SwapTotal": "Swap", "SwapFree": "FreeSwap"}
_MEMORY_LINE = re.compile(r"(\w+):\s+([0-9]{1,18}) kB")
_NUMBER = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Description:
    """What a machine says of itself; what it does not say is empty or None.

    Arguments:
        host: its name.
        kernel: release, as `uname -r` says.
        platform: `Linux-x86_64`.
        disk: free space for jobs, in KiB.
        memory, free_memory, swap, free_swap: in MiB.
        others: all else, as it stands there, lists in parts.
    """

    host: str = ""
    kernel: str = ""
    platform: str = ""
    disk: int | None = None
    memory: int | None = None
    free_memory: int | None = None
    swap: int | None = None
    free_swap: int | None = None
    others: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)


def host_description(home: Path = Path("/"), proc: Path = Path("/proc")) -> str:
    """Describe this machine. It may ask the DNS for its name, so call it in a thread.

    Arguments:
        home: a folder on the file system that jobs have for themselves.
        proc: the kernel's.
    """
    kernel = os.uname()
    values = {
        "Type": '"machine"',
        "Requirements": '(other.Type=="Job")',
        "WNHost": _quoted(socket.getfqdn()),
        "Version": '"0"',
    }
    with suppress(OSError):
        values["LocalDiskSpace"] = str(shutil.disk_usage(home).free // 1024)
    values["Uname"] = _quoted(kernel.release)
    values |= _memory(proc)
    values["Platform"] = _quoted(f"{kernel.sysname}-{kernel.machine}".replace(" ", ""))
    return "".join(["[\n", *(f"{name}={value};\n" for name, value in values.items()), "]\n"])


def read_description(text: str) -> Description:
    """Read a description as the original does, which splits at each semicolon; what makes no sense is left out."""
    values: dict[str, str | tuple[str, ...]] = {}
    for line in text.replace("[", "").replace("]", "").split(";"):
        name, equals, value = line.partition("=")
        if equals and name.strip():
            values[name.strip()] = _value(value.strip())
    return Description(
        host=_text(values.pop("WNHost", "")),
        kernel=_text(values.pop("Uname", "")),
        platform=_text(values.pop("Platform", "")),
        disk=_number(values.pop("LocalDiskSpace", "")),
        memory=_number(values.pop("Memory", "")),
        free_memory=_number(values.pop("FreeMemory", "")),
        swap=_number(values.pop("Swap", "")),
        free_swap=_number(values.pop("FreeSwap", "")),
        others=values,
    )


def _quoted(value: str) -> str:
    return f'"{value.translate(_FORBIDDEN)}"'


def _memory(proc: Path) -> dict[str, str]:
    """Return the sizes in whole MiB; one that is zero is left out."""
    try:
        text = (proc / "meminfo").read_text("ascii", "replace")
    except OSError:
        return {}
    sizes = {name: int(size) // 1024 for name, size in _MEMORY_LINE.findall(text)}
    return {ours: str(sizes[theirs]) for theirs, ours in _MEMORY.items() if sizes.get(theirs)}


def _value(value: str) -> str | tuple[str, ...]:
    if value.startswith("{") and value.endswith("}"):
        return tuple(part.strip().strip('"') for part in value[1:-1].split(",") if part.strip())
    if len(value) > 1 and value.startswith('"') and value.endswith('"'):
        return value[1:-1]
    return value


def _text(value: str | tuple[str, ...]) -> str:
    return value if isinstance(value, str) else ", ".join(value)


def _number(value: str | tuple[str, ...]) -> int | None:
    return int(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else None
