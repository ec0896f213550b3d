"""The config drive: a volume with the tree of OpenStack, of CloudStack, or of the early OpenStack.

References/clouds.md, sections 2.2 and 2.4, and references/ucernvm-boot.md, section 4.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import Field

from ucvm_agent.sources import base
from ucvm_agent.sources.base import Candidate, Found, Metadata
from ucvm_agent.sources.claims import sound_addresses, sound_hostname, sound_instance_id, sound_keys
from ucvm_agent.sources.documents.lenient import Document, Text, Texts, read_json
from ucvm_agent.sources.documents.openstack import VERSIONS, read_files, read_metadata, read_vendor_data
from ucvm_agent.sources.identity import with_instance_id
from ucvm_agent.sources.volumes.search import Wanted, search
from ucvm_agent.sources.volumes.superblock import FileSystem
from ucvm_agent.sources.volumes.volume import Volume

if TYPE_CHECKING:
    from ucvm_agent.settings import ConfigDrive
    from ucvm_agent.sources.machine import Machine

WANTED = Wanted("a config drive", ("config-2",), frozenset({FileSystem.ISO9660, FileSystem.FAT}))

_CLOUDSTACK = "cloudstack/metadata"


class EarlyMetaData(Document):
    """What is read of `meta.js`, which is all that a drive of version 1 has."""

    instance_id: Text = Field("", alias="instance-id")
    uuid: Text = ""
    hostname: Text = ""
    public_keys: Texts = Field((), alias="public-keys")
    user_data: Text = Field("", alias="user-data")


class Source(base.Source):
    """User-data from a config drive."""

    name = "configdrive"
    rank = 20
    local = True

    def __init__(self, settings: ConfigDrive) -> None:
        self._device = settings.device

    def candidate(self, machine: Machine) -> Candidate:
        """Go by the label; without it, any volume may hold the tree."""
        return WANTED.candidate(machine.volumes, self._device)

    async def fetch(self) -> Found:
        """Read the drive."""
        hit = await search(WANTED, read_drive, self._device)
        return await with_instance_id(replace(hit.content, origin=hit.device))


def read_drive(volume: Volume) -> Found | None:
    """Return what is on the volume, or None if it is no config drive."""
    for read in (_openstack, _cloudstack, _ec2, _early):
        if found := read(volume):
            return found
    return None


def _openstack(volume: Volume) -> Found | None:
    user_data = volume.read("openstack/latest/user_data")
    for folder in (f"openstack/{version}" for version in VERSIONS):
        meta_data = volume.read(f"{folder}/meta_data.json")
        if meta_data is not None:
            break
    else:
        # µCernVM wants nothing but the user-data.
        return None if user_data is None else _found(user_data, Metadata())
    own = volume.read(f"{folder}/user_data")
    vendor = [volume.read(f"{folder}/{name}.json") for name in ("vendor_data", "vendor_data2")]
    metadata = read_metadata(meta_data, volume.read(f"{folder}/network_data.json"))
    files = read_files(meta_data, lambda path: volume.read(f"openstack/{path}"))
    return replace(_found(user_data if own is None else own, metadata, read_vendor_data(*vendor)), files=files)


def _cloudstack(volume: Volume) -> Found | None:
    user_data = volume.read("cloudstack/userdata/user_data.txt")
    items = ("instance_id", "vm_id", "local_hostname", "availability_zone", "public_keys", "local_ipv4", "public_ipv4")
    texts = {item: _text(volume, item) for item in items}
    if user_data is None and not any(texts.values()):
        return None
    metadata = Metadata(
        instance_id=sound_instance_id(texts["instance_id"]) or sound_instance_id(texts["vm_id"]),
        hostname=sound_hostname(texts["local_hostname"]),
        zone=texts["availability_zone"].strip(),
        public_keys=sound_keys(texts["public_keys"].splitlines()),
        addresses=sound_addresses([texts["local_ipv4"], texts["public_ipv4"]]),
    )
    return _found(user_data, metadata)


def _text(volume: Volume, item: str) -> str:
    """Return an item of CloudStack, whose releases write it with `_` or with `-`."""
    for name in (item, item.replace("_", "-")):
        if content := volume.read(f"{_CLOUDSTACK}/{name}.txt"):
            return content.decode(errors="replace")
    return ""


def _ec2(volume: Volume) -> Found | None:
    """Read the tree in the dialect of EC2, which lies beside that of OpenStack and is second to it."""
    meta_data = volume.read("ec2/latest/meta-data.json")
    user_data = volume.read("ec2/latest/user-data")
    if meta_data is None and user_data is None:
        return None
    return _found(user_data, read_ec2_metadata(meta_data))


class Ec2MetaData(Document):
    """What is read of `ec2/latest/meta-data.json`."""

    instance_id: Text = Field("", alias="instance-id")
    hostname: Text = Field("", alias="local-hostname")
    local_ipv4: Text = Field("", alias="local-ipv4")
    public_ipv4: Text = Field("", alias="public-ipv4")
    public_keys: Texts = Field((), alias="public-keys")


def read_ec2_metadata(document: bytes | None) -> Metadata:
    """Return what the tree of EC2 says of the instance."""
    meta = read_json(Ec2MetaData, document, "ec2/latest/meta-data.json")
    return Metadata(
        instance_id=sound_instance_id(meta.instance_id),
        hostname=sound_hostname(meta.hostname),
        public_keys=sound_keys(meta.public_keys),
        addresses=sound_addresses([meta.local_ipv4, meta.public_ipv4]),
    )


def _early(volume: Volume) -> Found | None:
    document = volume.read("meta.js")
    if document is None:
        return None
    meta = read_json(EarlyMetaData, document, "meta.js")
    authorized = (volume.read("root/.ssh/authorized_keys") or b"").decode(errors="replace").splitlines()
    metadata = Metadata(
        instance_id=sound_instance_id(meta.instance_id) or sound_instance_id(meta.uuid),
        hostname=sound_hostname(meta.hostname),
        public_keys=sound_keys([*authorized, *meta.public_keys]),
    )
    return _found(meta.user_data.encode() or None, metadata)


def _found(user_data: bytes | None, metadata: Metadata, vendor_data: bytes | None = None) -> Found:
    return Found(Source.name, "", user_data, vendor_data, metadata=metadata)
