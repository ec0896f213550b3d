"""A machine in QEMU, driven by its serial console, by ssh, and by pulling its plug.

Its network is QEMU's own and leads nowhere (`restrict=on`), except to what a test serves on loopback
(`Hardware.services`). It needs no privileges.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.servers.ports import free_port

PATIENCE = 300.0
"""Seconds for anything that a machine does; emulated on two busy cores, one takes a minute and more to boot."""
_GUEST = "169.254.0.15"
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")
LAYER = "/dev/disk/by-id/virtio-ucvm-layer"
_EC2 = "ec2d3e4f-0001-4000-8000-000000000001"
EC2 = f"type=1,manufacturer=Amazon EC2,uuid={_EC2},serial={_EC2}"
"""Firmware of a machine of Amazon (references/clouds.md, section 1)."""


@dataclass(frozen=True, slots=True)
class Hardware:
    """What a machine is made of.

    Arguments:
        image: folder with `vmlinuz`, `initrd.img` and `root.squashfs`.
        disks: images of disks, in the order of `vdb`, `vdc`, …; those whose name ends in `.iso` cannot be written.
        firmware: options of `-smbios`.
        services: ports of loopback by the address and port where the machine finds them (`169.254.169.254:80`).
        parameters: of the kernel, beside those that every machine has.
        key: the private ssh key to log in with.
    """

    image: Path
    disks: Sequence[Path] = ()
    firmware: Sequence[str] = ()
    services: Mapping[str, int] = field(default_factory=dict)
    parameters: str = ""
    key: Path | None = None


class Machine:
    """One time that the power is on.

    Arguments:
        folder: for its log and sockets.
        name: of its log; what the console says goes to `NAME.log`.
    """

    def __init__(self, folder: Path, hardware: Hardware, name: str = "machine") -> None:
        self.log = folder / f"{name}.log"
        self._hardware = hardware
        self._monitor = folder / f"{name}.qmp"
        self._ssh_port = free_port()
        self._said = ""
        self._more = asyncio.Condition()

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            "qemu-system-x86_64",
            *self._options(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.cut()
        if error is not None:
            print(f"--- {self.log}\n{self._said[-20_000:]}")

    async def cut(self) -> None:
        """Cut the power."""
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await self._reader

    async def shut_down(self) -> None:
        """Press the power button, and wait for the end."""
        await self._ask("system_powerdown")
        async with asyncio.timeout(PATIENCE):
            await self._process.wait()

    async def until(self, pattern: str, seconds: float = PATIENCE) -> re.Match[str]:
        """Wait for the console to say something, or to have said it."""
        expected = re.compile(pattern)
        async with asyncio.timeout(seconds), self._more:
            while (match := expected.search(self._said)) is None:
                if self._reader.done():
                    raise AssertionError(f"the machine has ended without saying {pattern!r}")
                await self._more.wait()
            return match

    def said(self, pattern: str) -> bool:
        """Tell whether the console has said something."""
        return re.search(pattern, self._said) is not None

    async def run(self, command: str, user: str = "root") -> str:
        """Run a command in the machine by ssh, and return what it prints; a refused connection is tried again."""
        ended = await asyncio.create_subprocess_exec(
            *("ssh", "-p", str(self._ssh_port), "-i", str(self._hardware.key), "-o", "StrictHostKeyChecking=no"),
            *("-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=120"),
            *("-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", f"{user}@127.0.0.1", command),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(PATIENCE):
            output, errors = await ended.communicate()
        assert ended.returncode == 0, f"{command}: {errors.decode()}{output.decode()}"
        return output.decode()

    async def plug(self, *, connected: bool) -> None:
        """Put the network cable in, or take it out."""
        await self._ask("set_link", name="nic", up=connected)

    async def read_bytes(self) -> int:
        """Return how much has been read from the layer."""
        devices = await self._ask("query-blockstats")
        return next(int(device["stats"]["rd_bytes"]) for device in devices if device["device"] == "layer")

    @property
    def pid(self) -> int:
        """The process that the machine is."""
        return self._process.pid

    async def _ask(self, command: str, **arguments: object) -> Any:
        """Let QEMU's monitor do something, and return its answer."""
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_unix_connection(self._monitor)
            await reader.readline()
            for request in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}):
                writer.write(json.dumps(request).encode() + b"\n")
                answer = json.loads(await reader.readline())
                while "event" in answer:
                    answer = json.loads(await reader.readline())
            writer.close()
            await writer.wait_closed()
        assert "return" in answer, answer
        return answer["return"]

    def _options(self) -> list[str]:
        hardware = self._hardware
        image = hardware.image
        command_line = f"console=ttyS0 systemd.show_status=0 ucvm.boot.layer=squashfs:{LAYER} {hardware.parameters}"
        forwarded = f"hostfwd=tcp:127.0.0.1:{self._ssh_port}-{_GUEST}:22"
        served = [f"guestfwd=tcp:{place}-cmd:busybox nc 127.0.0.1 {port}" for place, port in hardware.services.items()]
        # Its own network has the link-local addresses, so that QEMU lets the test serve one of them.
        network = ",".join(["user,id=net,restrict=on,net=169.254.0.0/16", f"dhcpstart={_GUEST}", forwarded, *served])
        options = ["-accel", "tcg", "-cpu", "Nehalem", "-m", "768", "-smp", "1", "-nodefaults", "-no-reboot"]
        options += ["-display", "none", "-serial", "stdio"]
        options += ["-qmp", f"unix:{self._monitor},server=on,wait=off"]
        options += ["-kernel", f"{image}/vmlinuz", "-initrd", f"{image}/initrd.img", "-append", command_line]
        options += ["-netdev", network, "-device", "virtio-net-pci,id=nic,netdev=net,romfile="]
        options += ["-device", "virtio-rng-pci"]
        options += _disk("layer", image / "root.squashfs", read_only=True)
        for number, disk in enumerate(hardware.disks):
            options += _disk(f"disk{number}", disk, read_only=disk.suffix == ".iso")
        for option in hardware.firmware:
            options += ["-smbios", option]
        return options

    async def _read(self) -> None:
        assert self._process.stdout is not None
        with self.log.open("wb") as log:
            while piece := await self._process.stdout.read(65536):
                log.write(piece)
                log.flush()
                async with self._more:
                    self._said += _ANSI.sub("", piece.decode(errors="replace"))
                    self._more.notify_all()
        async with self._more:
            self._more.notify_all()


def make_disk(path: Path, mebibytes: int = 1024) -> Path:
    """Make an empty disk."""
    with path.open("wb") as file:
        file.truncate(mebibytes * 1024 * 1024)
    return path


def _disk(name: str, path: Path, *, read_only: bool) -> list[str]:
    mode = "on" if read_only else "off"
    drive = f"file={path},format=raw,if=none,id={name},readonly={mode}"
    return ["-drive", drive, "-device", f"virtio-blk-pci,drive={name},serial=ucvm-{name}"]
