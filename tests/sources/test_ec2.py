"""What the `ec2` source makes of good, poor and hostile metadata services."""

from __future__ import annotations

import asyncio
import json

import pytest
from structlog.testing import capture_logs

from tests.servers.imds import INSTANCE_ID, KEY, METADATA, TOKEN_HEADER, Imds
from tests.sources.conftest import descriptors
from ucvm_agent.errors import SourceAbsent, SourceRefused, SourceUnavailable
from ucvm_agent.settings import Ec2
from ucvm_agent.sources import imds as imds_module
from ucvm_agent.sources.base import MAX_BODY, Found
from ucvm_agent.sources.ec2 import Source
from ucvm_agent.sources.imds import HOP_LIMIT
from ucvm_agent.sources.machine import Machine


async def fetch(*endpoints: str, require_imdsv2: bool = False, seconds: float = 10.0) -> Found:
    return await Source(Ec2(endpoints=endpoints, require_imdsv2=require_imdsv2), timeout=seconds).fetch()


async def test_user_data_and_metadata_come_with_a_token() -> None:
    """A sound service gives everything, each request carries the token, and none claims a proxy."""
    async with Imds(b"\x1f\x8b\x00raw") as imds:
        found = await fetch(imds.url)
    assert found.user_data == b"\x1f\x8b\x00raw"
    assert (found.source, found.origin) == ("ec2", f"{imds.url}/latest/user-data")
    assert found.metadata.instance_id == INSTANCE_ID
    assert found.metadata.hostname == METADATA["local-hostname"]
    assert (found.metadata.region, found.metadata.zone) == ("eu-west-1", "eu-west-1a")
    assert found.metadata.public_keys == (KEY,)
    assert found.metadata.addresses == ("10.0.0.7", "192.0.2.7", "2001:db8::7")
    assert imds.count("PUT") == 1
    assert all(TOKEN_HEADER in request.headers for request in imds.requests if request.method == "GET")
    assert not any("X-Forwarded-For" in request.headers for request in imds.requests)


async def test_identity_document_fills_what_the_items_lack() -> None:
    """Region and zone come from the document where there is no placement folder; an odd document does no harm."""
    document = json.dumps({"region": "eu-north-1", "availabilityZone": "eu-north-1c", "billingProducts": None})
    async with Imds(metadata={}, document=document) as imds, Imds(metadata={}, document="<oops>") as odd:
        found, other = await fetch(imds.url), await fetch(odd.url)
    assert (found.metadata.region, found.metadata.zone) == ("eu-north-1", "eu-north-1c")
    assert (other.metadata.instance_id, other.metadata.region) == (INSTANCE_ID, "")


async def test_all_public_keys_are_read_and_bad_ones_dropped() -> None:
    """Duplicates, options and nonsense go; a key's order stays."""
    other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    texts = (f'command="id" {other}\n', "ssh-rsa not!base64", KEY, f"{other} again", "<html>")
    keys = {f"public-keys/{number}/openssh-key": text for number, text in enumerate(texts)}
    async with Imds(metadata=keys) as imds:
        found = await fetch(imds.url)
    assert found.metadata.public_keys == (other, KEY)


@pytest.mark.parametrize("user_data", [None, b""])
async def test_instance_without_user_data_is_not_an_absent_source(user_data: bytes | None) -> None:
    """404 for user-data means that there is none, an empty text that it is empty."""
    async with Imds(user_data) as imds:
        found = await fetch(imds.url)
    assert found.user_data == user_data
    assert found.metadata.instance_id == INSTANCE_ID


@pytest.mark.parametrize("status", [404, 405])
async def test_service_without_tokens_is_used_with_one_warning(status: int) -> None:
    """A clone without IMDSv2 serves; that is said once, not at each fetch."""
    async with Imds(b"data", put_status=status, require_token=False) as imds:
        source = Source(Ec2(endpoints=(imds.url,)))
        with capture_logs() as logs:
            found = [await source.fetch(), await source.fetch()]
    assert [each.user_data for each in found] == [b"data", b"data"]
    assert len([line for line in logs if line["log_level"] == "warning" and "IMDSv2" in line["event"]]) == 1
    assert not any(TOKEN_HEADER in request.headers for request in imds.requests)


async def test_setting_forbids_requests_without_token() -> None:
    """With `require_imdsv2` nothing is asked without a token."""
    async with Imds(put_status=404, require_token=False) as imds:
        with pytest.raises(SourceRefused, match="IMDSv2"):
            await fetch(imds.url, require_imdsv2=True)
    assert imds.count("GET") == 0


