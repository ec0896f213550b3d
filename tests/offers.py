"""The same user-data offered by each source, beside secrets of the source's own."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.servers import metadata
from tests.servers.controller import Controller
from tests.servers.imds import Imds
from tests.servers.online import CONTEXT_ID, Online, context_file
from tests.servers.prosody import Prosody
from tests.sources.images import make_image
from tests.sources.test_azure_medium import OVF as AZURE_OVF
from tests.sources.test_vsphere import OVF

SECRET = "hush"
"""Part of every secret that an offer makes up."""

OPENSTACK_META_DATA = b'{"uuid": "u-1", "admin_pass": "hush-admin", "random_seed": "hush-seed"}'


@dataclass(frozen=True)
class Offer:
    """A source that has the user-data.

    Arguments:
        source: its name.
        settings: tables of the settings file that lead there.
        pin: what has to be paired first, …
        pairing_secret: … and with which secret.
        generated: returns the secrets that were made on the way, once all is over.
    """

    source: str
    settings: Mapping[str, Mapping[str, object]]
    pin: str = ""
    pairing_secret: str = ""
    generated: Callable[[], Iterable[str]] = field(default=tuple)


Offering = Callable[[Path, bytes], AbstractAsyncContextManager[Offer]]


@asynccontextmanager
async def ec2(folder: Path, user_data: bytes) -> AsyncIterator[Offer]:
    """Offer it by the EC2 metadata service, whose tokens are secrets."""
    async with Imds(user_data) as imds:
        yield Offer("ec2", {"sources.ec2": {"endpoints": [imds.url]}}, generated=lambda: imds.tokens)


@asynccontextmanager
async def openstack(folder: Path, user_data: bytes) -> AsyncIterator[Offer]:
    """Offer it by OpenStack's metadata service, which tells a password and a seed of random numbers."""
    async with metadata.openstack(user_data) as server:
        server.documents = {**server.documents, "/openstack/2018-08-27/meta_data.json": OPENSTACK_META_DATA}
        yield Offer("openstack", {"sources.openstack": {"endpoints": [server.url]}})


@asynccontextmanager
async def gce(folder: Path, user_data: bytes) -> AsyncIterator[Offer]:
    """Offer it by GCE's metadata server, beside other attributes."""
    attributes = {"user-data": user_data.decode(), "db-password": "hush-attribute"}
    async with metadata.gce(attributes, project={"token": "hush-project"}) as server:
        yield Offer("gce", {"sources.gce": {"endpoints": [server.url]}})


@asynccontextmanager
async def azure(folder: Path, user_data: bytes) -> AsyncIterator[Offer]:
    """Offer it by Azure's metadata service."""
    async with metadata.azure(user_data) as server:
        yield Offer("azure", {"sources.azure": {"endpoint": server.url}})


@asynccontextmanager
async def azure_medium(folder: Path, user_data: bytes) -> AsyncIterator[Offer]:
    """Offer it on Azure's provisioning medium, which has the password of an account."""
    ovf = AZURE_OVF.replace("secret-password", "hush-ovf").replace("DATA", base64.b64encode(user_data).decode())
    async with metadata.azure() as server:
        image = make_image(folder / "medium", {"ovf-env.xml": ovf.encode()}, kind="udf")
        yield Offer("azure", {"sources.azure": {"device": str(image), "endpoint": server.url}})


@asynccontextmanager
async def cloudstack(folder: Path, user_data: bytes) -> AsyncIterator[Offer]:
    """Offer it by CloudStack's router."""
    async with metadata.cloudstack(user_data) as server:
        yield Offer("cloudstack", {"sources.cloudstack": {"routers": [server.url]}})


@asynccontextmanager
async def configdrive(folder: Path, user_data: bytes) -> AsyncIterator[Offer]:
    """Offer it on OpenStack's drive, which has a password and a seed of random numbers."""
    tree = {"meta_data.json": OPENSTACK_META_DATA, "user_data": user_data}
    files = {f"openstack/latest/{name}": content for name, content in tree.items()}
    image = make_image(folder / "drive", files, label="config-2")
    yield Offer("configdrive", {"sources.configdrive": {"device": str(image)}})


@asynccontextmanager
async def nocloud(folder: Path, user_data: bytes) -> AsyncIterator[Offer]:
    """Offer it on a volume of NoCloud."""
    files = {"user-data": user_data, "meta-data": b"instance-id: i-1\npassword: hush-meta\n"}
    image = make_image(folder / "seed", files, label="cidata")
    yield Offer("nocloud", {"sources.nocloud": {"device": str(image)}})


