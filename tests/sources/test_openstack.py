"""What is particular to the `openstack` source."""

from __future__ import annotations

import json

import pytest

from tests.servers.metadata import UUID, MetadataServer, openstack
from ucvm_agent.errors import SourceRefused
from ucvm_agent.settings import OpenStack
from ucvm_agent.sources.base import Found
from ucvm_agent.sources.machine import Machine
from ucvm_agent.sources.openstack import Source


async def fetch(*endpoints: str) -> Found:
    return await Source(OpenStack(endpoints=endpoints)).fetch()


async def test_everything_comes_from_the_newest_version_that_both_know() -> None:
    """The uuid is the instance-id, the zone and the fixed addresses are told."""
    async with openstack(b"\x1f\x8b\x00raw") as service:
        found = await fetch(service.url)
    assert found.user_data == b"\x1f\x8b\x00raw"
    assert found.origin == f"{service.url}/openstack/2018-08-27/user_data"
    assert (found.metadata.instance_id, found.metadata.zone) == (UUID, "nova")
    assert found.metadata.addresses == ("10.0.0.7",)


@pytest.mark.parametrize(
    ("versions", "version"), [("2012-08-10\n2013-10-17\n2099-01-01", "2013-10-17"), ("latest", "latest")]
)
async def test_old_and_unknown_versions(versions: str, version: str) -> None:
    """An old cloud has old folders, one from the future has ours as well."""
    async with openstack(versions=versions, version=version) as service:
        assert f"/{version}/" in (await fetch(service.url)).origin


async def test_server_without_a_version_that_we_know_is_refused() -> None:
    """It is something else that happens to have this path."""
    async with openstack(versions="hello world") as service:
        with pytest.raises(SourceRefused, match="versions"):
            await fetch(service.url)


@pytest.mark.parametrize("user_data", [None, b""])
async def test_instance_without_user_data_is_not_an_absent_source(user_data: bytes | None) -> None:
    """404 means that there is none."""
    async with openstack(user_data) as service:
        assert (await fetch(service.url)).user_data == user_data


async def test_vendor_data_for_us_are_taken() -> None:
    """What other agents find under their own keys is not."""
    async with openstack(vendor_data={"cloud-init": "#cloud-config\n{}", "other": "x"}) as service:
        assert (await fetch(service.url)).vendor_data == b"#cloud-config\n{}"


async def test_user_data_survive_bad_documents_beside_them() -> None:
    """Network and vendor data that are no JSON count as none; an instance without uuid is none."""
    async with openstack() as sound:
        documents = dict(sound.documents)
    folder = "/openstack/2018-08-27"
    broken = {**documents, f"{folder}/network_data.json": b"[", f"{folder}/vendor_data.json": b"{"}
    async with MetadataServer(broken) as service:
        found = await fetch(service.url)
    assert (found.user_data, found.vendor_data, found.metadata.addresses) == (b"#!/bin/sh\n", None, ())
    nobody = {**documents, f"{folder}/meta_data.json": json.dumps({"hostname": "x"}).encode()}
    async with MetadataServer(nobody) as service:
        with pytest.raises(SourceRefused, match="uuid"):
            await fetch(service.url)


async def test_the_endpoint_that_answers_is_taken(dead_end: str, black_hole: str) -> None:
    """The others are asked at the same time, and given up."""
    async with openstack() as service:
        found = await fetch(dead_end, black_hole, service.url)
    assert found.origin.startswith(service.url)


@pytest.mark.parametrize(
    ("machine", "likely"),
    [
        (Machine({"product_name": "OpenStack Nova"}), True),
        (Machine({"product_name": "OpenStack Compute"}), True),
        (Machine({"chassis_asset_tag": "HUAWEICLOUD"}), True),
        (Machine({"chassis_asset_tag": "OpenStack Nova"}), True),
        (Machine(container_product="OpenStack Nova"), True),
        (Machine({"product_name": "HUAWEICLOUD"}), None),
        (Machine(), None),
    ],
)
def test_machine_tells_whether_it_is_openstack(machine: Machine, likely: bool | None) -> None:
    """By the signs of references/clouds.md, section 1."""
    assert Source(OpenStack()).candidate(machine).likely is likely