@pytest.mark.parametrize("status", [400, 403, 301, 501])
async def test_refusal_to_give_a_token_is_final(status: int) -> None:
    """Neither a second try nor a request without token follows."""
    async with Imds(put_status=status) as imds:
        with pytest.raises(SourceRefused, match=f"answered {status}"):
            await fetch(imds.url)
    assert len(imds.requests) == 1


@pytest.mark.parametrize("status", [400, 403])
async def test_refusal_to_give_items_is_final(status: int) -> None:
    """As for the token."""
    async with Imds(get_status=status) as imds:
        with pytest.raises(SourceRefused, match=f"answered {status}"):
            await fetch(imds.url)
    assert len(imds.requests) == 2


async def test_token_that_is_never_taken_is_replaced_once() -> None:
    """401 asks for one more token and repeats once; then it is a refusal."""
    async with Imds(get_status=401) as imds:
        with pytest.raises(SourceRefused, match="answered 401"):
            await fetch(imds.url)
    assert (imds.count("PUT"), imds.count("GET")) == (2, 2)


async def test_lost_token_answers_fall_back_and_hint_at_the_hop_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """From within a container PUT times out, but plain requests are answered."""
    monkeypatch.setattr(imds_module, "TOKEN_TIMEOUT", 0.2)
    async with Imds(b"data", silent=frozenset({"PUT"}), require_token=False) as imds:
        with capture_logs() as logs:
            found = await fetch(imds.url)
        with pytest.raises(SourceUnavailable) as failed:
            await fetch(imds.url, require_imdsv2=True)
    assert found.user_data == b"data"
    assert [line["hint"] for line in logs if line["log_level"] == "warning"] == [HOP_LIMIT]
    assert failed.value.hint == HOP_LIMIT


async def test_lost_token_answers_of_a_strict_service_are_a_passing_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """If plain requests are not answered either, it may only be slow."""
    monkeypatch.setattr(imds_module, "TOKEN_TIMEOUT", 0.2)
    async with Imds(silent=frozenset({"PUT"}), require_token=True) as imds:
        with pytest.raises(SourceUnavailable) as failed:
            await fetch(imds.url)
    assert failed.value.hint == HOP_LIMIT


async def test_black_hole_takes_bounded_time(monkeypatch: pytest.MonkeyPatch, black_hole: str) -> None:
    """A peer that says nothing costs one token time-out and one request time-out, without retries."""
    monkeypatch.setattr(imds_module, "TOKEN_TIMEOUT", 0.2)
    async with asyncio.timeout(5):
        with pytest.raises(SourceUnavailable, match="no answer in time"):
            await fetch(black_hole, seconds=0.3)


async def test_dead_endpoints_are_each_named(dead_end: str) -> None:
    """Where nobody listens nothing is retried here; the next endpoint gets its chance at once."""
    with pytest.raises(SourceUnavailable, match=r"127\.0\.0\.1:\d+/.*no connection.*; .*255.*no connection"):
        await fetch(dead_end, "http://255.255.255.255")


async def test_ipv6_is_asked_when_ipv4_has_no_route() -> None:
    """The order of the endpoints is kept, and the second one serves."""
    async with Imds(b"over IPv6", host="::1") as imds:
        found = await fetch("http://255.255.255.255", imds.url)
    assert found.user_data == b"over IPv6"
    assert found.origin.startswith("http://[::1]:")


async def test_passing_faults_are_retried() -> None:
    """503 on the token and on items, and answers that break off in the middle, are gone a moment later."""
    async with Imds(b"data", failures=3) as imds:
        assert (await fetch(imds.url)).user_data == b"data"
    async with Imds(b"data" * 1000, broken=2) as imds:
        assert (await fetch(imds.url)).user_data == b"data" * 1000


async def test_lasting_fault_is_unavailable_after_ten_tries() -> None:
    """The source gives up then; whoever looks for a source may come again."""
    async with Imds(failures=1000) as imds:
        with pytest.raises(SourceUnavailable, match="answered 503"):
            await fetch(imds.url)
    assert len(imds.requests) == 10


@pytest.mark.parametrize("chunked", [False, True])
async def test_oversized_user_data_is_refused(chunked: bool) -> None:
    """With and without an announced length, and the bound is told."""
    async with Imds(bytes(MAX_BODY + 1), chunked=chunked) as imds:
        with pytest.raises(SourceRefused, match=f"{MAX_BODY}"):
            await fetch(imds.url)


