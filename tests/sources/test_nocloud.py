"""Where a NoCloud seed may be, and what is made of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.servers.imds import KEY
from tests.servers.seed import SeedServer
from tests.sources.images import make_image
from ucvm_agent.errors import SourceAbsent, SourceRefused, SourceUnavailable
from ucvm_agent.settings import NoCloud
from ucvm_agent.sources.base import MAX_BODY, Found
from ucvm_agent.sources.machine import Machine
from ucvm_agent.sources.nocloud import Source
from ucvm_agent.sources.nocloud_seed import read_named

SEED = {
    "user-data": b"#cloud-config\n",
    "meta-data": f"instance-id: iid-1\nlocal-hostname: vm-1\npublic-keys:\n  - {KEY}\n".encode(),
    "vendor-data": b"#!/bin/sh\n",
}


def kernel(line: str, **more: object) -> Machine:
    return Machine(kernel_command_line=f"root=/dev/vda1 {line} quiet", **more)  # type: ignore[arg-type]  # as given


async def fetch(machine: Machine, **settings: object) -> Found:
    source = Source(NoCloud.model_validate(settings))
    assert source.candidate(machine).likely is True
    return await source.fetch()


def put(folder: Path, documents: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for name, content in documents.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("kind", ["both", "fat12"])
async def test_labelled_volume(tmp_path: Path, kind: str) -> None:
    """As `cloud-localds` and hypervisors make it."""
    image = make_image(tmp_path / "seed", SEED, kind=kind, label="cidata")
    found = await fetch(Machine(), device=str(image))
    assert (found.source, found.origin) == ("nocloud", str(image))
    assert (found.user_data, found.vendor_data) == (SEED["user-data"], SEED["vendor-data"])
    assert (found.metadata.instance_id, found.metadata.hostname) == ("iid-1", "vm-1")
    assert found.metadata.public_keys == (KEY,)


@pytest.mark.parametrize("public_keys", [f"'{KEY}'", f"{{a: '{KEY}'}}", f"{{a: ['{KEY}']}}", f"['{KEY}', 7, null]"])
async def test_public_keys_in_all_forms(tmp_path: Path, public_keys: str) -> None:
    """A text, a list or a map."""
    folder = put(tmp_path / "seed", {"user-data": b"", "meta-data": f"public-keys: {public_keys}".encode()})
    assert (await fetch(kernel(f"ds=nocloud;s={folder}/"))).metadata.public_keys == (KEY,)


async def test_seed_folder(tmp_path: Path) -> None:
    """Beneath the root; without an instance-id it is called as cloud-init calls it."""
    put(tmp_path / "var/lib/cloud/seed/nocloud-net", {"user-data": b"data", "meta-data": b""})
    found = await fetch(Machine(root=tmp_path))
    assert (found.user_data, found.metadata.instance_id) == (b"data", "nocloud")


async def test_kernel_command_line_beats_all(tmp_path: Path) -> None:
    """Its instance-id and host name, too, over the firmware, the settings and the seed itself."""
    named = put(tmp_path / "named", SEED)
    other = put(tmp_path / "other", SEED | {"user-data": b"other"})
    machine = kernel(f'"ds=nocloud;s={named}/;i=iid-2;h=vm-2"', dmi={"product_serial": f"ds=nocloud;s={other}/"})
    found = await fetch(machine, seed=str(other))
    assert found.user_data == SEED["user-data"]
    assert (found.metadata.instance_id, found.metadata.hostname) == ("iid-2", "vm-2")


@pytest.mark.parametrize(
    ("machine", "values"),
    [
        (kernel("ds=nocloud"), {}),
        (kernel("ds=nocloud-net;s=https://x/"), {"seedfrom": "https://x/"}),
        (kernel("ds=nocloud;seedfrom=/x/;local-hostname=h"), {"seedfrom": "/x/", "local-hostname": "h"}),
        (Machine(dmi={"product_serial": "ds=nocloud;s=http://x/"}), {"seedfrom": "http://x/"}),
        (
            kernel("ds=nocloud;s=https://x/__dmi.chassis-serial-number__/", dmi={"chassis_serial": "C7"}),
            {"seedfrom": "https://x/C7/"},
        ),
        (kernel('x="open ds=nocloud;i=1'), {"instance-id": "1"}),
        (kernel("ds=ec2"), None),
        (kernel("xds=nocloud"), None),
        (kernel("ds=nocloudy"), None),
        (Machine(), None),
    ],
)
def test_what_kernel_and_firmware_name(machine: Machine, values: dict[str, str] | None) -> None:
    """Short and long names, in quotes or not, with values of the firmware filled in."""
    named = read_named(machine)
    assert (named.values if named else None) == values


@pytest.mark.parametrize(
    ("machine", "settings", "local"),
    [
        (Machine(), {}, True),
        (kernel("ds=nocloud;s=/seed/"), {}, True),
        (kernel("ds=nocloud;s=https://seeds.example.org/"), {}, False),
        (Machine(), {"seed": "https://seeds.example.org/"}, False),
        (Machine(), {"seed": "https://seeds.example.org/", "device": "/dev/sr0"}, True),
    ],
)
def test_only_a_seed_at_a_url_needs_the_network(machine: Machine, settings: dict[str, str], local: bool) -> None:
    """All others can be read before there is one."""
    source = Source(NoCloud.model_validate(settings))
    source.candidate(machine)
    assert source.local is local


async def test_seed_refers_to_another(tmp_path: Path) -> None:
    """What the first says itself stays."""
    there = put(tmp_path / "there", SEED | {"meta-data": b"instance-id: there\nlocal-hostname: there"})
    here = put(
        tmp_path / "here", {"user-data": b"", "meta-data": f"seedfrom: file://{there}/\ninstance-id: here".encode()}
    )
    found = await fetch(Machine(), seed=str(here))
    assert (found.user_data, found.origin) == (SEED["user-data"], str(there))
    assert (found.metadata.instance_id, found.metadata.hostname) == ("here", "there")


async def test_both_documents_have_to_be_there(tmp_path: Path) -> None:
    """Though either may be empty."""
    half = put(tmp_path / "half", {"user-data": b"data"})
    with pytest.raises(SourceAbsent, match="meta-data"):
        await fetch(Machine(), seed=str(half))
    with pytest.raises(SourceAbsent):
        await fetch(Machine(), seed=str(tmp_path / "absent"))


async def test_odd_documents_in_a_folder_are_refused(tmp_path: Path) -> None:
    """A FIFO does not hang, and too much is not read."""
    import os

    folder = put(tmp_path / "seed", {"meta-data": b""})
    os.mkfifo(folder / "user-data")
    async with asyncio.timeout(10):
        with pytest.raises(SourceRefused, match="not a file"):
            await fetch(Machine(), seed=str(folder))
    (folder / "user-data").unlink()
    with (folder / "user-data").open("wb") as file:
        file.truncate(MAX_BODY + 1)
    with pytest.raises(SourceRefused, match=str(MAX_BODY)):
        await fetch(Machine(), seed=str(folder))


@pytest.mark.parametrize("text", [b"- a\n- b", b"\xff\xfe", b"a: [", b"[" * 20_000, b"instance-id: [1, 2]"])
async def test_odd_metadata_does_not_cost_the_user_data(tmp_path: Path, text: bytes) -> None:
    """It counts as empty."""
    folder = put(tmp_path / "seed", {"user-data": b"data", "meta-data": text})
    found = await fetch(Machine(), seed=str(folder))
    assert (found.user_data, found.metadata.instance_id) == (b"data", "nocloud")


async def test_seed_over_plain_http_has_to_be_allowed() -> None:
    """Anybody on the way could forge it."""
    async with SeedServer(SEED) as server:
        with pytest.raises(SourceRefused, match="forged"):
            await fetch(kernel(f"ds=nocloud;s={server.url}"))
        assert server.requests == []
        found = await fetch(kernel(f"ds=nocloud;s={server.url}"), allow_insecure_seed=True)
    assert (found.user_data, found.vendor_data, found.origin) == (SEED["user-data"], SEED["vendor-data"], server.url)


async def test_passing_fault_of_the_server_is_retried() -> None:
    """503 is over a moment later."""
    async with SeedServer(SEED, failures=3) as server:
        assert (await fetch(Machine(), seed=server.url, allow_insecure_seed=True)).user_data == SEED["user-data"]


async def test_server_that_has_no_seed(dead_end: str, garbage: str) -> None:
    """Absent, a web page, too large, elsewhere, of another kind, or not there at all."""
    async with SeedServer({"meta-data": b""}) as absent:
        with pytest.raises(SourceAbsent, match="user-data"):
            await fetch(Machine(), seed=absent.url, allow_insecure_seed=True)
    async with SeedServer(dict.fromkeys(SEED, b"<!doctype html>"), content_type="text/html") as portal:
        with pytest.raises(SourceRefused, match="web page"):
            await fetch(Machine(), seed=portal.url, allow_insecure_seed=True)
    async with SeedServer(SEED | {"user-data": bytes(MAX_BODY + 1)}) as large:
        with pytest.raises(SourceRefused, match=str(MAX_BODY)):
            await fetch(Machine(), seed=large.url, allow_insecure_seed=True)
    async with SeedServer(SEED) as other, SeedServer({}, redirect=other.url.replace("127.0.0.1", "localhost")) as moved:
        with pytest.raises(SourceRefused, match="redirects"):
            await fetch(Machine(), seed=moved.url, allow_insecure_seed=True)
        assert other.requests == []
    for url in (f"{dead_end}/", f"{garbage}/"):
        with pytest.raises(SourceUnavailable):
            await fetch(Machine(), seed=url, allow_insecure_seed=True)
    with pytest.raises(SourceRefused, match="of this kind"):
        await fetch(Machine(), seed="ftp://x/")


async def test_server_that_says_nothing_is_given_up(black_hole: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own bound ends each try, and the caller's the whole."""
    monkeypatch.setattr("ucvm_agent.network.http.TOTAL_TIMEOUT", 0.1)
    with pytest.raises((SourceUnavailable, TimeoutError)):
        async with asyncio.timeout(1):
            await fetch(Machine(), seed=f"{black_hole}/", allow_insecure_seed=True)
