"""What is particular to the `azure` source."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from tests.servers.metadata import VM_ID, azure
from tests.sources.images import make_image
from ucvm_agent.errors import SourceAbsent, SourceUnavailable
from ucvm_agent.settings import Azure
from ucvm_agent.sources.azure import ASSET_TAG, Source
from ucvm_agent.sources.azure_medium import TAG
from ucvm_agent.sources.machine import Machine


async def test_everything_comes_in_one_request() -> None:
    """User-data is base64, as the platform says."""
    async with azure(b"#!/bin/sh\n") as service:
        found = await Source(Azure(endpoint=service.url)).fetch()
    assert base64.b64decode(found.user_data or b"") == b"#!/bin/sh\n"
    assert found.base64
    assert found.origin.endswith("(userData)")
    assert (found.metadata.instance_id, found.metadata.region, found.metadata.zone) == (VM_ID, "westeurope", "1")
    assert found.metadata.addresses == ("10.0.0.7", "192.0.2.7")
    [request] = service.requests
    assert request.headers["Metadata"] == "true"


async def test_old_service_is_asked_in_its_version() -> None:
    """It has no userData, but knows the instance."""
    async with azure(old=True) as service:
        found = await Source(Azure(endpoint=service.url)).fetch()
    assert (found.user_data, found.metadata.instance_id) == (None, VM_ID)
    assert len(service.requests) == 2


async def test_not_there_means_not_yet_where_the_machine_says_azure() -> None:
    """404 and 410 pass; where nothing tells of Azure they mean that this is another cloud."""
    async with azure(statuses=[404, 410, 404]) as service:
        with pytest.raises(SourceAbsent):
            await Source(Azure(endpoint=service.url)).fetch()
        detected = Source(Azure(endpoint=service.url))
        detected.detected = True
        assert (await detected.fetch()).metadata.instance_id == VM_ID
    async with azure(statuses=[404] * 100) as service:
        lasting = Source(Azure(endpoint=service.url))
        lasting.detected = True
        with pytest.raises(SourceUnavailable):
            await lasting.fetch()


async def test_custom_data_of_the_medium_go_before_user_data(tmp_path: Path) -> None:
    """The service tells whose they are; where it is dark, the medium will do, and where that is absent, the service."""
    medium = str(make_image(tmp_path / "medium", {"CustomData.bin": b"custom", TAG: b""}, kind="udf"))
    other = str(make_image(tmp_path / "other", {"README": b""}))
    async with azure(b"user") as service:
        both = await Source(Azure(endpoint=service.url, device=medium)).fetch()
        alone = await Source(Azure(endpoint=service.url, device=other)).fetch()
    dark = await Source(Azure(endpoint=service.url, device=medium)).fetch()
    assert (both.user_data, both.metadata.instance_id) == (b"custom", VM_ID)
    assert both.origin == f"{medium} (CustomData)"
    assert alone.origin.endswith("(userData)")
    assert dark.user_data == b"custom"
    assert dark.metadata.instance_id


def test_machine_tells_whether_it_is_azure() -> None:
    """By the asset tag."""
    source = Source(Azure())
    assert source.candidate(Machine({"chassis_asset_tag": ASSET_TAG})).likely is True
    assert source.candidate(Machine()).likely is None
