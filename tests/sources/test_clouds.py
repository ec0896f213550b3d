"""What the sources of all clouds make of good, poor and hostile metadata services."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.servers.imds import KEY, Imds
from tests.servers.metadata import GCE_ID, UUID, VM_ID, MetadataServer, azure, cloudstack, gce, openstack
from tests.sources.conftest import descriptors
from ucvm_agent.errors import SourceAbsent, SourceRefused, SourceUnavailable
from ucvm_agent.settings import Azure, CloudStack, Gce, OpenStack
from ucvm_agent.sources import azure as azure_module
from ucvm_agent.sources import cloudstack as cloudstack_module
from ucvm_agent.sources import gce as gce_module
from ucvm_agent.sources import openstack as openstack_module
from ucvm_agent.sources import service as service_module
from ucvm_agent.sources.base import MAX_BODY, Found, Source


@dataclass(frozen=True)
class Cloud:
    """A cloud: its service, and its source for the service at a URL."""

    serve: Callable[..., MetadataServer]
    source: Callable[[str], Source]
    instance_id: str

    async def fetch(self, url: str) -> Found:
        return await self.source(url).fetch()


CLOUDS = {
    "openstack": Cloud(openstack, lambda url: openstack_module.Source(OpenStack(endpoints=(url,))), UUID),
    "gce": Cloud(gce, lambda url: gce_module.Source(Gce(endpoints=(url,))), GCE_ID),
    "azure": Cloud(azure, lambda url: azure_module.Source(Azure(endpoint=url)), VM_ID),
    "cloudstack": Cloud(cloudstack, lambda url: cloudstack_module.Source(CloudStack(routers=(url,))), UUID),
}


@pytest.fixture(params=CLOUDS)
def cloud(request: pytest.FixtureRequest) -> Cloud:
    return CLOUDS[request.param]


async def test_user_data_and_metadata_come_without_a_proxy(cloud: Cloud) -> None:
    """All clouds tell the same few things, and no request claims to come through a proxy."""
    async with cloud.serve() as service:
        found = await cloud.fetch(service.url)
    assert found.metadata.instance_id == cloud.instance_id
    assert found.metadata.hostname.startswith("worker-1")
    assert found.metadata.public_keys in ((KEY,), ())
    assert found.metadata.addresses[0].startswith("10.")
    assert found.origin.startswith(service.url)
    assert not any("X-Forwarded-For" in request.headers for request in service.requests)


async def test_another_server_is_an_absent_source(cloud: Cloud) -> None:
    """404 for all that it asks; it has not been reached."""
    source = cloud.source
    async with MetadataServer({}) as other:
        asked = source(other.url)
        with pytest.raises(SourceAbsent):
            await asked.fetch()
    assert not asked.reached


async def test_no_cloud_takes_another_for_itself() -> None:
    """Each source is absent on each other cloud, except that all clones speak some EC2."""
    for name, cloud in CLOUDS.items():
        for other, service_of in CLOUDS.items():
            if name != other:
                async with service_of.serve() as service:
                    with pytest.raises((SourceAbsent, SourceRefused)):
                        await cloud.fetch(service.url)


async def test_passing_faults_are_retried(cloud: Cloud) -> None:
    """5xx and 429, and answers that break off in the middle, are gone a moment later."""
    async with cloud.serve(statuses=[503, 500, 429], broken=2) as service:
        assert (await cloud.fetch(service.url)).metadata.instance_id == cloud.instance_id


async def test_lasting_fault_is_unavailable_after_ten_tries(cloud: Cloud) -> None:
    """Whoever looks for a source may come again."""
    async with cloud.serve(statuses=[503] * 1000) as service:
        with pytest.raises(SourceUnavailable, match="answered 503"):
            await cloud.fetch(service.url)
    assert len(service.requests) == 10


async def test_slow_service_costs_a_probe_unless_it_is_detected(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that takes the connection and says nothing; a detected one gets all the time of a request."""
    monkeypatch.setattr(service_module, "PROBE_TIMEOUT", 0.1)
    for module in (openstack_module, gce_module, azure_module, cloudstack_module):
        monkeypatch.setattr(module, "PROBE_TIMEOUT", 0.1)
    async with cloud.serve(silent=True) as service:
        async with asyncio.timeout(5):
            with pytest.raises(SourceUnavailable, match="no answer in time"):
                await cloud.fetch(service.url)
        detected = cloud.source(service.url)
        detected.detected = True
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await detected.fetch()


