"""The host name, and units of the init system."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ucvm_agent.contextualize.actions.attributes import demand_path, path_resource
from ucvm_agent.contextualize.actions.base import ALREADY_SO, Action, Change, Effect, Resource
from ucvm_agent.contextualize.actions.tools import run_program, run_tool
from ucvm_agent.contextualize.actions.units import (
    demand_unit_name,
    enable_by_hand,
    find_install,
    full_name,
    is_active,
)
from ucvm_agent.errors import ActionError

if TYPE_CHECKING:
    from ucvm_agent.contextualize.system import System
    from ucvm_agent.contextualize.target import Target

MAX_HOSTNAME = 64
"""Characters that the kernel keeps (HOST_NAME_MAX); RFC 1123 would allow 255."""

START_TIMEOUT = 300.0
"""Seconds that a unit may take to start or to restart."""

_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


def demand_hostname(name: str, longest: int = MAX_HOSTNAME) -> None:
    """Raise ValueError unless this is a host name (RFC 1123, section 2.1), and no IPv4 address."""
    labels = name.split(".")
    if len(name) > longest:
        raise ValueError(f"a host name has at most {longest} characters")
    if not all(_LABEL.fullmatch(label) for label in labels) or (len(labels) > 1 and labels[-1].isdecimal()):
        raise ValueError("expected a host name: letters, digits and inner `-` between dots, and no address")


@dataclass(frozen=True, kw_only=True)
class SetHostname(Action):
    """Set the host name: /etc/hostname, and the kernel's name if the root is `/`.

    Raises:
        ValueError: it is no host name.
    """

    kind: ClassVar[str] = "hostname"
    hostname: str

    def __post_init__(self) -> None:
        demand_hostname(self.hostname)

    @property
    def target(self) -> str:
        """The name."""
        return self.hostname

    def provides(self) -> frozenset[Resource]:
        """See `Action.provides`: the file."""
        return frozenset({path_resource("/etc/hostname")})

    def preview(self, system: System) -> Change:
        """See `Action.preview`."""
        written = (system.read("/etc/hostname") or b"").decode(errors="replace").strip()
        words = []
        if written != self.hostname:
            words.append(f"{written or 'no host name'} becomes {self.hostname}")
        if system.live and (name := socket.gethostname()) != self.hostname:
            words.append(f"the kernel's {name} becomes {self.hostname}")
        effect = Effect.UPDATE if written else Effect.CREATE
        return Change(effect, ", ".join(words)) if words else ALREADY_SO

    async def apply(self, target: Target) -> None:
        """See `Action.apply`; the file comes first, since it is what counts after the next boot."""
        await asyncio.to_thread(self._apply, target.system)

    def _apply(self, system: System) -> None:
        system.files.write("/etc/hostname", f"{self.hostname}\n".encode(), mode=0o644, uid=0, gid=0)
        if system.live and socket.gethostname() != self.hostname:
            try:
                socket.sethostname(self.hostname)
            except OSError as error:
                message = f"the kernel refuses the host name: {error.strerror}"
                raise ActionError(message, hint="run as root, in a UTS namespace of the machine's own") from error


@dataclass(frozen=True, kw_only=True)
class EnableUnit(Action):
    """Enable a systemd unit, and start it at once where the root is `/` and systemd runs.

    Raises:
        ValueError: it is no name of a unit.
    """

    kind: ClassVar[str] = "unit"
    unit: str
    start: bool = True

    def __post_init__(self) -> None:
        demand_unit_name(self.unit)

    @property
    def target(self) -> str:
        """The unit."""
        return self.unit

    def preview(self, system: System) -> Change:
        """See `Action.preview`; a unit that is not there yet may come with an earlier action."""
        try:
            install = find_install(system.files, full_name(self.unit))
        except ActionError as error:
            return Change(Effect.UPDATE, f"would be refused: {error}")
        words = []
        if install is None or any(system.status(link, follow=False) is None for link in install.links):
            words.append("enabled")
        if self.start and system.facts.has_systemd and not is_active(system, self.unit):
            words.append("started")
        return Change(Effect.UPDATE, " and ".join(words)) if words else ALREADY_SO

    async def apply(self, target: Target) -> None:
        """See `Action.apply`."""
        system, unit = target.system, full_name(self.unit)
        if not system.live and await asyncio.to_thread(find_install, system.files, unit) is None:
            raise ActionError(f"there is no unit {unit}", hint="install what it belongs to, or look at its name")
        if system.facts.has_systemd:
            now = ["--now"] if self.start else []
            await run_tool(system, "systemctl", "enable", *now, "--", unit, patience=START_TIMEOUT)
        elif systemctl := shutil.which("systemctl"):
            await run_program(systemctl, f"--root={system.root.absolute()}", "enable", "--", unit)
        else:
            await asyncio.to_thread(enable_by_hand, system.files, unit)


@dataclass(frozen=True, kw_only=True)
class RestartUnit(Action):
    """Restart (or reload, if it can) a running unit; nothing to do where systemd does not run.

    Arguments:
        because: paths of this plan; restarted only if one of them was changed in this run.

    Raises:
        ValueError: it is no name of a unit, or `because` names no path.
    """

    kind: ClassVar[str] = "restart"
    unit: str
    because: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        demand_unit_name(self.unit)
        for path in self.because:
            demand_path(path)

    @property
    def target(self) -> str:
        """The unit."""
        return self.unit

    @property
    def causes(self) -> frozenset[Resource]:
        """See `Action.causes`: the paths."""
        return frozenset(path_resource(path) for path in self.because)

    def requires(self) -> frozenset[Resource]:
        """See `Action.requires`: the paths that it waits for."""
        return self.causes

    def preview(self, system: System) -> Change:
        """See `Action.preview`."""
        if not system.facts.has_systemd:
            return Change(Effect.NONE, "systemd does not run here")
        return Change(Effect.RUN, "restarted or reloaded, if it is running")

    async def apply(self, target: Target) -> None:
        """See `Action.apply`."""
        system, unit = target.system, full_name(self.unit)
        if not system.facts.has_systemd or (self.because and target.changed.isdisjoint(self.because)):
            return
        if any(path.startswith("/etc/systemd/system/") for path in target.changed):
            await run_tool(system, "systemctl", "daemon-reload")
        await run_tool(system, "systemctl", "try-reload-or-restart", "--", unit, patience=START_TIMEOUT)
