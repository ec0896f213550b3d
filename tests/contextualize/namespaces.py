"""Namespaces of a test's own, for what can be tried on `/` only."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

_MAY_MOUNT = 1 << 21
"""CAP_SYS_ADMIN, which root lacks in some containers."""

_SHARED = """
mount --bind {folder} {folder}
if grep -q ' {folder} .* shared:' /proc/self/mountinfo; then
    umount {folder}
    echo 'mounts in this chroot show outside: make its root a mount point' >&2
    exit 1
fi
"""


def _capabilities() -> int:
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["CapEff"], 16)


needs_namespaces = pytest.mark.skipif(
    not _capabilities() & _MAY_MOUNT, reason="mounts over /etc, which needs root with CAP_SYS_ADMIN"
)


def run_apart(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a shell script whose mounts, and whose host name, nobody else sees.

    They can be made private only where the root is a mount point, which it is not in most chroots. There they are
    private if those outside are, which a first harmless one shows.

    Arguments:
        folder: of the test; may be mounted over.
    """
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    if any(mount.split()[4] == "/" for mount in mounts):
        propagation = "private"
    else:
        propagation, script = "unchanged", _SHARED.format(folder=folder) + script
    command = ["unshare", "--mount", "--uts", f"--propagation={propagation}", "sh", "-e", "-c", script]
    return subprocess.run(command, capture_output=True, text=True, check=False)
