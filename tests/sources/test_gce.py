"""What is particular to the `gce` source."""

from __future__ import annotations

import pytest

from tests.servers.imds import KEY
from tests.servers.metadata import gce
from ucvm_agent.errors import SourceAbsent
from ucvm_agent.settings import Gce
from ucvm_agent.sources.base import Found
from ucvm_agent.sources.gce import Source
from ucvm_agent.sources.machine import Machine

OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
GOOD_UNTIL_2999 = f'ada:{KEY.rsplit(" ", 1)[0]} google-ssh {{"userName":"ada","expireOn":"2999-01-01T00:00:00+0000"}}'
EXPIRED = GOOD_UNTIL_2999.replace("2999", "2001")


async def fetch(url: str) -> Found:
    return await Source(Gce(endpoints=(url,))).fetch()


async def test_everything_comes_in_one_request() -> None:
    """Which says that it knows whom it asks."""
    async with gce({"user-data": "#!/bin/sh\necho µ\n"}) as service:
        found = await fetch(service.url)
    assert found.user_data == "#!/bin/sh\necho µ\n".encode()
    assert not found.base64
    assert (found.metadata.region, found.metadata.zone) == ("europe-west1", "europe-west1-b")
    assert found.metadata.addresses == ("10.0.0.7", "192.0.2.7")
    [request] = service.requests
    assert request.headers["Metadata-Flavor"] == "Google"


@pytest.mark.parametrize(
    ("attributes", "user_data", "base64"),
    [
        ({"user-data": "aGVsbG8=", "user-data-encoding": "base64"}, b"aGVsbG8=", True),
        ({"cvm-user-data": "aGVsbG8="}, b"aGVsbG8=", True),
        ({"user-data": "hello", "cvm-user-data": "eA=="}, b"hello", False),
        ({"user-data": ""}, b"", False),
        ({}, None, False),
    ],
)
async def test_user_data_may_be_in_either_attribute(
    attributes: dict[str, str], user_data: bytes | None, base64: bool
) -> None:
    """Base64 is what the platform says, never guessed; CernVM's own attribute always is."""
    async with gce(attributes) as service:
        found = await fetch(service.url)
    assert (found.user_data, found.base64) == (user_data, base64)


async def test_server_that_does_not_say_that_it_is_googles_is_not() -> None:
    """Whatever it answers."""
    async with gce(gives={}) as service:
        with pytest.raises(SourceAbsent, match="Google"):
            await fetch(service.url)


@pytest.mark.parametrize(
    ("own", "project", "keys"),
    [
        ({"ssh-keys": f"ada:{KEY}\nbob:{OTHER}"}, {}, (KEY, OTHER)),
        ({}, {"ssh-keys": f"ada:{KEY}"}, (KEY,)),
        ({"ssh-keys": f"ada:{KEY}"}, {"ssh-keys": f"bob:{OTHER}"}, (KEY, OTHER)),
        ({"block-project-ssh-keys": "TRUE"}, {"ssh-keys": f"ada:{KEY}"}, ()),
        ({"sshKeys": f"ada:{KEY}"}, {"sshKeys": f"bob:{OTHER}"}, (KEY,)),
        ({"ssh-keys": GOOD_UNTIL_2999}, {}, (KEY.rsplit(" ", 1)[0],)),
        ({"ssh-keys": f"{EXPIRED}\nada:ssh-rsa nonsense\nädä:{KEY}\n\nbob:{OTHER}"}, {}, (OTHER,)),
        ({"ssh-keys": f"ada:{OTHER} google-ssh {{oops"}, {}, ()),
    ],
)
async def test_public_keys(own: dict[str, str], project: dict[str, str], keys: tuple[str, ...]) -> None:
    """Those of the instance and of its project, without users, and without those that expired."""
    async with gce(own, project=project) as service:
        assert (await fetch(service.url)).metadata.public_keys == keys


@pytest.mark.parametrize(
    ("dmi", "likely"),
    [
        ({"product_name": "Google Compute Engine"}, True),
        ({"product_name": "Google"}, True),
        ({"product_serial": "GoogleCloud-0123"}, True),
        ({"product_name": "Google Pixel"}, None),
        ({}, None),
    ],
)
def test_machine_tells_whether_it_is_gce(dmi: dict[str, str], likely: bool | None) -> None:
    """By the signs of references/clouds.md, section 1."""
    assert Source(Gce()).candidate(Machine(dmi)).likely is likely
