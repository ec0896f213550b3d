"""Azure as a source of user-data: the CustomData of its provisioning medium, else the userData of its service.

References/clouds.md, section 1 (how the machine tells) and 2.5 (the two texts and their order).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import Field

from ucvm_agent.errors import SourceAbsent, SourceError, SourceRefused
from ucvm_agent.network import http
from ucvm_agent.network.http import RETRYABLE
from ucvm_agent.network.retry import retry
from ucvm_agent.sources import base
from ucvm_agent.sources.azure_medium import read_medium
from ucvm_agent.sources.base import Candidate, Found, Metadata
from ucvm_agent.sources.claims import sound_addresses, sound_hostname, sound_instance_id, sound_keys
from ucvm_agent.sources.documents.lenient import Document, Text, read_json
from ucvm_agent.sources.following import poll
from ucvm_agent.sources.identity import with_instance_id
from ucvm_agent.sources.service import PROBE_TIMEOUT, Answer, PassingFault, Service

if TYPE_CHECKING:
    from ucvm_agent.settings import Azure
    from ucvm_agent.sources.machine import Machine

ASSET_TAG = "7783-7084-3265-9085-8269-3286-77"
PATH = "/metadata/instance"
VERSIONS = ("2021-08-01&extended=true", "2019-06-01")
"""The newest one that we know has userData; the other one is for hosts that do not know it."""
TOTAL_TIMEOUT = 30.0
"""Seconds for one request; the service is a slow one."""
CUSTOM_DATA = "(CustomData)"
"""What the origin says of user-data that are not the service's."""
PASSING = RETRYABLE | {404, 410}
"""On Azure, "not there" means "not yet"."""
MAX_DOCUMENT = 1024 * 1024
"""Most bytes of the document; user-data in it are at most 64 KiB."""


class PublicKey(Document):
    """A key of the administrator."""

    data: Text = Field("", alias="keyData")


class Profile(Document):
    """What the instance was made with."""

    computer_name: Text = Field("", alias="computerName")


class Address(Document):
    """An address inside, and the one outside that leads to it."""

    private: Text = Field("", alias="privateIpAddress")
    public: Text = Field("", alias="publicIpAddress")


class Family(Document):
    """The addresses of one kind."""

    addresses: tuple[Address, ...] = Field((), alias="ipAddress")


class Interface(Document):
    """A network interface."""

    ipv4: Family = Family()
    ipv6: Family = Family()


class Network(Document):
    """The interfaces."""

    interfaces: tuple[Interface, ...] = Field((), alias="interface")


class Compute(Document):
    """What is read of the instance."""

    vm_id: Text = Field("", alias="vmId")
    name: Text = ""
    location: Text = ""
    zone: Text = ""
    profile: Profile = Field(Profile(), alias="osProfile")
    public_keys: tuple[PublicKey, ...] = Field((), alias="publicKeys")
    user_data: Text = Field("", alias="userData", repr=False)


class Instance(Document):
    """The whole document."""

    compute: Compute = Compute()
    network: Network = Network()


class Source(base.Source):
    """User-data from `http://169.254.169.254/metadata/instance`, and from the medium if there is one.

    Arguments:
        timeout: seconds for one request.
    """

    name = "azure"
    rank = 25

    def __init__(self, settings: Azure, *, timeout: float = TOTAL_TIMEOUT) -> None:
        self._settings = settings
        self._timeout = timeout

    def candidate(self, machine: Machine) -> Candidate:
        """Tell Azure by the asset tag that all its chassis have, or by a medium that is named."""
        if machine.dmi.get("chassis_asset_tag") == ASSET_TAG:
            return Candidate(True, "chassis_asset_tag is Azure's")
        if self._settings.device:
            return Candidate(True, f"{self._settings.device} is named")
        return Candidate(None, "the machine does not tell")

    async def fetch(self) -> Found:
        """Read the medium and ask the service at the same time; CustomData goes before userData."""
        # Each may fail without the other, so both are waited for.
        medium, service = await asyncio.gather(
            read_medium(self._settings.device), self._from_service(), return_exceptions=True
        )
        for failure in (medium, service):
            if isinstance(failure, BaseException) and not isinstance(failure, SourceError):
                raise failure
        if not isinstance(medium, Found) or medium.user_data is None:
            if isinstance(service, BaseException):
                raise service
            return service
        metadata = service.metadata if isinstance(service, Found) else medium.metadata
        return await with_instance_id(replace(medium, origin=f"{medium.origin} {CUSTOM_DATA}", metadata=metadata))

    async def changes(self, known: Found, pause: float) -> AsyncGenerator[Found, None]:
        """Ask again after each pause for userData; CustomData never change, and their medium may be ejected by now."""
        if CUSTOM_DATA not in known.origin:
            async for found in poll(self, pause):
                yield found

    async def _from_service(self) -> Found:
        async with http.session(total=self._timeout, link_local=True) as session:
            service = Service(
                session,
                self._settings.endpoint,
                headers={"Metadata": "true"},
                passing=PASSING if self.detected else RETRYABLE,
                setting="sources.azure.endpoint",
            )
            instance = await retry(lambda: self._ask(service), on=PassingFault)
        text = instance.compute.user_data
        return Found(
            source=self.name,
            origin=f"{service.url('/metadata/instance')} (userData)",
            user_data=text.encode() if text else None,
            base64=True,
            metadata=_metadata(instance),
        )

    async def _ask(self, service: Service) -> Instance:
        answer = await self._request(service, VERSIONS[0])
        if answer.status == 400:
            answer = await self._request(service, VERSIONS[1])
        body = service.taken(answer, PATH)
        if body is None:
            raise SourceAbsent("the server there knows nothing of Azure", where=service.url(""))
        instance = read_json(Instance, body, PATH)
        if not sound_instance_id(instance.compute.vm_id):
            raise SourceRefused("it has no vmId of an instance", where=service.url(PATH))
        self.reached = True
        return instance

    async def _request(self, service: Service, version: str) -> Answer:
        within = None if self.detected else PROBE_TIMEOUT
        return await service.request("GET", f"{PATH}?api-version={version}", limit=MAX_DOCUMENT, within=within)


def _metadata(instance: Instance) -> Metadata:
    compute = instance.compute
    families = [family for each in instance.network.interfaces for family in (each.ipv4, each.ipv6)]
    pairs = [(address.private, address.public) for family in families for address in family.addresses]
    return Metadata(
        instance_id=sound_instance_id(compute.vm_id),
        hostname=sound_hostname(compute.profile.computer_name or compute.name),
        region=compute.location,
        zone=compute.zone,
        public_keys=sound_keys(line for key in compute.public_keys for line in key.data.splitlines()),
        addresses=sound_addresses(text for pair in pairs for text in pair),
    )
