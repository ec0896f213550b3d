"""What µCernVM's bootloader has found and left for the system that it started.

It is taken instead of asking again: the medium may be gone, and the bootloader has put in what it knew better.
References/clouds.md, section 1 (last rows), and references/ucernvm-boot.md, section 7.
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode
from pathlib import Path
from typing import TYPE_CHECKING

from ucvm_agent.errors import SourceAbsent
from ucvm_agent.sources import base
from ucvm_agent.sources.base import Candidate, Found, Metadata, PersonalityFile
from ucvm_agent.sources.identity import with_instance_id
from ucvm_agent.sources.local import read_file

if TYPE_CHECKING:
    from ucvm_agent.settings import Bootloader
    from ucvm_agent.sources.machine import Machine

_MAX_WORD = 100


class Source(base.Source):
    """User-data in the bootloader's context folder, with the extra user-data beside it."""

    name = "bootloader"
    rank = 12
    local = True

    def __init__(self, settings: Bootloader) -> None:
        self._folder = Path(settings.context)
        self._extra = Path(settings.extra)

    def candidate(self, machine: Machine) -> Candidate:
        """Say whether the bootloader was here."""
        there = self._user_data.exists()
        return Candidate(there, f"{self._user_data} is {'there' if there else 'not there'}")

    async def fetch(self) -> Found:
        """Read the files, and say which of its sources the bootloader had them from."""
        user_data = await asyncio.to_thread(read_file, self._user_data)
        if user_data is None:
            raise SourceAbsent("the bootloader has left no user-data", where=str(self._user_data))
        extra = await asyncio.to_thread(read_file, self._extra)
        word = (await asyncio.to_thread(read_file, self._folder / "source") or b"").decode(errors="replace").strip()
        told = word[:_MAX_WORD] if word.isprintable() else ""
        origin = f"{self._user_data} (from {told})" if told else str(self._user_data)
        found = Found(
            self.name,
            origin,
            user_data,
            vendor_data=await asyncio.to_thread(read_file, self._folder / "vendor-data"),
            extra_data=extra or None,
            metadata=_metadata(await asyncio.to_thread(read_file, self._folder / "metadata")),
            files=_files(await asyncio.to_thread(read_file, self._folder / "files")),
        )
        return await with_instance_id(found)

    @property
    def _user_data(self) -> Path:
        return self._folder / "user-data"


def _metadata(content: bytes | None) -> Metadata:
    """Return what our own bootloader has saved of the instance; µCernVM's saved nothing of the kind."""
    if not content:
        return Metadata()
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(Metadata).validate_json(content)
    except ValidationError:
        return Metadata()


def _files(content: bytes | None) -> tuple[PersonalityFile, ...]:
    """Return the files that our own bootloader has saved for the system to write."""
    try:
        listed = json.loads(content or b"[]")
        return tuple(PersonalityFile(str(path), b64decode(encoded, validate=True)) for path, encoded in listed)
    except (ValueError, TypeError, RecursionError):
        return ()
