"""What the machine itself says about where it runs, read from /sys, /proc and /run without any network.

References/clouds.md, section 1, lists the signs of each platform.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ucvm_agent.sources.volumes.device import Device, list_devices

DMI = "sys/class/dmi/id"


@dataclass(frozen=True, slots=True)
class Machine:
    """The signs that sources look for.

    Arguments:
        dmi: the fields of the SMBIOS tables by their kernel name (`sys_vendor`, `product_uuid`, …), stripped;
            those that are absent or unreadable are missing.
        hypervisor_uuid: `/sys/hypervisor/uuid` (Xen), or an empty string.
        kernel_command_line: `/proc/cmdline`.
        volumes: its block devices, with label and file system where udev tells everybody.
        root: what is treated as /, for files that are signs.
    """

    dmi: dict[str, str] = field(default_factory=dict)
    hypervisor_uuid: str = ""
    kernel_command_line: str = ""
    volumes: tuple[Device, ...] = ()
    root: Path = Path("/")

    @classmethod
    def read(cls, root: Path = Path("/")) -> Machine:
        """Read the signs of the machine that `root` belongs to; what cannot be read is left out."""
        folder = root / DMI
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        dmi = {name: text for name in names if (text := _text(folder / name))}
        hypervisor, kernel = _text(root / "sys/hypervisor/uuid"), _text(root / "proc/cmdline")
        return cls(dmi, hypervisor, kernel, tuple(list_devices(root)), root)


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip() if path.is_file() else ""
    except OSError:
        return ""
