"""CernVM's extra user-data: files on any volume, added to what another source gave.

References/clouds.md, section 2.9, and references/ucernvm-boot.md, section 1 (step 07). On a machine that µCernVM's
bootloader has started they are on a disk like any other, so this needs no hand-over.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ucvm_agent.errors import SourceAbsent
from ucvm_agent.sources import base
from ucvm_agent.sources.base import MAX_BODY, Candidate, Found
from ucvm_agent.sources.identity import with_instance_id
from ucvm_agent.sources.volumes.search import Wanted, search_all
from ucvm_agent.sources.volumes.volume import Volume

if TYPE_CHECKING:
    from ucvm_agent.settings import Extra
    from ucvm_agent.sources.machine import Machine

EXTRA, PICKUP = "cernvm/extra-user-data", "cernvm/pickup.tar.gz"
WANTED = Wanted("extra user-data")


@dataclass(frozen=True, slots=True)
class _Files:
    """What one volume has."""

    extra: bytes | None = field(repr=False)
    pickup: bytes | None = field(repr=False)


class Source(base.Source):
    """Extra user-data of all volumes, one behind the other, and the pickup archive of the last that has one.

    By itself it is a source like the others, for the dry run of a volume.
    """

    name = "extra"
    rank = 90
    adds = True
    local = True

    def __init__(self, settings: Extra) -> None:
        self._device = settings.device

    def candidate(self, machine: Machine) -> Candidate:
        """Any volume may hold the files."""
        return WANTED.candidate(machine.volumes, self._device)

    async def fetch(self) -> Found:
        """Read all volumes; there is no user-data but the extra one."""
        found = await self.add_to(Found(self.name, self._device, None))
        if found.extra_data is None and found.pickup is None:
            raise SourceAbsent("no volume holds extra user-data", where=self._device)
        return await with_instance_id(found)

    async def add_to(self, found: Found) -> Found:
        """Return what another source found, with the extra user-data of this machine."""
        if found.extra_data is not None:
            return found  # the bootloader has read the same volumes
        hits = await search_all(WANTED, _read_volume, self._device)
        if not hits:
            return found
        extra = b""
        pickup = found.pickup
        for hit in hits:
            if hit.content.extra is not None and len(extra) + len(hit.content.extra) <= MAX_BODY:
                # A last line without its end must not run into the next volume's first one.
                extra += hit.content.extra if hit.content.extra.endswith(b"\n") else hit.content.extra + b"\n"
            pickup = hit.content.pickup or pickup
        origin = ", ".join(filter(None, [found.origin, *(f"{hit.device} (extra)" for hit in hits)]))
        return replace(found, origin=origin, extra_data=extra or None, pickup=pickup)


def _read_volume(volume: Volume) -> _Files | None:
    files = _Files(volume.read(EXTRA), volume.read(PICKUP))
    return None if files.extra is None and files.pickup is None else files
