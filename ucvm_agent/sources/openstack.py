"""The metadata service of OpenStack as a source of user-data.

References/clouds.md, section 1 (how the machine tells) and 2.2 (how it is asked). The instance-id is always the
uuid, never the `i-…` of the EC2 dialect beside it, so this source goes before `ec2`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from ucvm_agent.errors import SourceAbsent, SourceRefused
from ucvm_agent.network import http
from ucvm_agent.sources import base
from ucvm_agent.sources.base import MAX_BODY, Candidate, Found
from ucvm_agent.sources.documents.openstack import VERSIONS, read_metadata, read_vendor_data
from ucvm_agent.sources.following import poll
from ucvm_agent.sources.interfaces import link_local_interfaces, on_each_interface
from ucvm_agent.sources.service import PROBE_TIMEOUT, Service, first_of, together

if TYPE_CHECKING:
    from ucvm_agent.settings import OpenStack
    from ucvm_agent.sources.machine import Machine

MAX_DOCUMENT = 1024 * 1024
"""Most bytes of a JSON document."""

_PRODUCTS = frozenset({"OpenStack Nova", "OpenStack Compute"})
_ASSET_TAGS = _PRODUCTS | {"OpenTelekomCloud", "SAP CCloud VM", "HUAWEICLOUD", "Samsung Cloud Platform"}


class Source(base.Source):
    """User-data from `http://169.254.169.254/openstack/VERSION/user_data` and its IPv6 sister on each link.

    Arguments:
        timeout: seconds for one request.
    """

    name = "openstack"
    rank = 48

    def __init__(self, settings: OpenStack, *, timeout: float = http.TOTAL_TIMEOUT) -> None:
        self._settings = settings
        self._timeout = timeout

    def candidate(self, machine: Machine) -> Candidate:
        """Tell OpenStack by its names in the firmware tables; bare metal and non-x86 tell nothing."""
        for field, names in (("product_name", _PRODUCTS), ("chassis_asset_tag", _ASSET_TAGS)):
            if (value := machine.dmi.get(field, "")) in names:
                return Candidate(True, f"{field} is {value}")
        if machine.container_product in _PRODUCTS:
            return Candidate(True, f"product_name of process 1 is {machine.container_product}")
        return Candidate(None, "the machine does not tell; bare metal does not")

    async def fetch(self) -> Found:
        """Ask all endpoints for their versions, and the first that answers for everything at once."""
        interfaces = await asyncio.to_thread(link_local_interfaces)
        async with http.session(total=self._timeout, link_local=True) as session:
            services = [
                Service(session, endpoint, setting="sources.openstack.endpoints")
                for endpoint in on_each_interface(self._settings.endpoints, interfaces)
            ]
            service, version = await first_of([self._connect(service) for service in services], same=True)
            self.reached = True
            return await self._read(service, f"/openstack/{version}")

    def changes(self, known: Found, pause: float) -> AsyncGenerator[Found, None]:
        """Ask again after each pause: the service tells of nothing by itself."""
        return poll(self, pause)

    async def _connect(self, service: Service) -> tuple[Service, str]:
        body = await service.ask("/openstack", within=None if self.detected else PROBE_TIMEOUT)
        if body is None:
            raise SourceAbsent("the server there knows nothing of OpenStack", where=service.url("/openstack"))
        listed = body.decode(errors="replace").replace("/", " ").split()
        if version := next((version for version in VERSIONS if version in listed), ""):
            return service, version
        raise SourceRefused("this is no list of versions that we know", where=service.url("/openstack"))

    async def _read(self, service: Service, folder: str) -> Found:
        documents = ("network_data.json", "vendor_data.json", "vendor_data2.json")
        meta_data, user_data, network_data, *vendor_data = await together(
            service.get(f"{folder}/meta_data.json", limit=MAX_DOCUMENT),
            service.get(f"{folder}/user_data", limit=MAX_BODY),
            *(service.get_optional(f"{folder}/{name}", limit=MAX_DOCUMENT) for name in documents),
        )
        metadata = read_metadata(meta_data, network_data)
        if not metadata.instance_id:
            raise SourceRefused("it has no uuid of an instance", where=service.url(f"{folder}/meta_data.json"))
        return Found(
            source=self.name,
            origin=service.url(f"{folder}/user_data"),
            user_data=user_data,
            vendor_data=read_vendor_data(*vendor_data),
            metadata=metadata,
        )
