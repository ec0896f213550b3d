"""The description of a machine that an agent sends when it asks for a job (references/copilot-protocol.md, section 5).

It looks like a ClassAd, but nothing in it is escaped: no value may hold what ends it.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
from contextlib import suppress
from pathlib import Path

_FORBIDDEN = str.maketrans("", "", '[]{};"\r\n')
_MEMORY = {"MemTotal": "Memory", "MemFree": "FreeMemory", "SwapTotal": "Swap", "SwapFree": "FreeSwap"}
_MEMORY_LINE = re.compile(r"(\w+):\s+([0-9]{1,18}) kB")


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
