"""The metadata server of Google Compute Engine as a source of user-data.

References/clouds.md, section 1 (how the machine tells) and 2.3 (how it is asked). One request gets everything.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

from pydantic import Field

from ucvm_agent.errors import SourceAbsent, SourceRefused
from ucvm_agent.network import http
from ucvm_agent.network.retry import retry
from ucvm_agent.sources import base
from ucvm_agent.sources.base import MAX_BODY, Candidate, Found, Metadata
from ucvm_agent.sources.claims import sound_addresses, sound_hostname, sound_instance_id, sound_keys
from ucvm_agent.sources.documents.lenient import Document, Text, read_json
from ucvm_agent.sources.service import PROBE_TIMEOUT, PassingFault, Service, first_of

if TYPE_CHECKING:
    import aiohttp

    from ucvm_agent.settings import Gce
    from ucvm_agent.sources.machine import Machine

PATH = "/computeMetadata/v1/?recursive=true"
FLAVOR = "Metadata-Flavor"
GOOGLE = "Google"
HOLD_SECONDS = 60
"""How long the server is asked to hold a question until something changes, …"""
PAUSE_SECONDS = 5.0
"""… and how long we wait after each answer, for one that does not hold it."""
EXPIRING = "google-ssh"
"""What marks a key with an end, in its comment."""


class AccessConfig(Document):
    """The outside of an interface."""

    external_ip: Text = Field("", alias="externalIp")


class Interface(Document):
    """A network interface."""

    ip: Text = ""
    access_configs: tuple[AccessConfig, ...] = Field((), alias="accessConfigs")


class Project(Document):
    """What is the same for all instances of a project."""

    attributes: dict[str, Text] = Field({})


class Instance(Document):
    """What is read of the instance."""

    id: Text = ""
    hostname: Text = ""
    zone: Text = ""
    attributes: dict[str, Text] = Field({})
    interfaces: tuple[Interface, ...] = Field((), alias="networkInterfaces")


class Tree(Document):
    """All metadata."""

    instance: Instance = Instance()
    project: Project = Project()


class Source(base.Source):
    """User-data from the attributes `user-data` and, as amiconfig had it, `cvm-user-data` of an instance.

    Arguments:
        timeout: seconds for one request.
    """

    name = "gce"
    rank = 45

    def __init__(self, settings: Gce, *, timeout: float = http.TOTAL_TIMEOUT) -> None:
        self._settings = settings
        self._timeout = timeout

    def candidate(self, machine: Machine) -> Candidate:
        """Tell GCE by its names in the firmware tables."""
        product = machine.dmi.get("product_name", "")
        if product in ("Google Compute Engine", "Google"):
            return Candidate(True, f"product_name is {product}")
        if machine.dmi.get("product_serial", "").startswith("GoogleCloud-"):
            return Candidate(True, "product_serial begins with GoogleCloud-")
        return Candidate(None, "the machine does not tell")

    async def fetch(self) -> Found:
        """Ask for the whole tree; only an answer that says it is Google's counts."""
        found, _, _ = await self._read(PATH, self._settings.endpoints, self._timeout)
        return found

    async def changes(self, known: Found, pause: float) -> AsyncGenerator[Found, None]:
        """Let the server hold each question until something has changed; the first one is answered at once."""
        etag, endpoints = "0", self._settings.endpoints
        while pause:
            path = f"{PATH}&wait_for_change=true&last_etag={quote(etag)}&timeout_sec={HOLD_SECONDS}"
            found, etag, endpoint = await self._read(path, endpoints, HOLD_SECONDS + self._timeout)
            endpoints = (endpoint,)
            yield found
            await asyncio.sleep(PAUSE_SECONDS)

    async def _read(self, path: str, endpoints: Sequence[str], seconds: float) -> tuple[Found, str, str]:
        """Return what the server has, the tag of this version of it, and the endpoint that answered."""
        async with http.session(total=seconds, link_local=True) as session:
            calls = [self._read_at(session, endpoint, path) for endpoint in endpoints]
            return await first_of(calls, same=True)

    async def _read_at(self, session: aiohttp.ClientSession, endpoint: str, path: str) -> tuple[Found, str, str]:
        service = Service(session, endpoint, headers={FLAVOR: GOOGLE}, setting="sources.gce.endpoints")
        body, etag = await retry(lambda: self._ask(service, path), on=PassingFault)
        return self._found(read_json(Tree, body, PATH), service), etag, endpoint

    async def _ask(self, service: Service, path: str) -> tuple[bytes, str]:
        within = None if self.detected else PROBE_TIMEOUT
        answer = await service.request("GET", path, limit=MAX_BODY, within=within)
        if answer.status == 200 and answer.headers.get(FLAVOR) != GOOGLE:
            raise SourceAbsent("the server there does not say that it is Google's", where=service.url(""))
        body = service.taken(answer, path)
        if body is None:
            raise SourceAbsent("the server there knows nothing of GCE", where=service.url(""))
        self.reached = True
        return body, answer.headers.get("ETag", "0")

    def _found(self, tree: Tree, service: Service) -> Found:
        attributes = tree.instance.attributes
        instance_id = sound_instance_id(tree.instance.id)
        if not instance_id:
            raise SourceRefused("it has no id of an instance", where=service.url("/computeMetadata/v1/instance/id"))
        name = next((name for name in ("user-data", "cvm-user-data") if name in attributes), "user-data")
        text = attributes.get(name)
        return Found(
            source=self.name,
            origin=service.url(f"/computeMetadata/v1/instance/attributes/{name}"),
            user_data=None if text is None else text.encode(errors="replace"),
            base64=name == "cvm-user-data" or attributes.get("user-data-encoding") == "base64",
            metadata=_metadata(tree, instance_id),
        )


def _metadata(tree: Tree, instance_id: str) -> Metadata:
    instance = tree.instance
    zone = instance.zone.rpartition("/")[2]
    inside = [interface.ip for interface in instance.interfaces]
    outside = [config.external_ip for interface in instance.interfaces for config in interface.access_configs]
    return Metadata(
        instance_id=instance_id,
        hostname=sound_hostname(instance.hostname),
        region=zone.rpartition("-")[0],
        zone=zone,
        public_keys=sound_keys(_key_lines(tree, datetime.now(UTC))),
        addresses=sound_addresses([*inside, *outside]),
    )


def _key_lines(tree: Tree, now: datetime) -> Iterator[str]:
    """Yield the keys that count; the project's ones do unless the instance blocks or replaces them."""
    own, shared = tree.instance.attributes, tree.project.attributes
    texts = [own.get("ssh-keys", ""), own.get("sshKeys", "")]
    if own.get("block-project-ssh-keys", "").lower() != "true" and "sshKeys" not in own:
        texts += [shared.get("ssh-keys", ""), shared.get("sshKeys", "")]
    for line in "\n".join(texts).splitlines():
        _, _, key = line.partition(":")
        bare, expiring, terms = key.partition(f" {EXPIRING} ")
        if line.isascii() and not (expiring and _expired(terms, now)):
            yield bare


def _expired(terms: str, now: datetime) -> bool:
    """Return whether a key's end has passed; one whose end cannot be read counts as expired."""
    try:
        return datetime.strptime(json.loads(terms)["expireOn"], "%Y-%m-%dT%H:%M:%S%z") <= now
    except (ValueError, KeyError, TypeError):
        return True
