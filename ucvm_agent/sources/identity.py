"""The instance-id of a machine whose source gives none (references/clouds.md, section 3)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from ucvm_agent.sources.base import Found

MACHINE_ID = Path("/etc/machine-id")


def derive_instance_id(source: str, user_data: bytes, machine_id: str) -> str:
    """Return the SHA-256, in hex, of source name, machine-id and user-data: other user-data, other instance."""
    return sha256(b"\0".join((source.encode(), machine_id.encode(), user_data))).hexdigest()


def read_machine_id() -> str:
    """Return the machine-id, or an empty string where there is none (containers, an early initramfs)."""
    try:
        return MACHINE_ID.read_text(errors="replace").strip()
    except OSError:
        return ""


async def with_instance_id(found: Found) -> Found:
    """Return what was found, with an instance-id of our own if the platform gave none."""
    if found.metadata.instance_id:
        return found
    machine_id = await asyncio.to_thread(read_machine_id)
    derived = derive_instance_id(found.source, found.user_data or b"", machine_id)
    return replace(found, metadata=replace(found.metadata, instance_id=derived, derived=True))