async def test_redirect_to_another_host_is_not_followed() -> None:
    """Neither the request nor its token goes there."""
    async with Imds() as other:
        elsewhere = other.url.replace("127.0.0.1", "localhost")
        async with Imds(redirect=elsewhere + "/latest/user-data") as imds:
            with pytest.raises(SourceRefused, match="redirects"):
                await fetch(imds.url)
    assert other.requests == []


async def test_captive_portal_is_refused() -> None:
    """A web page is neither a token nor an instance-id nor user-data."""
    async with Imds(page="<!doctype html><p>Please log in") as portal:
        with pytest.raises(SourceRefused, match="token"):
            await fetch(portal.url)


async def test_server_that_speaks_no_http_is_refused(garbage: str) -> None:
    """That is another server, and trying again will not help."""
    with pytest.raises(SourceRefused, match="not HTTP"):
        await fetch(garbage)


async def test_server_without_instance_id_is_not_ec2() -> None:
    """404 for the instance-id in each version: another platform."""
    async with Imds(instance_id=None) as imds:
        with pytest.raises(SourceAbsent):
            await fetch(imds.url)


async def test_clone_with_one_old_version_and_keys_in_one_text() -> None:
    """`latest` may be missing, and `public-keys` may hold the keys themselves."""
    async with Imds(
        b"data",
        versions=("2009-04-04",),
        put_status=404,
        require_token=False,
        metadata={"public-keys/": f"{KEY}\n", "local-hostname": "vm.example.org"},
    ) as clone:
        found = await fetch(clone.url)
    assert found.origin == f"{clone.url}/2009-04-04/user-data"
    assert (found.metadata.hostname, found.metadata.public_keys) == ("vm.example.org", (KEY,))


async def test_bad_item_of_metadata_does_not_cost_the_user_data() -> None:
    """Too large a host name is left out with a warning."""
    async with Imds(b"data", metadata=METADATA | {"local-hostname": "x" * 100_000}) as imds:
        with capture_logs() as logs:
            found = await fetch(imds.url)
    assert (found.user_data, found.metadata.hostname, found.metadata.zone) == (b"data", "", "eu-west-1a")
    assert [line["url"][-14:] for line in logs if line["log_level"] == "warning"] == ["local-hostname"]


async def test_environment_proxies_are_not_asked(monkeypatch: pytest.MonkeyPatch, dead_end: str) -> None:
    """No proxy reaches a link-local address."""
    monkeypatch.setenv("HTTP_PROXY", dead_end)
    monkeypatch.setenv("http_proxy", dead_end)
    async with Imds(b"data") as imds:
        assert (await fetch(imds.url)).user_data == b"data"


async def test_cancellation_leaves_no_task_and_no_socket(black_hole: str) -> None:
    """As at the deadline of the one who waits."""
    before, tasks = descriptors(), asyncio.all_tasks()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await fetch(black_hole)
    await asyncio.sleep(0)  # a closed transport gives up its socket in the next turn of the loop
    assert descriptors() == before
    assert asyncio.all_tasks() == tasks


@pytest.mark.parametrize(
    ("machine", "likely"),
    [
        (Machine({"product_uuid": "EC2AE145-D1DC-13B2-94ED-012345ABCDEF"}), True),
        (Machine({"product_uuid": "45e12aec-dcd1-b213-94ed-012345abcdef"}), None),
        (Machine({"product_uuid": "45e12aec-dcd1-b213-94ed-012345abcdef", "sys_vendor": "Amazon EC2"}), True),
        (Machine({"board_asset_tag": "i-0123456789abcdef0"}), True),
        (Machine(hypervisor_uuid="ec2e1916-9099-7caf-fd21-012345abcdef"), True),
        (Machine({"product_serial": "srv-abcde.gb1.brightbox.com"}), True),
        (Machine({"chassis_asset_tag": "abcde.zstack.io"}), True),
        (Machine({"sys_vendor": "3DS Outscale"}), True),
        (Machine({"product_name": "Google Compute Engine"}), False),
        (Machine({"product_name": "VirtualBox"}), False),
        (Machine({"product_name": "OpenStack Nova"}), None),
        (Machine(), None),
    ],
)
def test_machine_tells_whether_it_is_ec2(machine: Machine, likely: bool | None) -> None:
    """By the signs of references/clouds.md, section 1."""
    assert Source(Ec2()).candidate(machine).likely is likely