@asynccontextmanager
async def opennebula(folder: Path, user_data: bytes) -> AsyncIterator[Offer]:
    """Offer it in OpenNebula's variables, among which are a password and a token."""
    text = f"USER_DATA='{base64.b64encode(user_data).decode()}'\nUSER_DATA_ENCODING='base64'\nVMID='7'\n"
    text += "PASSWORD='hush-variable'\nONEGATE_TOKEN='hush-onegate'\n"
    image = make_image(folder / "context", {"context.sh": text.encode()}, label="CONTEXT")
    yield Offer("opennebula", {"sources.opennebula": {"device": str(image)}})


@asynccontextmanager
async def vsphere(folder: Path, user_data: bytes) -> AsyncIterator[Offer]:
    """Offer it among vSphere's properties, one of which is a password."""
    ovf = OVF.replace("secret", "hush-property").replace("IyEvYmluL3NoCg==", base64.b64encode(user_data).decode())
    image = make_image(folder / "disc", {"ovf-env.xml": ovf.encode()})
    yield Offer("vsphere", {"sources.vsphere": {"device": str(image)}})


@asynccontextmanager
async def extra(folder: Path, user_data: bytes) -> AsyncIterator[Offer]:
    """Offer it as extra user-data on a volume."""
    image = make_image(folder / "extra", {"cernvm/extra-user-data": user_data})
    yield Offer("extra", {"sources.extra": {"device": str(image)}})


@asynccontextmanager
async def bootloader(folder: Path, user_data: bytes) -> AsyncIterator[Offer]:
    """Leave it as the bootloader does."""
    (folder / "user-data").write_bytes(user_data)
    yield Offer("bootloader", {"sources.bootloader": {"context": str(folder), "extra": str(folder / "none")}})


@asynccontextmanager
async def file(folder: Path, user_data: bytes) -> AsyncIterator[Offer]:
    """Offer it in a file."""
    (folder / "user-data").write_bytes(user_data)
    yield Offer("file", {"sources.file": {"path": str(folder / "user-data")}})


@asynccontextmanager
async def cernvm_online(folder: Path, user_data: bytes) -> AsyncIterator[Offer]:
    """Offer it, encrypted, by CernVM Online to who has the key and its secret."""
    async with Online() as online:
        online.offer(context_file(user_data), secret="hush-key", ticket=CONTEXT_ID)
        table = {"url": online.url, "insecure": True, "key": f"{CONTEXT_ID}:hush-key"}
        yield Offer("cernvm_online", {"sources.cernvm_online": table}, generated=lambda: _asked(online))


@asynccontextmanager
async def paired(folder: Path, user_data: bytes) -> AsyncIterator[Offer]:
    """Offer it, encrypted, by CernVM Online to who has a PIN and its secret."""
    async with Online() as online:
        pin = online.offer(context_file(user_data), secret="hush-pairing")
        tables = {"sources.cernvm_online": {"url": online.url, "insecure": True}}
        yield Offer("cernvm_online", tables, pin, "hush-pairing", generated=lambda: _asked(online))


def _asked(online: Online) -> Iterable[str]:
    return {query[name] for query in online.queries for name in ("pin", "context_id", "checksum") if name in query}


@asynccontextmanager
async def xmpp(folder: Path, user_data: bytes) -> AsyncIterator[Offer]:
    """Have a controller that offers it over XMPP, and is told of all that happens."""
    async with (
        Prosody(folder, {"vm": "hush-xmpp", "jm": "jm"}) as server,
        Controller(server.jid("jm"), "jm", server.host, server.port, server.ca_file) as controller,
    ):
        controller.handout.user_data = user_data
        table = {"jid": server.jid("vm"), "password": "hush-xmpp", "controllers": [server.jid("jm")]}
        place = {"host": server.host, "port": server.port, "ca_file": str(server.ca_file)}
        # In base64 every message of SCRAM begins like this.
        yield Offer("xmpp", {"xmpp": table | place}, generated=lambda: ["biws"])


OFFERS: dict[str, Offering] = {
    offering.__name__: offering
    for offering in (
        azure,
        azure_medium,
        bootloader,
        cernvm_online,
        cloudstack,
        configdrive,
        ec2,
        extra,
        file,
        gce,
        nocloud,
        opennebula,
        openstack,
        paired,
        vsphere,
        xmpp,
    )
}
"""All of them; a source may offer it in two ways."""
