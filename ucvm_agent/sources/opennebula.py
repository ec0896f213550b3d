"""OpenNebula: a volume with `context.sh` (references/clouds.md, section 2.6; references/ucernvm-boot.md, section 4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ucvm_agent.sources import base
from ucvm_agent.sources.base import Candidate, Found, Metadata
from ucvm_agent.sources.claims import sound_addresses, sound_hostname, sound_instance_id, sound_keys
from ucvm_agent.sources.documents.context_sh import parse_context
from ucvm_agent.sources.identity import with_instance_id
from ucvm_agent.sources.volumes.search import Wanted, search
from ucvm_agent.sources.volumes.superblock import FileSystem
from ucvm_agent.sources.volumes.volume import Volume

if TYPE_CHECKING:
    from ucvm_agent.settings import OpenNebula
    from ucvm_agent.sources.machine import Machine

WANTED = Wanted("a context.sh", ("CONTEXT", "CDROM"), frozenset({FileSystem.ISO9660, FileSystem.FAT}))

_KEYS = ("SSH_KEY", "SSH_PUBLIC_KEY", "ROOT_PUBKEY")
_NAMES = ("SET_HOSTNAME", "HOSTNAME", "DNS_HOSTNAME", "PUBLIC_IP", "IP_PUBLIC", "ETH0_IP")
_ADDRESSES = ("PUBLIC_IP", "IP_PUBLIC", *(f"ETH{n}_{kind}" for n in range(16) for kind in ("IP", "IP6")))


class Source(base.Source):
    """User-data from `context.sh`, which is read and never run."""

    name = "opennebula"
    rank = 22

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
    user_data, base64 = _user_data(variables)
    return Found(Source.name, "", user_data, base64=base64, metadata=_metadata(variables))


def _user_data(variables: Mapping[str, str]) -> tuple[bytes | None, bool]:
    """Return the user-data, and whether it is base64; without a variable for it there is none."""
    if value := variables.get("EC2_USER_DATA"):
        return _bytes(value), True
    for name in ("USER_DATA", "USERDATA"):
        if value := variables.get(name):
            return _bytes(value), variables.get(f"{name}_ENCODING", "").strip().lower() == "base64"
    return None, False


def _bytes(value: str) -> bytes:
    return value.encode(errors="surrogateescape")


def _metadata(variables: Mapping[str, str]) -> Metadata:
    hostnames = (sound_hostname(variables.get(name, "")) for name in _NAMES)
    return Metadata(
        instance_id=_instance_id(variables),
        # DNS_HOSTNAME may also be a question: whether to ask the DNS.
        hostname=next((name for name in hostnames if name and name.lower() not in ("yes", "no")), ""),
        public_keys=sound_keys(line for name in _KEYS for line in variables.get(name, "").splitlines()),
        addresses=sound_addresses(variables[name] for name in _ADDRESSES if name in variables),
    )


def _instance_id(variables: Mapping[str, str]) -> str:
    """Return the number of the machine, which counts within one installation of OpenNebula."""
    number = variables.get("VMID", "").strip()
    try:
        server = urlsplit(variables.get("ONEGATE_ENDPOINT", "")).netloc.rpartition("@")[2]
    except ValueError:
        server = ""
    return sound_instance_id(f"{number}-{server}" if number and server else number)
