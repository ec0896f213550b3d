"""Looking for files on the volumes of the machine, or on one that is named."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

import structlog

from ucvm_agent.errors import SourceAbsent, SourceError, SourceRefused, SourceUnavailable
from ucvm_agent.sources.base import Candidate
from ucvm_agent.sources.volumes.device import Device, list_devices
from ucvm_agent.sources.volumes.medium import SECONDS, open_medium
from ucvm_agent.sources.volumes.superblock import FileSystem, read_superblock
from ucvm_agent.sources.volumes.volume import Volume, open_volume

log = structlog.get_logger()

T = TypeVar("T")

_GRACE = 5.0
"""Seconds beyond the bound of a volume, after which a drive that does not even answer is left alone."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The volumes that a source looks at.

    Arguments:
        what: is on them, for people.
        labels: that they should have; only those are looked at if `only_labelled`, else those first.
        file_systems: that they may have.
    """

    what: str
    labels: tuple[str, ...] = ()
    file_systems: frozenset[FileSystem] = field(default_factory=lambda: frozenset(FileSystem))
    only_labelled: bool = False

    def candidate(self, devices: tuple[Device, ...], named: str = "") -> Candidate:
        """Say from what the machine tells of its volumes whether to look.

        Arguments:
            named: the volume that the settings name, if they do.
        """
        if named:
            return Candidate(True, f"{named} is named")
        for device in devices:
            if self.may_be(device) and device.is_labelled(*self.labels):
                return Candidate(True, f"{device.path} has the label {device.label}")
        if all(device.file_system is not None for device in devices):
            suitable = [device.path for device in devices if self.may_be(device)]
            if self.only_labelled or not suitable:
                labels = f" with the label {' or '.join(self.labels)}" if self.only_labelled else ""
                return Candidate(False, f"there is no volume of the kind {self._kinds}{labels}")
            return Candidate(None, f"{', '.join(suitable)} may hold {self.what}")
        return Candidate(None, "the machine does not tell what its volumes are")

    def may_be(self, device: Device) -> bool:
        """Tell whether a device has a suitable file system, as far as it is known."""
        # A disc that is both, ISO 9660 and UDF, is UDF for udev.
        known = self.file_systems | ({FileSystem.UDF} if FileSystem.ISO9660 in self.file_systems else set())
        return device.file_system is None or device.file_system in known

    @property
    def _kinds(self) -> str:
        return ", ".join(sorted(self.file_systems))


@dataclass(frozen=True, slots=True)
class Hit(Generic[T]):
    """Where something was found, and what."""

    device: str
    content: T


async def search(wanted: Wanted, look: Callable[[Volume], T | None], named: str = "") -> Hit[T]:
    """Return what `look` finds on the first volume that holds it.

    Arguments:
        look: reads files of a volume, in a thread; None = this is not such a volume.
        named: a path to an image or device, which is then the only one that is looked at.

    Raises:
        SourceAbsent: no volume holds it. SourceRefused, SourceUnavailable: the volume that should cannot be read.
    """
    if named:
        content = await look_into(named, look)
        if content is None:
            raise SourceAbsent(f"it holds no {wanted.what}", where=named)
        return Hit(named, content)
    hits, failures = await _look_into_all(wanted, look, first_only=True)
    if hits:
        return hits[0]
    for device, failure in failures.items():
        if device.is_labelled(*wanted.labels):
            raise failure
    closed = [device.path for device, failure in failures.items() if isinstance(failure, SourceRefused)]
    hint = f"{', '.join(closed)} could not be read; --log-level debug tells why" if closed else ""
    raise SourceAbsent(f"no volume of this machine holds {wanted.what}", hint=hint)


async def search_all(wanted: Wanted, look: Callable[[Volume], T | None], named: str = "") -> list[Hit[T]]:
    """Return what `look` finds on each volume that holds something, in the order of the devices.

    A volume that cannot be read is left out, with a warning if it has the label.
    """
    if named:
        content = await look_into(named, look)
        return [] if content is None else [Hit(named, content)]
    hits, _ = await _look_into_all(wanted, look, first_only=False)
    return hits


async def look_into(path: str, look: Callable[[Volume], T]) -> T:
    """Return what `look` makes of the volume of an image or device.

    Raises:
        SourceError: it cannot be read.
    """

    def work(stop: threading.Event) -> T:
        with open_volume(path, stop) as volume:
            return look(volume)

    return await _in_thread(path, work)


async def _look_into_all(
    wanted: Wanted, look: Callable[[Volume], T | None], *, first_only: bool
) -> tuple[list[Hit[T]], dict[Device, SourceError]]:
    """Return what was found, and why volumes could not be read."""
    devices = await _suitable(wanted)
    labelled = [device.path for device in devices if device.is_labelled(*wanted.labels)]
    if first_only and len(labelled) > 1:
        log.warning("several volumes have the label, the first sound one is used", volumes=labelled)
    hits: list[Hit[T]] = []
    failures: dict[Device, SourceError] = {}
    for device in devices:
        try:
            content = await look_into(device.path, look)
        except SourceError as error:
            failures[device] = error
            say = log.warning if device.path in labelled else log.debug
            say("a volume cannot be used", device=device.path, reason=str(error))
            continue
        if content is not None:
            hits.append(Hit(device.path, content))
            if first_only:
                break
    return hits, failures


async def _suitable(wanted: Wanted) -> list[Device]:
    """Return the devices to look at, in order; those of which nothing is said are asked for their label."""
    devices = [
        device if device.file_system is not None else await _identified(device)
        for device in await asyncio.to_thread(list_devices)
        if wanted.may_be(device)
    ]
    labelled = [device for device in devices if device.is_labelled(*wanted.labels)]
    others = [device for device in devices if device not in labelled]
    return [device for device in (labelled if wanted.only_labelled else labelled + others) if wanted.may_be(device)]


async def _identified(device: Device) -> Device:
    def work(stop: threading.Event) -> Device:
        with open_medium(device.path, stop) as medium:
            superblock = read_superblock(medium)
        label, file_system = (superblock.label, superblock.file_system) if superblock else ("", "")
        return replace(device, label=label, file_system=file_system)

    try:
        return await _in_thread(device.path, work)
    except SourceError as error:
        log.debug("a volume was not identified", device=device.path, reason=str(error))
        return device


async def _in_thread(path: str, work: Callable[[threading.Event], T]) -> T:
    """Do blocking work in a thread, which ends at its next read when nobody waits for it any more."""
    stop = threading.Event()
    try:
        async with asyncio.timeout(SECONDS + _GRACE):
            return await asyncio.to_thread(work, stop)
    except TimeoutError:
        raise SourceUnavailable("the drive does not answer", where=path) from None
    finally:
        stop.set()
