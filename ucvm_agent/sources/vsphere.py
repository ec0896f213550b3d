"""vSphere: guestinfo values, the OVF environment, or a disc with `user-data.txt`.

References/clouds.md, section 2.7, and references/ucernvm-boot.md, section 4.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from ucvm_agent.errors import SourceAbsent, SourceError
from ucvm_agent.sources import base
from ucvm_agent.sources.base import Candidate, Found
from ucvm_agent.sources.documents.meta_data import read_meta_data
from ucvm_agent.sources.documents.ovf import Environment, read_environment
from ucvm_agent.sources.guestinfo import Guestinfo
from ucvm_agent.sources.identity import with_instance_id
from ucvm_agent.sources.machine import Machine
from ucvm_agent.sources.nocloud_seed import read_seed
from ucvm_agent.sources.volumes.search import Hit, Wanted, search
from ucvm_agent.sources.volumes.superblock import FileSystem
from ucvm_agent.sources.volumes.volume import Volume

if TYPE_CHECKING:
    from ucvm_agent.settings import VSphere

log = structlog.get_logger()

KEYS = ("metadata", "userdata", "vendordata")
"""The values of guestinfo that are for agents like this one."""

WANTED = Wanted("a user-data.txt or an ovf-env.xml", (), frozenset({FileSystem.ISO9660}))


class Source(base.Source):
    """User-data from the host of a VMware machine.

    Arguments:
        environment: of the process; None = the real one.
    """

    name = "vsphere"
    rank = 24
    local = True

    def __init__(self, settings: VSphere, environment: Mapping[str, str] | None = None) -> None:
        self._device = settings.device
        self._allow_insecure = settings.allow_insecure_seed
        self._guestinfo = Guestinfo(environment)

    def candidate(self, machine: Machine) -> Candidate:
        """Go by the firmware; on any machine a disc may be attached."""
        if self._device:
            return WANTED.candidate((), self._device)
        if self._guestinfo.is_in_environment:
            return Candidate(True, "the environment holds guestinfo")
        vendor, product = machine.dmi.get("sys_vendor", ""), machine.dmi.get("product_name", "")
        if vendor == "VMware, Inc." or product.startswith("VMware"):
            return Candidate(True, "the firmware says VMware")
        return WANTED.candidate(machine.volumes)

    async def fetch(self) -> Found:
        """Ask the host; where it gives nothing, look for a disc."""
        if self._device:
            return await self._from_volume()
        try:
            found = await self._from_guestinfo()
        except SourceError as unanswered:
            try:
                return await self._from_volume()
            except SourceAbsent:
                raise unanswered from None
        return found or await self._from_volume()

    async def blank(self, keys: Iterable[str]) -> None:
        """Overwrite values of guestinfo, which the host's administrators can read."""
        for key in keys:
            await self._guestinfo.blank(key)

    async def _from_guestinfo(self) -> Found | None:
        values = {key: await self._guestinfo.get(key) for key in KEYS}
        if not any(values.values()):
            if self._guestinfo.blanked:
                return Found(self.name, "guestinfo", None, spent=True)
            environment = await self._guestinfo.get("ovfEnv")
            told = read_environment(environment.text) if environment else None
            return await self._completed(await self._from_environment(told, "guestinfo.ovfEnv")) if told else None
        meta, user, vendor = (values[key] for key in KEYS)
        document = read_meta_data(meta.decoded() if meta else None)
        found = Found(
            self.name,
            "guestinfo",
            user.text if user else None,
            vendor.decoded() or None if vendor else None,
            base64=user.is_base64 if user else False,
            metadata=document.metadata,
            to_blank=self._to_blank(document.cleanup, [key for key in KEYS if values[key]]),
            spent=bool(self._guestinfo.blanked),
        )
        return await self._completed(found)

    def _to_blank(self, wanted: Iterable[str], known: Iterable[str]) -> tuple[str, ...]:
        """Return which of the known keys are to be blanked; the environment of a container cannot be."""
        if self._guestinfo.is_in_environment:
            return ()
        if strange := set(wanted) - set(KEYS):
            log.warning("cleanup-guestinfo names keys that are not blanked", number=len(strange), known=KEYS)
        return tuple(key for key in known if key in wanted)

    async def _from_environment(self, environment: Environment, origin: str) -> Found:
        """Return what an OVF environment says, and where it says nothing, what the seed does that it names."""
        found = Found(self.name, origin, environment.user_data, base64=True, metadata=environment.metadata)
        if not environment.seedfrom:
            return found
        seed = await read_seed(environment.seedfrom, allow_insecure=self._allow_insecure)
        own, further = environment.metadata, read_meta_data(seed.meta_data).metadata
        metadata = replace(
            further,
            instance_id=own.instance_id or further.instance_id,
            hostname=own.hostname or further.hostname,
            public_keys=own.public_keys or further.public_keys,
        )
        found = replace(found, origin=f"{origin} and {seed.shown}", vendor_data=seed.vendor_data, metadata=metadata)
        return found if found.user_data is not None else replace(found, user_data=seed.user_data, base64=False)

    async def _from_volume(self) -> Found:
        hit: Hit[Found | Environment] = await search(WANTED, _read_volume, self._device)
        if isinstance(hit.content, Environment):
            return await self._completed(await self._from_environment(hit.content, hit.device))
        return await self._completed(replace(hit.content, origin=hit.device))

    async def _completed(self, found: Found) -> Found:
        """Return what was found, with the firmware's UUID as instance-id where the host names none."""
        if not found.metadata.instance_id and not self._device:
            machine = await asyncio.to_thread(Machine.read)
            uuid = machine.dmi.get("product_uuid", "").lower()
            found = replace(found, metadata=replace(found.metadata, instance_id=uuid))
        return await with_instance_id(found)


def _read_volume(volume: Volume) -> Found | Environment | None:
    plain = volume.read("user-data.txt")
    if plain is not None:
        return Found(Source.name, "", plain)
    document = volume.read("ovf-env.xml")
    environment = read_environment(document) if document is not None else None
    return None if environment is None or environment.is_azure else environment
