"""What the machine itself says about where it runs, read from /sys, /proc and /run without any network.

References/clouds.md, section 1, lists the signs of each platform.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path

from ucvm_agent.sources.volumes.device import Device, list_devices

DMI = "sys/class/dmi/id"

_PARAMETERS = ("ds", "ci.ds", "ci.datasource", "ignition.platform.id")
"""Kernel parameters that name a platform, as cloud-init, Ignition and Afterburn read them."""
_PLATFORMS = {
    "aws": "ec2",
    "gcp": "gce",
    "nocloud-net": "nocloud",
    "vmware": "vsphere",
    "ovf": "vsphere",
}
"""Sources by the names that others have for them."""


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
        container_product: `product_name` in the environment of process 1 (LXD), or an empty string.
    """

    dmi: dict[str, str] = field(default_factory=dict)
    hypervisor_uuid: str = ""
    kernel_command_line: str = ""
    volumes: tuple[Device, ...] = ()
    root: Path = Path("/")
    container_product: str = ""

    @classmethod
    def read(cls, root: Path = Path("/")) -> Machine:
        """Read the signs of the machine that `root` belongs to; what cannot be read is left out."""
        folder = root / DMI
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        dmi = {name: text for name in names if (text := _text(folder / name))}
        variables = dict(word.split("=", 1) for word in _text(root / "proc/1/environ").split("\0") if "=" in word)
        return cls(
            dmi,
            _text(root / "sys/hypervisor/uuid"),
            _text(root / "proc/cmdline"),
            tuple(list_devices(root)),
            root,
            variables.get("product_name", ""),
        )

    @property
    def named_source(self) -> str:
        """The source that a kernel parameter names (`ds=nocloud;s=…`), or an empty string; the last one counts."""
        named = ""
        for word in self.kernel_command_line.split():
            name, _, value = word.partition("=")
            if name in _PARAMETERS:
                platform = value.strip('"').partition(";")[0].lower()
                named = _PLATFORMS.get(platform, platform)
        return named


def split_command_line(line: str) -> list[str]:
    """Return the words of the kernel command line, without the quotes round them."""
    try:
        return shlex.split(line)
    except ValueError:  # a quote that nobody has closed
        return line.split()


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip() if path.is_file() else ""
    except OSError:
        return ""
