"""A machine that starts by the real bootloader, without a kernel of its own.

It has a mount name space and no network: /dev has just its disks, /sys/block, /proc/partitions and /proc/cmdline are
its own, and /run is empty. The disks of the host are not there. What is mounted is unmounted when it ends.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.bootloader.disks import Disks, label

REPOSITORY = Path(__file__).parent.parent.parent
ROOT = "/run/root"
BOOT = f"{sys.executable} -m ucvm_agent.bootloader {ROOT}"


@dataclass(frozen=True, slots=True)
class Start:
    """What a start has come to.

    Arguments:
        code: exit code of the bootloader, or of what was run after it.
        console: what the bootloader has said.
        output: of what was run in the new root.
    """

    code: int
    console: str
    output: str


@dataclass(slots=True)
class Machine:
    """A machine.

    Arguments:
        folder: for what it needs.
        programs: its own in place of the host's, as shell scripts.
    """

    folder: Path
    disks: Disks
    programs: dict[str, str] = field(default_factory=dict)

    def start(self, command_line: str, script: str = "", *, boot: str = BOOT) -> Start:
        """Start it, run a script in the new root, and stop it.

        Arguments:
            command_line: of the kernel.
            script: for a shell that has its working folder there, outside of it.
            boot: commands that make the root, instead of the bootloader's alone.
        """
        for name, text in self.programs.items():
            program = self.folder / "programs" / name
            program.parent.mkdir(exist_ok=True)
            program.write_text(f"#!/bin/sh\n{text}\n")
            program.chmod(0o755)
        (self.folder / "cmdline").write_text(f"{command_line}\n")
        lines = [*self._stand_ins(), boot, f"cd {ROOT}", script]
        environment = os.environ | {
            "PATH": f"{self.folder}/programs:/usr/sbin:/usr/bin:/sbin:/bin",
            "PYTHONPATH": str(REPOSITORY),
        }
        ended = subprocess.run(
            ["unshare", "--mount", "--net", "--propagation", "private", "sh", "-e", "-c", "\n".join(lines)],
            capture_output=True,
            text=True,
            env=environment,
            timeout=120,
        )
        return Start(ended.returncode, ended.stderr, ended.stdout)

    def _stand_ins(self) -> list[str]:
        partitions = ["major minor #blocks name", ""]
        nodes = ["mount -t tmpfs tmpfs /dev", "mkdir -p /dev/disk/by-label", "mknod /dev/loop-control c 10 237"]
        nodes += [f"mknod /dev/{name} c 1 {minor}" for name, minor in (("null", 3), ("zero", 5), ("urandom", 9))]
        nodes.append("ln -s /proc/self/fd/2 /dev/kmsg")
        # Not those of its disks only: `mount` may want one for an image in a file.
        nodes += [f"mknod /dev/loop{minor} b 7 {minor}" for minor in range(256)]
        for device in self.disks.devices:
            entry = self.disks.sys / Path(device).name
            major, minor = (entry / "dev").read_text().strip().split(":")
            partitions.append(f"{major} {minor} {int((entry / 'size').read_text()) // 2} {entry.name}")
            if name := label(Path(device)):
                nodes.append(f"ln -sf {device} {shlex.quote(f'/dev/disk/by-label/{name}')}")
        (self.folder / "partitions").write_text("\n".join(partitions) + "\n")
        binds = {
            self.disks.sys: ("/sys/class/block", "/sys/block"),
            self.folder / "partitions": ("/proc/partitions",),
            self.folder / "cmdline": ("/proc/cmdline",),
        }
        mounts = [f"mount --bind {source} {target}" for source, targets in binds.items() for target in targets]
        return [*mounts, *nodes, "mount -t tmpfs tmpfs /run", f"mkdir {ROOT}"]
