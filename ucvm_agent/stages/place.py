"""Where the state of a machine lies, and which boot of it this is: what a `Store` is opened with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ucvm_agent.files.rootfs import RootFS
from ucvm_agent.store import FILE_NAME

if TYPE_CHECKING:
    from ucvm_agent.settings import Settings

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def state_file(settings: Settings) -> Path:
    """Return the real path of the file with the state of the system beneath the root."""
    return RootFS(settings.root).real(str(settings.state_dir)) / FILE_NAME


def boot_id() -> str:
    """Return the id of this boot of the kernel."""
    return BOOT_ID.read_text().strip()
