"""What is read from a config drive, in each of its forms."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from contextualizers.write_files import WriteFiles, WriteFilesDeferred, WriteFilesOptions
from tests.servers.imds import KEY
from tests.sources.images import make_image
from ucvm_agent.contextualize.actions import WriteFile
from ucvm_agent.contextualize.options import read_options
from ucvm_agent.contextualize.system import System
from ucvm_agent.errors import SourceAbsent, SourceRefused
from ucvm_agent.settings import ConfigDrive
from ucvm_agent.sources.base import Found, PersonalityFile
from ucvm_agent.sources.configdrive import Source
from ucvm_agent.sources.machine import Machine
from ucvm_agent.sources.volumes.device import Device
from ucvm_agent.userdata.decode import decode

UUID = "83679162-1378-4288-a2d4-70e13ec132aa"
OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA other"
META_DATA = {
    "uuid": UUID,
    "hostname": "worker-1.novalocal",
    "name": "worker-1",
    "availability_zone": "nova",
    "launch_index": 0,
    "public_keys": {"mykey": f"{KEY}\n"},
    "keys": [{"name": "mykey", "type": "ssh", "data": OTHER_KEY}, {"name": "c", "type": "x509", "data": KEY}],
    "admin_pass": "secret-password",
    "random_seed": "AAAA",
}
NETWORK_DATA = {"networks": [{"type": "ipv4", "ip_address": "10.0.0.7"}, {"ip_address": "2001:db8::7/64"}, 7]}


async def fetch(folder: Path, files: dict[str, bytes | str], *, kind: str = "both") -> Found:
    encoded = {name: content.encode() if isinstance(content, str) else content for name, content in files.items()}
    image = make_image(folder / "drive", encoded, kind=kind, label="config-2")
    return await Source(ConfigDrive(device=str(image))).fetch()


@pytest.mark.parametrize("kind", ["both", "fat12"])
async def test_tree_of_openstack(tmp_path: Path, kind: str) -> None:
    """The newest version that both know; the uuid is the instance-id, not the id of the tree beside it."""
    found = await fetch(
        tmp_path,
        {
            "openstack/2012-08-10/meta_data.json": "{}",
            "openstack/2018-08-27/meta_data.json": json.dumps(META_DATA),
            "openstack/2018-08-27/user_data": b"\x1f\x8b raw",
            "openstack/2018-08-27/network_data.json": json.dumps(NETWORK_DATA),
            "openstack/2018-08-27/vendor_data.json": json.dumps({"cloud-init": "#cloud-config\n{}"}),
            "openstack/latest/meta_data.json": "{}",
            "ec2/latest/meta-data.json": json.dumps({"instance-id": "i-00000001"}),
        },
        kind=kind,
    )
    assert (found.source, found.origin) == ("configdrive", str(tmp_path / "drive"))
    assert (found.user_data, found.base64) == (b"\x1f\x8b raw", False)
    assert found.vendor_data == b"#cloud-config\n{}"
    assert (found.metadata.instance_id, found.metadata.hostname) == (UUID, "worker-1.novalocal")
    assert found.metadata.zone == "nova"
    assert found.metadata.public_keys == (KEY, OTHER_KEY)
    assert found.metadata.addresses == ("10.0.0.7", "2001:db8::7")
    assert "secret" not in repr(found)


async def test_drive_for_the_bootloader_has_user_data_alone(tmp_path: Path) -> None:
    """That was enough for µCernVM, whatever the label; the instance-id is then our own, and stays the same."""
    found = await fetch(tmp_path, {"openstack/latest/user_data": b"data"})
    again = await Source(ConfigDrive(device=str(tmp_path / "drive"))).fetch()
    assert found.user_data == b"data"
    assert found.metadata.instance_id
    assert found == again


async def test_instance_without_user_data(tmp_path: Path) -> None:
    """Metadata alone is a drive, too."""
    found = await fetch(tmp_path, {"openstack/latest/meta_data.json": json.dumps(META_DATA)})
    assert (found.user_data, found.metadata.instance_id) == (None, UUID)


@pytest.mark.parametrize(
    ("vendor", "second", "expected"),
    [
        ('"#!/bin/sh"', None, b"#!/bin/sh"),
        ('{"cloud-init": "#!/bin/sh", "other": "x"}', "{}", b"#!/bin/sh"),
        ('["one", "two"]', None, b'#cloud-config-archive\n["one", "two"]'),
        ('"one"', '{"cloud-init": ["two"]}', b'#cloud-config-archive\n["one", "two"]'),
        ("{}", None, None),
        ("<html>", "7", None),
    ],
)
async def test_vendor_data_in_all_forms(tmp_path: Path, vendor: str, second: str | None, expected: bytes) -> None:
    """A text, a list, or what is meant for us; the second document comes later and so overrules."""
    files: dict[str, bytes | str] = {
        "openstack/latest/meta_data.json": "{}",
        "openstack/latest/vendor_data.json": vendor,
        "openstack/latest/vendor_data2.json": second or "{}",
    }
    assert (await fetch(tmp_path, files)).vendor_data == expected


@pytest.mark.parametrize("document", ["", "<html>", "[]", "[" * 100_000, '{"uuid": {}, "public_keys": 7, "keys": {}}'])
async def test_odd_metadata_does_not_cost_the_user_data(tmp_path: Path, document: str) -> None:
    """Half a document, another one, or values of another type."""
    files: dict[str, bytes | str] = {
        "openstack/latest/meta_data.json": document,
        "openstack/latest/user_data": "data",
    }
    found = await fetch(tmp_path, files)
    assert (found.user_data, found.metadata.public_keys) == (b"data", ())


async def test_files_of_the_personality(tmp_path: Path) -> None:
    """They are written as those of the user-data are; what is not sound or not there is left out."""
    entries = [
        {"path": "/etc/a", "content_path": "/content/0000"},
        {"path": "/etc/b", "content_path": "content/0001"},
        {"path": "/etc/gone", "content_path": "/content/0002"},
        {"path": "/etc/../b", "content_path": "/content/0000"},
        {"path": "etc/b", "content_path": "/content/0000"},
        {"path": "/etc/c", "content_path": "/latest/user_data"},
        {"path": "/etc/c", "content_path": "/content/../latest/user_data"},
        {"path": ["/etc/c"]},
        7,
    ]
    found = await fetch(
        tmp_path,
        {
            "openstack/latest/meta_data.json": json.dumps({**META_DATA, "files": entries}),
            "openstack/latest/user_data": "#cloud-config\nwrite_files: [{path: /etc/b, content: mine}]\n",
            "openstack/content/0000": b"\x00key",
            "openstack/content/0001": b"b",
        },
    )
    assert found.files == (PersonalityFile("/etc/a", b"\x00key"), PersonalityFile("/etc/b", b"b"))
    assert "key" not in repr(found.files)
    context = decode(found)
    options, _ = read_options("write_files", WriteFilesOptions, context)
    assert options is not None
    assert list(WriteFiles().plan(options, context, System(tmp_path))) == [
        WriteFile(path="/etc/a", content=b"\x00key", mode=0o600),
        WriteFile(path="/etc/b", content=b"mine"),
    ]
    assert list(WriteFilesDeferred().plan(options, context, System(tmp_path))) == []
    assert context.digest != decode(replace(found, files=())).digest


@pytest.mark.parametrize("mark", ["_", "-"])
async def test_folder_of_cloudstack(tmp_path: Path, mark: str) -> None:
    """With the names of its older and newer releases; the password is left alone."""
    found = await fetch(
        tmp_path,
        {
            "cloudstack/userdata/user_data.txt": "data",
            f"cloudstack/metadata/instance{mark}id.txt": f"{UUID}\n",
            f"cloudstack/metadata/local{mark}hostname.txt": "vm-1",
            f"cloudstack/metadata/public{mark}keys.txt": f"{KEY}\n{OTHER_KEY}\n",
            f"cloudstack/metadata/availability{mark}zone.txt": "zone-1",
            f"cloudstack/metadata/local{mark}ipv4.txt": "10.0.0.7",
            "cloudstack/password/vm_password.txt": "secret",
        },
    )
    assert found.user_data == b"data"
    assert (found.metadata.instance_id, found.metadata.hostname, found.metadata.zone) == (UUID, "vm-1", "zone-1")
    assert found.metadata.public_keys == (KEY, OTHER_KEY)


async def test_drive_of_version_1(tmp_path: Path) -> None:
    """Keys and one document of metadata, user-data inside it."""
    meta = {"instance-id": "i-1", "user-data": "#!/bin/sh\n", "public-keys": OTHER_KEY, "dsmode": "local"}
    found = await fetch(tmp_path, {"meta.js": json.dumps(meta), "root/.ssh/authorized_keys": KEY})
    assert (found.user_data, found.metadata.instance_id) == (b"#!/bin/sh\n", "i-1")
    assert found.metadata.public_keys == (KEY, OTHER_KEY)


async def test_tree_of_ec2_alone(tmp_path: Path) -> None:
    """In the absence of the better one."""
    meta = {"instance-id": "i-1", "local-hostname": "vm", "public-keys": {"0": KEY}, "local-ipv4": "10.0.0.7"}
    found = await fetch(tmp_path, {"ec2/latest/meta-data.json": json.dumps(meta), "ec2/latest/user-data": "data"})
    assert (found.user_data, found.metadata.instance_id, found.metadata.hostname) == (b"data", "i-1", "vm")
    assert (found.metadata.public_keys, found.metadata.addresses) == ((KEY,), ("10.0.0.7",))


async def test_other_volume_is_absent(tmp_path: Path) -> None:
    """And so is a file that is no volume; a damaged one is refused."""
    with pytest.raises(SourceAbsent, match="config drive"):
        await fetch(tmp_path, {"readme": "x"})
    (tmp_path / "text").write_text("hello")
    with pytest.raises(SourceAbsent, match="no ISO 9660"):
        await Source(ConfigDrive(device=str(tmp_path / "text"))).fetch()
    drive = (tmp_path / "drive").read_bytes()
    (tmp_path / "half").write_bytes(drive[: 20 * 2048])
    with pytest.raises(SourceRefused, match="damaged"):
        await Source(ConfigDrive(device=str(tmp_path / "half"))).fetch()


async def test_fifo_does_not_hang(tmp_path: Path) -> None:
    """Nobody writes to it, and nobody can seek in it."""
    os.mkfifo(tmp_path / "fifo")
    async with asyncio.timeout(10):
        with pytest.raises(Exception, match="fifo"):
            await Source(ConfigDrive(device=str(tmp_path / "fifo"))).fetch()


def test_label_tells_without_a_look() -> None:
    """And an unprivileged user needs no more to know."""
    source = Source(ConfigDrive())
    assert source.candidate(Machine(volumes=(Device("/dev/sr0", "CONFIG-2", "iso9660"),))).likely is True
    assert source.candidate(Machine(volumes=(Device("/dev/sr0", "x", "iso9660"),))).likely is None
    assert source.candidate(Machine(volumes=(Device("/dev/vda", "x", "ext4"),))).likely is False
