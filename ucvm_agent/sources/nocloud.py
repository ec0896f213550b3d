"""NoCloud: a labelled volume, a seed folder or a seed URL, for machines without a cloud.

References/clouds.md, section 2.8. What the kernel command line names comes first, then what the firmware or the
settings name, then seed folders and volumes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ucvm_agent.errors import SourceAbsent
from ucvm_agent.sources import base
from ucvm_agent.sources.base import Candidate, Found
from ucvm_agent.sources.claims import sound_hostname, sound_instance_id
from ucvm_agent.sources.documents.meta_data import read_meta_data
from ucvm_agent.sources.following import poll
from ucvm_agent.sources.machine import Machine
from ucvm_agent.sources.nocloud_seed import HTTP, Named, Seed, complete, read_folder, read_named, read_seed
from ucvm_agent.sources.volumes.search import Wanted, search
from ucvm_agent.sources.volumes.superblock import FileSystem
from ucvm_agent.sources.volumes.volume import Volume

if TYPE_CHECKING:
    from ucvm_agent.settings import NoCloud

WANTED = Wanted("a NoCloud seed", ("cidata",), frozenset({FileSystem.ISO9660, FileSystem.FAT}), only_labelled=True)
FOLDERS = ("var/lib/cloud/seed/nocloud", "var/lib/cloud/seed/nocloud-net")
INSTANCE_ID = "nocloud"
"""What cloud-init calls an instance whose seed does not name it."""


class Source(base.Source):
    """User-data from a NoCloud seed.

    Arguments:
        machine: what the machine says of itself; None = it is read when it is needed.
    """

    name = "nocloud"
    rank = 30

    def __init__(self, settings: NoCloud, machine: Machine | None = None) -> None:
        self._settings = settings
        self._machine = machine

    def candidate(self, machine: Machine) -> Candidate:
        """Go by what kernel, firmware and settings name, by seed folders and by the label of a volume."""
        self._machine = machine
        self.local = not self._place(read_named(machine)).startswith(HTTP)
        if self._settings.device:
            return WANTED.candidate((), self._settings.device)
        if named := read_named(machine):
            return Candidate(True, f"{named.by} says ds=nocloud")
        if self._settings.seed:
            return Candidate(True, "the settings name a seed")
        for folder in FOLDERS:
            if (machine.root / folder / "user-data").exists():
                return Candidate(True, f"there is the seed folder /{folder}")
        return WANTED.candidate(machine.volumes)

    async def fetch(self) -> Found:
        """Read the first seed that there is, and what it refers to."""
        machine = await asyncio.to_thread(Machine.read) if self._machine is None else self._machine
        named = None if self._settings.device else read_named(machine)
        seed = await self._seed(machine, named)
        meta = read_meta_data(seed.meta_data)
        if meta.seedfrom and meta.seedfrom != seed.origin:
            further = await read_seed(meta.seedfrom, allow_insecure=self._settings.allow_insecure_seed)
            seed = replace(
                seed,
                origin=further.origin,
                user_data=further.user_data,
                vendor_data=further.vendor_data or seed.vendor_data,
            )
            second = read_meta_data(further.meta_data)
            meta = meta.model_copy(update={key: value for key, value in second if key not in meta.model_fields_set})
        values = named.values if named else {}
        metadata = replace(
            meta.metadata,
            instance_id=sound_instance_id(values.get("instance-id", "")) or meta.metadata.instance_id or INSTANCE_ID,
            hostname=sound_hostname(values.get("local-hostname", "")) or meta.metadata.hostname,
        )
        return Found(self.name, seed.shown, seed.user_data, seed.vendor_data, metadata=metadata)

    async def changes(self, known: Found, pause: float) -> AsyncGenerator[Found, None]:
        """Ask again after each pause if the seed is at a URL; folders and volumes are those of this boot."""
        if known.origin.startswith(HTTP):
            async for found in poll(self, pause):
                yield found

    def _place(self, named: Named | None) -> str:
        """Return the folder or the URL of the seed; empty if none is named."""
        if self._settings.device:
            return ""
        return (named.values.get("seedfrom", "") if named else "") or self._settings.seed

    async def _seed(self, machine: Machine, named: Named | None) -> Seed:
        if self._settings.device:
            return (await search(WANTED, _read_volume, self._settings.device)).content
        if place := self._place(named):
            return await read_seed(place, allow_insecure=self._settings.allow_insecure_seed)
        for folder in FOLDERS:
            try:
                return await asyncio.to_thread(read_folder, Path(machine.root) / folder)
            except SourceAbsent:
                continue
        return (await search(WANTED, _read_volume)).content


def _read_volume(volume: Volume) -> Seed | None:
    documents = {name: volume.read(name) for name in ("user-data", "meta-data", "vendor-data")}
    if documents["user-data"] is None and documents["meta-data"] is None:
        return None
    return complete(volume.medium.where, documents)
