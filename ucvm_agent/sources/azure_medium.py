"""Azure's provisioning medium: a disc with CustomData, before there is a network.

References/clouds.md, section 2.5, and references/ucernvm-boot.md, section 4. Part of the source `azure`, which
asks the metadata service for what is not on the medium (the instance-id, userData).
"""

from __future__ import annotations

from dataclasses import replace

from ucvm_agent.sources.base import Found
from ucvm_agent.sources.documents.ovf import read_environment
from ucvm_agent.sources.volumes.search import Wanted, search
from ucvm_agent.sources.volumes.superblock import FileSystem
from ucvm_agent.sources.volumes.volume import Volume

WANTED = Wanted("a provisioning medium of Azure", (), frozenset({FileSystem.UDF, FileSystem.ISO9660}))

TAG = "E6DA6616-8EC4-48E0-BE93-58CE6ACE3CFB.tag"
"""Marks the medium for the bootloader of µCernVM, with `CustomData.bin` beside it."""


async def read_medium(device: str = "") -> Found:
    """Return what the medium holds; its `user_data` is None where there is no CustomData.

    The instance-id is left empty: it is not there.

    Arguments:
        device: image or block device to read, instead of looking for it.

    Raises:
        SourceAbsent: there is no such medium. SourceRefused, SourceUnavailable: it cannot be read.
    """
    hit = await search(WANTED, _read_volume, device)
    return replace(hit.content, origin=hit.device)


def _read_volume(volume: Volume) -> Found | None:
    document = volume.read("ovf-env.xml")
    environment = read_environment(document) if document is not None else None
    if environment is not None and not environment.is_azure:
        environment = None
    verbatim = volume.read("CustomData.bin") if volume.read(TAG) is not None else None
    if environment is None:
        return None if verbatim is None else Found("azure", "", verbatim)
    if verbatim is not None:
        return Found("azure", "", verbatim, metadata=environment.metadata)
    return Found("azure", "", environment.user_data, base64=True, metadata=environment.metadata)