async def test_black_hole_and_dead_end_are_unavailable(cloud: Cloud, dead_end: str) -> None:
    """Nobody listens there; nothing is retried here."""
    with pytest.raises(SourceUnavailable, match="no connection"):
        await cloud.fetch(dead_end)


async def test_garbage_is_refused(cloud: Cloud, garbage: str) -> None:
    """What is no HTTP, and what is HTTP with nonsense in it."""
    with pytest.raises(SourceRefused, match="not HTTP"):
        await cloud.fetch(garbage)
    async with cloud.serve() as sound:
        nonsense = dict.fromkeys(sound.documents, b"\x00\xff{[<nonsense")
    async with MetadataServer(nonsense, gives=sound.gives) as service:
        with pytest.raises(SourceRefused):
            await cloud.fetch(service.url)


async def test_captive_portal_is_not_taken_for_a_cloud(cloud: Cloud) -> None:
    """A web page is neither metadata nor user-data, whatever its status."""
    async with MetadataServer({}, page="<!doctype html><p>Please log in") as portal:
        with pytest.raises((SourceRefused, SourceAbsent)):
            await cloud.fetch(portal.url)


async def test_oversized_answer_is_refused(cloud: Cloud) -> None:
    """Nothing is read beyond the bound."""
    async with cloud.serve() as sound:
        large = {path: bytes(MAX_BODY + 1) for path in sound.documents}
    async with MetadataServer(large, gives=sound.gives) as service:
        with pytest.raises(SourceRefused, match="bytes"):
            await cloud.fetch(service.url)


async def test_redirect_to_another_server_is_refused(cloud: Cloud) -> None:
    """Neither to another host nor to another port of this one."""
    async with cloud.serve() as other:
        for elsewhere in (other.url, other.url.replace("127.0.0.1", "localhost")):
            async with cloud.serve(redirect=elsewhere) as service:
                with pytest.raises(SourceRefused, match="redirects"):
                    await cloud.fetch(service.url)
    assert other.requests == []


async def test_forbidden_is_final(cloud: Cloud) -> None:
    """403 is not tried again."""
    async with cloud.serve(statuses=[403]) as service:
        with pytest.raises(SourceRefused, match="403"):
            await cloud.fetch(service.url)
    assert len(service.requests) == 1


async def test_proxies_of_the_environment_are_not_asked(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, dead_end: str
) -> None:
    """None reaches a server on the local link."""
    monkeypatch.setenv("http_proxy", dead_end)
    async with cloud.serve() as service:
        assert (await cloud.fetch(service.url)).metadata.instance_id == cloud.instance_id


async def test_cancellation_leaves_no_task_and_no_socket(cloud: Cloud, black_hole: str) -> None:
    """As when another source has won."""
    before, tasks = descriptors(), asyncio.all_tasks()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await cloud.fetch(black_hole)
    await asyncio.sleep(0)  # a closed transport gives up its socket in the next turn of the loop
    assert descriptors() == before
    assert asyncio.all_tasks() == tasks


async def test_ec2_serves_on_the_router_of_cloudstack() -> None:
    """It is the same dialect; only the tokens are missing."""
    async with Imds(b"data", metadata={"public-keys": KEY}, put_status=404, require_token=False) as router:
        found = await CLOUDS["cloudstack"].fetch(router.url)
    assert (found.user_data, found.metadata.public_keys, router.count("PUT")) == (b"data", (KEY,), 0)
