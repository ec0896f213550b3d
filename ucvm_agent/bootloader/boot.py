"""The order of things: scratch file system, user-data, layer, union (references/ucernvm-boot.md, section 1).

Only a missing layer keeps a machine from starting. Whatever else is wrong is said aloud, and done without.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

from ucvm_agent.bootloader import handover, microcontext, scratch, union
from ucvm_agent.bootloader.console import say, shout
from ucvm_agent.bootloader.layer import Layer, folder_below
from ucvm_agent.bootloader.mounting import clear, run
from ucvm_agent.bootloader.scratch import Scratch
from ucvm_agent.bootloader.wishes import Wishes, read_wishes
from ucvm_agent.errors import BootError, UserDataError
from ucvm_agent.settings import Settings
from ucvm_agent.sources.base import Found
from ucvm_agent.sources.machine import Machine
from ucvm_agent.userdata.context import Context
from ucvm_agent.userdata.decode import decode

PARTS = Path("/run/ucvm-boot")
"""Where the parts are mounted until they are in their places."""
_LAYER, _SCRATCH, _MEMORY, _MEDIUM = (PARTS / name for name in ("ro", "rw", "memory", "medium"))


async def boot(root: Path, settings: Settings, kernel_command_line: str, *, network: bool) -> None:
    """Make the root file system.

    Arguments:
        root: where.
        network: it is up.

    Raises:
        BootError: there is no layer, or no union can be laid over it.
    """
    layer = Layer.parse(settings.boot.layer)
    await asyncio.to_thread(_clear, root)
    existing = await asyncio.to_thread(_attach_existing)
    machine = await asyncio.to_thread(Machine.read)
    known = _saved(existing.folder) if existing else None
    micro = await microcontext.read(settings, machine, network=network and known is None)
    context = micro.context if micro.found or known is None else _decoded(known)
    wishes = read_wishes(context, kernel_command_line)
    place = existing
    if place is None:
        place = await asyncio.to_thread(_make, wishes, layer)
    await asyncio.to_thread(_lay, root, layer, wishes, place, settings.boot.device_timeout, micro.found)


def _clear(root: Path) -> None:
    """Take away what an earlier try has mounted: the scratch file system can be checked only while nobody uses it."""
    if PARTS.is_dir() and root.is_mount() and not root.samefile("/"):
        run("umount", "--recursive", root)
    clear(PARTS)


def _attach_existing() -> Scratch | None:
    try:
        devices = scratch.find()
    except BootError as error:
        # One may be there all the same: another one beside it would tear the machine's memory in two.
        shout(f"no scratch file system can be looked for, all changes are lost when the machine stops: {error}")
        return Scratch(union.make_memory(_SCRATCH))
    if len(devices) > 1:
        shout(
            f"several file systems have the label {scratch.LABEL}: {', '.join(devices)}; the first, the oldest, is used"
        )
    if not devices:
        return None
    try:
        place = scratch.attach(devices[0], _SCRATCH)
    except BootError as error:
        shout(f"the scratch file system cannot be used, all changes are lost when the machine stops: {error}")
        return Scratch(union.make_memory(_SCRATCH))
    if place.full:
        shout(f"the scratch file system {devices[0]} is full, new changes are lost when the machine stops")
    else:
        say(f"the scratch file system is {devices[0]}")
    return place


def _make(wishes: Wishes, layer: Layer) -> Scratch:
    try:
        if wishes.spares_second_disk:
            raise BootError("the context forbids to take an empty disk", where="use_boothd")
        device = scratch.make(limited=wishes.limited, spared=layer.device)
        say(f"{device} was empty and is the scratch file system now")
        return scratch.attach(device, _SCRATCH)
    except BootError as error:
        shout(f"there is no scratch file system, all changes are lost when the machine stops: {error}")
        return Scratch(union.make_memory(_SCRATCH))


def _saved(folder: Path) -> Found | None:
    """Return the user-data that the bootloader has saved at an earlier start."""
    saved, vendor_data = folder / handover.FOLDER, None
    with suppress(OSError):
        vendor_data = (saved / "vendor-data").read_bytes()
    with suppress(OSError):
        return Found("bootloader", str(folder), (saved / "user-data").read_bytes(), vendor_data)
    return None


def _decoded(found: Found) -> Context:
    try:
        return decode(found)
    except UserDataError as error:
        shout(f"the saved user-data cannot be used: {error}")
        return Context("")


def _lay(root: Path, layer: Layer, wishes: Wishes, place: Scratch, seconds: float, found: Found | None) -> None:
    writable = union.make_writable(place, _MEMORY)
    layer.attach(wishes, _LAYER, writable, _MEDIUM, seconds)
    base = folder_below(_LAYER, wishes.path) if wishes.path else _LAYER
    union.lay(base, place, writable, root)
    if found:
        _save(found, writable)
    try:
        union.show(_LAYER, writable, root)
    except BootError as error:
        shout(f"the parts of the root are not shown in it: {error}")
    of = f"{layer.kind}:{layer.place}{f' {wishes.path}' if wishes.path else ''}"
    say(f"the root is {of} beneath {place.device if place.device and not place.full else 'memory'}")


def _save(found: Found, writable: Path) -> None:
    say(f"there are user-data from {found.source} {found.origin}")
    try:
        handover.save(found, writable)
    except OSError as error:
        shout(f"the user-data cannot be saved: {error.strerror}")
