r"""Metadata services of OpenStack, GCE, Azure and CloudStack, to the letter of references/clouds.md, 2.2 to 2.5.

In a test:

    async with openstack(b"#!/bin/sh\n") as service:
        … service.url …
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Self

from aiohttp import web

from tests.servers.imds import KEY, Request
from tests.servers.web import deliver

UUID = "d8e02d56-2648-49a3-bf97-6be8f1204f38"
VM_ID = "02aab8a4-74ef-476e-8182-f6d2ba4166a6"
GCE_ID = "4279874531834621234"


@dataclass
class MetadataServer:
    """A server of documents that can be told to misbehave.

    Arguments:
        documents: by path, or by path and query; None = 404.
        wants: a header without which a request gets `unwanted`.
        gives: headers of each answer.
        statuses: that requests get instead of an answer, one after the other, before it recovers.
        broken: so many requests get half an answer before it recovers.
        silent: no request gets an answer.
        redirect: where every request is sent instead, by 302.
        page: a web page that every request gets, with 200 (a captive portal).
        kind: content type of all answers.
        etag: of what there is now; a question that waits for a change (GCE) is held until `change` is called.

    Attributes:
        url: without a path.
        requests: what it was asked.
        held: the tags with which questions are, or were, held.
    """

    documents: Mapping[str, bytes | None]
    wants: tuple[str, str] | None = None
    unwanted: int = 403
    gives: Mapping[str, str] = field(default_factory=dict)
    statuses: list[int] = field(default_factory=list)
    broken: int = 0
    silent: bool = False
    redirect: str = ""
    page: str = ""
    kind: str = "text/plain"
    etag: str = ""
    host: str = "127.0.0.1"
    port: int = 0
    url: str = ""
    requests: list[Request] = field(default_factory=list)
    held: asyncio.Queue[str] = field(default_factory=asyncio.Queue)

    async def __aenter__(self) -> Self:
        self._closing = asyncio.Event()
        self._changed = asyncio.Event()
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(application, shutdown_timeout=1.0, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, self.host, self.port).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing.set()
        self._changed.set()
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(Request(request.method, request.path_qs, dict(request.headers)))
        if self.silent:
            await self._closing.wait()
        if self.page:
            return web.Response(text=self.page, content_type="text/html")
        if self.redirect:
            return web.Response(status=302, headers={"Location": self.redirect})
        if self.statuses:
            return web.Response(status=self.statuses.pop(0))
        if self.wants and request.headers.get(self.wants[0]) != self.wants[1]:
            return web.Response(status=self.unwanted)
        if "X-Forwarded-For" in request.headers:
            return web.Response(status=403)
        if "%" in request.host:  # an interface of the VM is no name of a server (RFC 6874, section 4)
            return web.Response(status=400)
        if self.etag and request.query.get("last_etag") == self.etag:
            self.held.put_nowait(self.etag)
            await self._changed.wait()
        return await self._send(request, self.documents.get(_without_wait(request), self.documents.get(request.path)))

    def change(self, documents: Mapping[str, bytes | None], etag: str) -> None:
        """Have other documents, and tell those who wait for that."""
        self.documents, self.etag = documents, etag
        self.gives = {**self.gives, "ETag": etag}
        self._changed.set()
        self._changed = asyncio.Event()

    async def _send(self, request: web.Request, body: bytes | None) -> web.StreamResponse:
        if body is None:
            return web.Response(status=404, text="<html>404</html>", content_type="text/html", headers=self.gives)
        if body == BAD_REQUEST:
            return web.Response(status=400)
        half = self.broken > 0
        self.broken -= half
        return await deliver(request, body, {"Content-Type": self.kind, **self.gives}, half=half)


def _without_wait(request: web.Request) -> str:
    return str(request.rel_url.without_query_params("wait_for_change", "last_etag", "timeout_sec"))


BAD_REQUEST = b"\0bad request"
"""A document that stands for the status 400."""


def openstack(
    user_data: bytes | None = b"#!/bin/sh\n",
    *,
    versions: str = "2012-08-10\n2013-10-17\n2018-08-27\nlatest",
    version: str = "2018-08-27",
    vendor_data: object = None,
    **behaviour: object,
) -> MetadataServer:
    """Return an OpenStack metadata service, with one version that has content."""
    meta_data = {
        "uuid": UUID,
        "hostname": "worker-1.novalocal",
        "name": "worker-1",
        "public_keys": {"mine": KEY + "\n"},
        "keys": [{"name": "mine", "type": "ssh", "data": KEY}, {"name": "win", "type": "x509", "data": "x"}],
        "availability_zone": "nova",
        "random_seed": "c2VjcmV0LXNlZWQ=",
        "admin_pass": "admin-secret",
        "meta": {"role": "worker"},
    }
    network = {"networks": [{"type": "ipv4", "ip_address": "10.0.0.7"}, {"type": "ipv4_dhcp"}]}
    return _server(
        {
            "/openstack": versions.encode(),
            f"/openstack/{version}/meta_data.json": json.dumps(meta_data).encode(),
            f"/openstack/{version}/user_data": user_data,
            f"/openstack/{version}/network_data.json": json.dumps(network).encode(),
            f"/openstack/{version}/vendor_data.json": json.dumps(vendor_data or {}).encode(),
        },
        behaviour,
    )


def gce(
    attributes: Mapping[str, str] | None = None, *, project: Mapping[str, str] | None = None, **behaviour: object
) -> MetadataServer:
    """Return a GCE metadata server with these attributes of the instance and of the project."""
    tree = {
        "instance": {
            "id": int(GCE_ID),
            "hostname": "worker-1.c.project.internal",
            "zone": "projects/1234/zones/europe-west1-b",
            "attributes": {"user-data": "#!/bin/sh\n"} if attributes is None else attributes,
            "networkInterfaces": [{"ip": "10.0.0.7", "mtu": 1460, "accessConfigs": [{"externalIp": "192.0.2.7"}]}],
            "preempted": "FALSE",
        },
        "project": {"attributes": project or {}, "projectId": "project"},
    }
    return _server(
        {"/computeMetadata/v1/?recursive=true": json.dumps(tree).encode()},
        {"wants": ("Metadata-Flavor", "Google"), "gives": {"Metadata-Flavor": "Google"}, **behaviour},
    )


def azure(user_data: bytes | None = b"#!/bin/sh\n", *, old: bool = False, **behaviour: object) -> MetadataServer:
    """Return Azure's metadata service; an old one does not know newer versions, nor userData."""
    compute = {
        "vmId": VM_ID,
        "name": "worker-1",
        "location": "westeurope",
        "zone": "1",
        "osProfile": {"adminUsername": "ada", "computerName": "worker-1", "disablePasswordAuthentication": "true"},
        "publicKeys": [{"keyData": KEY, "path": "/home/ada/.ssh/authorized_keys"}],
        "customData": "",
    }
    if not old:
        compute["userData"] = base64.b64encode(user_data or b"").decode()
    family = {"ipAddress": [{"privateIpAddress": "10.0.0.7", "publicIpAddress": "192.0.2.7"}]}
    document = json.dumps({"compute": compute, "network": {"interface": [{"ipv4": family, "ipv6": {"ipAddress": []}}]}})
    return _server(
        {
            "/metadata/instance?api-version=2021-08-01&extended=true": BAD_REQUEST if old else document.encode(),
            "/metadata/instance?api-version=2019-06-01": document.encode(),
        },
        {"wants": ("Metadata", "true"), "unwanted": 400, "kind": "application/json", **behaviour},
    )


