"""Where the router of CloudStack is looked for, and when it is trusted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.servers.metadata import UUID, cloudstack
from ucvm_agent.errors import SourceUnavailable
from ucvm_agent.settings import CloudStack
from ucvm_agent.sources.cloudstack import Source
from ucvm_agent.sources.machine import Machine
from ucvm_agent.sources.routers import dhcp_servers, gateways, look_up

LEASES = {
    "run/systemd/netif/leases/2": "# This is private data.\nADDRESS=10.0.0.7\nSERVER_ADDRESS=10.0.0.1\n",
    "var/lib/dhcp/dhclient.eth0.leases": (
        "lease {\n  option dhcp-server-identifier 10.0.0.9;\n}\nlease {\n  option dhcp-server-identifier 10.0.0.1;\n}\n"
    ),
    "var/lib/NetworkManager/internal-x-eth0.lease": "SERVER_ADDRESS=10.0.0.1\n",
    "run/NetworkManager/devices/2": "[device]\ndhcp_server_identifier=10.0.0.1\n",
}
ROUTES = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0
eth0\t0000000A\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0
"""


def write(root: Path, name: str, text: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", LEASES)
def test_each_client_of_dhcp_tells_its_server(tmp_path: Path, name: str) -> None:
    """In its own file and form; the last lease of a file is the newest."""
    write(tmp_path, name, LEASES[name])
    assert dhcp_servers(tmp_path)[0] == "10.0.0.1"


def test_the_newest_lease_comes_first(tmp_path: Path) -> None:
    """Old files stay behind when a machine moves."""
    old = write(tmp_path, "run/systemd/netif/leases/2", "SERVER_ADDRESS=10.0.0.8\n")
    write(tmp_path, "run/systemd/netif/leases/3", "SERVER_ADDRESS=10.0.0.1\n")
    os.utime(old, (1, 1))
    assert dhcp_servers(tmp_path) == ("10.0.0.1", "10.0.0.8")


def test_a_file_of_leases_may_have_grown_for_years(tmp_path: Path) -> None:
    """Only its end is read."""
    path = write(tmp_path, "var/lib/dhcp/dhclient.eth0.leases", "")
    with path.open("rb+") as file:
        file.seek(1 << 40)
        file.write(LEASES["var/lib/dhcp/dhclient.eth0.leases"].encode())
    assert dhcp_servers(tmp_path) == ("10.0.0.1", "10.0.0.9")


def test_the_default_route_tells_the_gateway(tmp_path: Path) -> None:
    """Other routes do not count, nor does a machine without any."""
    assert gateways(tmp_path) == ()
    write(tmp_path, "proc/net/route", ROUTES)
    assert gateways(tmp_path) == ("192.0.2.1",)


async def test_a_name_is_looked_up_in_the_hosts_file_as_well() -> None:
    """Some templates put `data-server` there; a name that nobody knows is a passing fault."""
    assert await look_up("localhost") == "127.0.0.1"
    with pytest.raises(SourceUnavailable):
        await look_up("-")


@given(st.text())
def test_no_lease_and_no_route_makes_it_fail(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Whatever is in these files, at most nothing is found."""
    root = tmp_path_factory.mktemp("root")
    write(root, "run/systemd/netif/leases/2", f"SERVER_ADDRESS={text}\n")
    write(root, "proc/net/route", f"Iface\n{text}\neth0 00000000 {text} {text} 0 0 0 00000000\n")
    dhcp_servers(root)
    gateways(root)


async def test_user_data_and_metadata_come_from_the_router() -> None:
    """All keys are one text."""
    async with cloudstack(b"raw\x00") as router:
        found = await Source(CloudStack(routers=(router.url,))).fetch()
    assert (found.user_data, found.origin) == (b"raw\x00", f"{router.url}/latest/user-data")
    assert (found.metadata.instance_id, found.metadata.zone) == (UUID, "zone-1")
    assert found.metadata.addresses == ("10.1.1.7", "192.0.2.7")


async def test_the_router_that_answers_is_taken(dead_end: str, black_hole: str) -> None:
    """The others are asked at the same time, and given up."""
    async with cloudstack() as router:
        found = await Source(CloudStack(routers=(dead_end, black_hole, router.url))).fetch()
    assert found.origin.startswith(router.url)


def test_a_router_is_asked_only_with_a_reason() -> None:
    """Anybody who answers DHCP could be it."""
    assert Source(CloudStack()).candidate(Machine()).likely is False
    assert Source(CloudStack(routers=("10.1.1.1",))).candidate(Machine()).likely is True
    kvm = Machine({"product_name": "CloudStack KVM Hypervisor"})
    assert Source(CloudStack()).candidate(kvm).likely is True
