"""The EC2 metadata service as a source of user-data, real or in the dialect of its clones.

References/clouds.md, section 1 (how the machine tells) and 2.1 (how it is asked).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

import aiohttp
import structlog
from pydantic import BaseModel, ValidationError

from ucvm_agent.errors import SourceAbsent, SourceError, SourceUnavailable
from ucvm_agent.network import http
from ucvm_agent.sources import base
from ucvm_agent.sources.base import MAX_BODY, Candidate, Found, Metadata
from ucvm_agent.sources.claims import sound_addresses, sound_hostname, sound_keys
from ucvm_agent.sources.following import poll
from ucvm_agent.sources.imds import HOP_LIMIT, MetadataService, Protocol
from ucvm_agent.sources.service import PROBE_TIMEOUT, Service, none_of

if TYPE_CHECKING:
    from ucvm_agent.settings import Ec2
    from ucvm_agent.sources.machine import Machine

log = structlog.get_logger()

MAX_KEYS = 100
MAX_INTERFACES = 16

_LOOK_ALIKES = (
    ("product_serial", re.compile(r"\.brightbox\.com$", re.IGNORECASE)),
    ("chassis_asset_tag", re.compile(r"\.zstack\.io$", re.IGNORECASE)),
    ("sys_vendor", re.compile(r"^(e24cloud|tilaa|3ds outscale)", re.IGNORECASE)),
)
_OTHERS = (
    ("product_name", re.compile(r"^(Google Compute Engine|Google|VirtualBox)$")),
    ("product_serial", re.compile(r"^GoogleCloud-")),
    ("chassis_asset_tag", re.compile(r"^7783-7084-3265-9085-8269-3286-77$")),
)
_SWAPPED_UUID = re.compile(r"^[0-9a-f]{4}2[0-9a-f]ec-", re.IGNORECASE)


class IdentityDocument(BaseModel):
    """What we read of `dynamic/instance-identity/document`; clones leave out what they do not know."""

    region: str | None = None
    availabilityZone: str | None = None  # noqa: N815 - the document's own spelling


class Source(base.Source):
    """User-data from `http://169.254.169.254/latest/user-data` and its IPv6 sister.

    Arguments:
        timeout: seconds for one request.
    """

    name = "ec2"
    rank = 50

    def __init__(self, settings: Ec2, *, timeout: float = http.TOTAL_TIMEOUT) -> None:
        self._settings = settings
        self._timeout = timeout
        self._warned = False

    def candidate(self, machine: Machine) -> Candidate:
        """Tell EC2 by its names in the firmware tables; a byte-swapped UUID alone is too little evidence."""
        dmi = machine.dmi
        if sign := _matching(_LOOK_ALIKES, dmi):
            return Candidate(True, f"{sign} is of a cloud that speaks the EC2 dialect")
        if dmi.get("product_uuid", "").lower().startswith("ec2"):
            return Candidate(True, "product_uuid begins with ec2")
        if dmi.get("sys_vendor") == "Amazon EC2" or dmi.get("board_asset_tag", "").startswith("i-"):
            return Candidate(True, "the firmware says Amazon EC2")
        if machine.hypervisor_uuid.lower().startswith("ec2"):
            return Candidate(True, "the Xen UUID begins with ec2")
        if sign := _matching(_OTHERS, dmi):
            return Candidate(False, f"{sign} is of another platform")
        if _SWAPPED_UUID.match(dmi.get("product_uuid", "")):
            return Candidate(None, "product_uuid may be one of EC2's, byte-swapped")
        return Candidate(None, "the machine does not tell; OpenStack and others speak the EC2 dialect, too")

    async def fetch(self) -> Found:
        """Ask the first endpoint that answers; see `MetadataService` for what is retried."""
        async with http.session(total=self._timeout, link_local=True) as session:
            service = await self._connect(session)
            self.reached = True
            self._warn_without_token(service)
            user_data = await service.get("user-data", limit=MAX_BODY)
            metadata = await _read_metadata(service)
        return Found(source=self.name, origin=service.url("user-data"), user_data=user_data, metadata=metadata)

    def changes(self, known: Found, pause: float) -> AsyncGenerator[Found, None]:
        """Ask again after each pause: the service tells of nothing by itself."""
        return poll(self, pause)

    async def _connect(self, session: aiohttp.ClientSession) -> MetadataService:
        failures: list[SourceError] = []
        for endpoint in self._settings.endpoints:
            server = Service(session, endpoint, setting="sources.ec2.endpoints")
            service = MetadataService(server, self._settings)
            try:
                await service.connect(within=None if self.detected else PROBE_TIMEOUT)
            except (SourceAbsent, SourceUnavailable) as error:
                failures.append(error)
            else:
                return service
        # The other address is seldom there at all; one that says who it is not speaks for both.
        raise none_of([failure for failure in failures if isinstance(failure, SourceAbsent)] or failures)

    def _warn_without_token(self, service: MetadataService) -> None:
        if self._warned or service.protocol is Protocol.TOKENS:
            return
        self._warned = True
        if service.protocol is Protocol.TOKENS_LOST:
            log.warning("the metadata service gives no token, going on without", url=service.url(""), hint=HOP_LIMIT)
        else:
            log.warning("the metadata service has no IMDSv2, going on without tokens", url=service.url(""))


def _matching(signs: tuple[tuple[str, re.Pattern[str]], ...], dmi: dict[str, str]) -> str:
    return next((name for name, pattern in signs if pattern.search(dmi.get(name, ""))), "")


async def _read_metadata(service: MetadataService) -> Metadata:
    async with asyncio.TaskGroup() as group:
        keys = group.create_task(_public_keys(service))
        interfaces = group.create_task(_interface_addresses(service))
        document, hostname, zone, region, *ipv4 = await service.texts(
            "dynamic/instance-identity/document",
            "meta-data/local-hostname",
            "meta-data/placement/availability-zone",
            "meta-data/placement/region",
            "meta-data/local-ipv4",
            "meta-data/public-ipv4",
        )
    identity = _parse_identity(document)
    return Metadata(
        instance_id=service.instance_id,
        hostname=sound_hostname(hostname),
        region=region.strip() or identity.region or "",
        zone=zone.strip() or identity.availabilityZone or "",
        public_keys=sound_keys(keys.result()),
        addresses=sound_addresses([*ipv4, *interfaces.result()]),
    )


async def _public_keys(service: MetadataService) -> list[str]:
    """Return the key lines: `0=name` stands for an item of its own; some clones give the keys at once."""
    listing = (await service.text("meta-data/public-keys/")).splitlines()
    numbers = [number for line in listing if (number := line.partition("=")[0].strip()).isdecimal()]
    texts = await service.texts(*(f"meta-data/public-keys/{number}/openssh-key" for number in numbers[:MAX_KEYS]))
    return listing + [line for text in texts for line in text.splitlines()]


async def _interface_addresses(service: MetadataService) -> list[str]:
    folder = "meta-data/network/interfaces/macs/"
    listing = (await service.text(folder)).split()
    macs = [mac for mac in (name.rstrip("/") for name in listing) if re.fullmatch(r"[0-9a-fA-F:]{17}", mac)]
    items = [f"{folder}{mac}/{item}" for mac in macs[:MAX_INTERFACES] for item in ("local-ipv4s", "ipv6s")]
    return [address for text in await service.texts(*items) for address in text.split()]


def _parse_identity(document: str) -> IdentityDocument:
    try:
        return IdentityDocument.model_validate_json(document or "{}")
    except ValidationError:
        log.warning("the identity document is not understood")
        return IdentityDocument()
