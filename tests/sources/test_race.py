"""Which source wins in a real network where all others drop packets, and how soon."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.network import CLOUDSTACK, DHCP_SERVER, GCE_IPV6, LINK_LOCAL, OPENSTACK_IPV6, VM, Network
from tests.servers.imds import INSTANCE_ID
from tests.servers.metadata import GCE_ID, UUID, VM_ID

pytestmark = pytest.mark.skipif(not Network.possible(), reason="needs root and network namespaces")

HANDICAP = 0.1
"""Seconds that finding a source may take longer than asking it alone."""


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as network:
        yield network


def race(
    network: Network, *signs: str, root: Path = Path("/nowhere"), deadline: float = 10.0, rounds: int = 3
) -> list[dict[str, Any]]:
    command = (sys.executable, "-m", "tests.sources.race", str(deadline), str(rounds), str(root), *signs)
    runs: list[dict[str, Any]] = json.loads(network.run(*command))
    return runs


@pytest.mark.parametrize(
    ("cloud", "instance_id"), [("openstack", UUID), ("gce", GCE_ID), ("azure", VM_ID), ("ec2", INSTANCE_ID)]
)
def test_the_cloud_at_the_link_local_address_is_found_at_once(network: Network, cloud: str, instance_id: str) -> None:
    """Nothing on the machine tells of it, and its neighbours at the same address are absent."""
    server = ("tests.servers.imds",) if cloud == "ec2" else ("tests.servers.metadata", cloud)
    network.serve(LINK_LOCAL, *server)
    runs = race(network)
    assert {(run["source"], run["instance_id"]) for run in runs} == {(cloud, instance_id)}
    assert min(run["seconds"] - run["alone"] for run in runs) <= HANDICAP


@pytest.mark.parametrize(
    ("cloud", "address", "instance_id"), [("openstack", OPENSTACK_IPV6, UUID), ("gce", GCE_IPV6, GCE_ID)]
)
def test_the_cloud_of_a_network_without_ipv4_is_found_at_once(cloud: str, address: str, instance_id: str) -> None:
    """On a link whose name nobody was told, or at an address beyond it."""
    with Network(only_ipv6=True) as network:
        network.serve(address, "tests.servers.metadata", cloud)
        runs = race(network)
    assert {(run["source"], run["instance_id"]) for run in runs} == {(cloud, instance_id)}
    assert min(run["seconds"] - run["alone"] for run in runs) <= HANDICAP


@pytest.mark.parametrize("router", [CLOUDSTACK, DHCP_SERVER])
def test_the_router_that_answers_is_found_while_the_others_are_dark(
    network: Network, tmp_path: Path, router: str
) -> None:
    """The first address of CloudStack, or the server that gave the lease; DNS and the gateway say nothing."""
    lease = tmp_path / "run/systemd/netif/leases/2"
    lease.parent.mkdir(parents=True)
    lease.write_text(f"ADDRESS={VM}\nSERVER_ADDRESS={DHCP_SERVER}\n")
    network.serve(router, "tests.servers.metadata", "cloudstack")
    runs = race(network, "product_name=CloudStack KVM Hypervisor", root=tmp_path)
    assert {(run["source"], run["instance_id"]) for run in runs} == {("cloudstack", UUID)}
    assert min(run["seconds"] - run["alone"] for run in runs) <= HANDICAP


def test_where_all_is_dark_the_deadline_is_kept(network: Network) -> None:
    """Also in the middle of a round, and each source is named with its reason."""
    [run] = race(network, deadline=2.5, rounds=1)
    assert 2.5 <= run["seconds"] <= 3.5
    for name in ("ec2", "openstack", "gce", "azure"):
        assert f"{name}: http://169.254.169.254" in run["reason"]


def test_the_survey_shows_each_source(network: Network) -> None:
    """All are asked, the winner does not end it."""
    network.serve(LINK_LOCAL, "tests.servers.metadata", "openstack")
    output = network.run(sys.executable, "-m", "ucvm_agent", "sources", "--json")
    document = json.loads(output)
    rows = {row["source"]: row for row in document["sources"]}
    assert document["winner"] == "openstack"
    assert (rows["openstack"]["reached"], rows["openstack"]["user_data_bytes"]) == (True, 10)
    assert (rows["openstack"]["instance_id"], rows["openstack"]["wins"]) == (UUID, True)
    assert rows["gce"]["reached"] is False
    assert "knows nothing of GCE" in rows["gce"]["reason"]
    assert (rows["cloudstack"]["candidate"], rows["cloudstack"]["asked"]) == (False, False)
    text = network.run(sys.executable, "-m", "ucvm_agent", "sources")
    assert "* openstack" in text
    assert "10 bytes of user-data" in text
