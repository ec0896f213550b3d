"""OpenNebula: a volume with `context.sh` (references/clouds.md, section 2.6; references/ucernvm-boot.md, section 4)."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from ucvm_agent.errors import SourceRefused
from ucvm_agent.sources import base
from ucvm_agent.sources.base import Candidate, Found
from ucvm_agent.sources.documents.context_sh import parse_context
from ucvm_agent.sources.documents.context_variables import KEY_FILE, read_metadata, read_user_data
from ucvm_agent.sources.identity import with_instance_id
from ucvm_agent.sources.volumes.search import Wanted, search
from ucvm_agent.sources.volumes.superblock import FileSystem
from ucvm_agent.sources.volumes.volume import Volume

if TYPE_CHECKING:
    from ucvm_agent.settings import OpenNebula
    from ucvm_agent.sources.machine import Machine

WANTED = Wanted("a context.sh", ("CONTEXT", "CDROM"), frozenset({FileSystem.ISO9660, FileSystem.FAT}))

_FILE = re.compile(r"[\w.-]{1,100}")


class Source(base.Source):
    """User-data from `context.sh`, which is read and never run."""

    name = "opennebula"
    rank = 22
    local = True

    def __init__(self, settings: OpenNebula) -> None:
        self._device = settings.device

    def candidate(self, machine: Machine) -> Candidate:
        """Go by the label; without it, any volume may hold the file."""
        return WANTED.candidate(machine.volumes, self._device)

    async def fetch(self) -> Found:
        """Read the volume."""
        hit = await search(WANTED, _read_volume, self._device)
        return await with_instance_id(replace(hit.content, origin=f"{hit.device} context.sh"))


def _read_volume(volume: Volume) -> Found | None:
    document = volume.read("context.sh")
    if document is None:
        return None
    variables = parse_context(document, volume.medium.where)
    user_data, base64 = read_user_data(variables)
    if _FILE.fullmatch(name := variables.get(KEY_FILE, "").strip()):
        with suppress(SourceRefused):  # a key is not worth the user-data
            variables[KEY_FILE] = (volume.read(name) or b"").decode(errors="replace")
    return Found(Source.name, "", user_data, base64=base64, metadata=read_metadata(variables))