def cloudstack(user_data: bytes | None = b"#!/bin/sh\n", **behaviour: object) -> MetadataServer:
    """Return the virtual router of CloudStack."""
    items = {
        "instance-id": UUID,
        "local-hostname": "worker-1",
        "public-keys": KEY,
        "availability-zone": "zone-1",
        "local-ipv4": "10.1.1.7",
        "public-ipv4": "192.0.2.7",
    }
    metadata = {f"/latest/meta-data/{item}": text.encode() for item, text in items.items()}
    return _server({"/latest/user-data": user_data, **metadata}, behaviour)


def _server(documents: Mapping[str, bytes | None], behaviour: Mapping[str, object]) -> MetadataServer:
    return MetadataServer(documents, **behaviour)  # type: ignore[arg-type]  # named and typed in MetadataServer


SERVICES: dict[str, Callable[..., MetadataServer]] = {
    "openstack": openstack,
    "gce": gce,
    "azure": azure,
    "cloudstack": cloudstack,
}


EC2_TREE: dict[str, bytes | None] = {
    "/latest/meta-data/": b"instance-id",
    "/latest/meta-data/instance-id": b"i-0000000a",
    "/latest/user-data": b"#!/bin/sh\n",
}
"""What OpenStack serves beside its own tree, with another instance-id."""


async def serve(names: list[str], host: str, port: int) -> None:
    """Serve several clouds at one address until SIGTERM; the first line of output says that it does."""
    documents: dict[str, bytes | None] = EC2_TREE.copy() if "openstack" in names else {}
    for name in names:
        documents |= SERVICES[name]().documents
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with MetadataServer(documents, gives={"Metadata-Flavor": "Google"}, host=host, port=port) as server:
        print(server.url, flush=True)
        await stop.wait()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description="Metadata services of some clouds at one address.")
    parser.add_argument("clouds", nargs="+", choices=sorted(SERVICES))
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 = any that is free")
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.clouds, arguments.host, arguments.port))


if __name__ == "__main__":
    main()
