"""The virtual router of CloudStack as a source of user-data, in the dialect of EC2 without tokens.

References/clouds.md, section 1 (how the machine tells) and 2.4 (where the router is, and how it is asked). The router
is found by DNS and DHCP and speaks plain HTTP, so whoever is on the network can be it: it is asked only where the
machine says CloudStack, or a person does. Its password server is not asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING

from ucvm_agent.network import http
from ucvm_agent.sources import base
from ucvm_agent.sources.base import MAX_BODY, Candidate, Found, Metadata
from ucvm_agent.sources.claims import sound_addresses, sound_hostname, sound_keys
from ucvm_agent.sources.following import poll
from ucvm_agent.sources.imds import MetadataService
from ucvm_agent.sources.routers import dhcp_servers, gateways, look_up
from ucvm_agent.sources.service import PROBE_TIMEOUT, Service, first_of

if TYPE_CHECKING:
    import aiohttp

    from ucvm_agent.settings import CloudStack
    from ucvm_agent.sources.machine import Machine

NAME = "data-server"
"""The router's name in the DNS of its network."""
FIRST = "10.1.1.1"
"""The address that it has unless somebody chose another; all that old images know."""
MAX_ROUTERS = 8
"""Most routers that are asked at the same time."""


class Source(base.Source):
    """User-data from `http://ROUTER/latest/user-data`.

    Arguments:
        root: of the system whose leases and routes tell the router.
        timeout: seconds for one request.
    """

    name = "cloudstack"
    rank = 60

    def __init__(
        self,
        settings: CloudStack,
        *,
        root: Path = Path("/"),
        timeout: float = http.TOTAL_TIMEOUT,
    ) -> None:
        self._settings = settings
        self._root = root
        self._timeout = timeout

    def candidate(self, machine: Machine) -> Candidate:
        """Tell CloudStack by its name in the firmware tables, which only its KVM hosts give."""
        if machine.dmi.get("product_name", "").startswith("CloudStack"):
            return Candidate(True, "product_name begins with CloudStack")
        if self._settings.routers:
            return Candidate(True, "the settings name a router")
        return Candidate(False, "the machine does not say CloudStack, and a router is not trusted without a sign")

    async def fetch(self) -> Found:
        """Ask all routers that there may be, and take the first that knows this instance."""
        routers = self._settings.routers or (NAME, *await asyncio.to_thread(self._known))
        async with http.session(total=self._timeout, link_local=True) as session:
            service = await first_of([self._connect(session, router) for router in dict.fromkeys(routers)])
            self.reached = True
            user_data = await service.get("user-data", limit=MAX_BODY)
            metadata = await _read_metadata(service)
        return Found(source=self.name, origin=service.url("user-data"), user_data=user_data, metadata=metadata)

    def changes(self, known: Found, pause: float) -> AsyncGenerator[Found, None]:
        """Ask again after each pause: the router tells of nothing by itself."""
        return poll(self, pause)

    def _known(self) -> list[str]:
        return [*dhcp_servers(self._root), *gateways(self._root), FIRST][:MAX_ROUTERS]

    async def _connect(self, session: aiohttp.ClientSession, router: str) -> MetadataService:
        url = router if "://" in router else f"http://{await _address(router)}"
        server = Service(session, url, setting="sources.cloudstack.routers")
        service = MetadataService(server, None, versions=("latest",))
        await service.connect(within=None if self.detected else PROBE_TIMEOUT)
        return service


async def _address(router: str) -> str:
    return router if sound_addresses([router]) else await look_up(router)


async def _read_metadata(service: MetadataService) -> Metadata:
    hostname, zone, keys, *addresses = await service.texts(
        "meta-data/local-hostname",
        "meta-data/availability-zone",
        "meta-data/public-keys",
        "meta-data/local-ipv4",
        "meta-data/public-ipv4",
    )
    return Metadata(
        instance_id=service.instance_id,
        hostname=sound_hostname(hostname),
        zone=zone.strip(),
        public_keys=sound_keys(keys.splitlines()),
        addresses=sound_addresses(addresses),
    )
