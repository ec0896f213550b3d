"""Which source wins in a real network where all others drop packets, and how soon."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.servers.imds import INSTANCE_ID
from tests.servers.metadata import GCE_ID, UUID, VM_ID
from tests.servers.online import CONTEXT_ID
from tests.sources.network import (
    CLOUDSTACK,
    DHCP_SERVER,
    GCE_IPV6,
    LINK_LOCAL,
    OPENSTACK_IPV6,
    PIN_SERVICE,
    VM,
    Network,
)

pytestmark = pytest.mark.skipif(not Network.possible(), reason="needs root and network namespaces")

HANDICAP = 0.1
"""Seconds that finding a source may take longer than asking it alone."""

ONLINE = {"url": f"http://{PIN_SERVICE}", "insecure": True, "key": CONTEXT_ID}
EVERYWHERE: dict[str, Any] = {
    "names": ["cernvm_online", "ec2", "openstack", "gce", "azure", "cloudstack"],
    "cernvm_online": ONLINE,
}
"""Settings that have each address asked, each as long as it takes: what is named is waited for."""


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as network:
        yield network


@pytest.fixture
def leases(tmp_path: Path) -> Path:
    """A root with a lease of DHCP in it."""
    lease = tmp_path / "run/systemd/netif/leases/2"
    lease.parent.mkdir(parents=True)
    lease.write_text(f"ADDRESS={VM}\nSERVER_ADDRESS={DHCP_SERVER}\n")
    return tmp_path


def race(
    network: Network,
    sources: Mapping[str, object] | None = None,
    *,
    root: Path = Path("/nowhere"),
    deadline: float = 10.0,
    rounds: int = 3,
) -> list[dict[str, Any]]:
    settings = json.dumps(sources or {})
    command = (sys.executable, "-m", "tests.sources.race", str(deadline), str(rounds), str(root), settings)
    runs: list[dict[str, Any]] = json.loads(network.run(*command))
    return runs


def swift_race(
    network: Network, sources: Mapping[str, object] | None = None, root: Path = Path("/nowhere")
) -> list[dict[str, Any]]:
    """Race until one run was as fast as all should be: others keep this machine busy, and slow some down."""
    runs: list[dict[str, Any]] = []
    for _ in range(6):
        runs += race(network, sources, root=root)
        if min(run["seconds"] - run["alone"] for run in runs) <= HANDICAP:
            return runs
    raise AssertionError(f"each takes longer than alone and {HANDICAP} s: {runs}")


@pytest.mark.parametrize(
    ("cloud", "instance_id"), [("openstack", UUID), ("gce", GCE_ID), ("azure", VM_ID), ("ec2", INSTANCE_ID)]
)
def test_the_cloud_at_the_link_local_address_is_found_at_once(network: Network, cloud: str, instance_id: str) -> None:
    """Nothing on the machine tells of it, and its neighbours at the same address are absent."""
    server = ("tests.servers.imds",) if cloud == "ec2" else ("tests.servers.metadata", cloud)
    network.serve(LINK_LOCAL, *server)
    runs = swift_race(network)
    assert {(run["source"], run["instance_id"]) for run in runs} == {(cloud, instance_id)}


@pytest.mark.parametrize(
    ("cloud", "address", "instance_id"), [("openstack", OPENSTACK_IPV6, UUID), ("gce", GCE_IPV6, GCE_ID)]
)
def test_the_cloud_of_a_network_without_ipv4_is_found_at_once(cloud: str, address: str, instance_id: str) -> None:
    """On a link whose name nobody was told, or at an address beyond it."""
    with Network(only_ipv6=True) as network:
        network.serve(address, "tests.servers.metadata", cloud)
        runs = swift_race(network)
    assert {(run["source"], run["instance_id"]) for run in runs} == {(cloud, instance_id)}


@pytest.mark.parametrize(
    ("address", "server", "source"),
    [
        (LINK_LOCAL, ("tests.servers.imds", "--user-data", "LICENSE"), "ec2"),
        (CLOUDSTACK, ("tests.servers.metadata", "cloudstack"), "cloudstack"),
        (DHCP_SERVER, ("tests.servers.metadata", "cloudstack"), "cloudstack"),
        (PIN_SERVICE, ("tests.servers.online",), "cernvm_online"),
    ],
    ids=["link-local", "first-router", "dhcp-server", "pin-service"],
)
def test_the_address_that_answers_is_found_while_the_others_are_dark(
    network: Network, leases: Path, address: str, server: tuple[str, ...], source: str
) -> None:
    """Four addresses, of which three drop all packets; so do DNS and the gateway."""
    network.serve(address, *server)
    runs = swift_race(network, EVERYWHERE, leases)
    assert {run["source"] for run in runs} == {source}


@pytest.mark.parametrize(
    ("sources", "asked"),
    [({}, ["ec2", "openstack", "gce", "azure"]), (EVERYWHERE, EVERYWHERE["names"])],
    ids=["auto", "named"],
)
def test_where_all_is_dark_the_deadline_is_kept(
    network: Network, leases: Path, sources: Mapping[str, object], asked: list[str]
) -> None:
    """Also in the middle of a round, and each source is named with its reason."""
    [run] = race(network, sources, root=leases, deadline=2.5, rounds=1)
    assert 2.5 <= run["seconds"] < 5  # a question that nobody ends takes ten
    assert [name for name in asked if f" {name}: " not in run["reason"]] == []


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
