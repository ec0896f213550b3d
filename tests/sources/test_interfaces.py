"""Link-local addresses, which are others on each interface."""

from __future__ import annotations

from pathlib import Path

from ucvm_agent.sources.interfaces import link_local_interfaces, on_each_interface

TABLE = """\
00000000000000000000000000000001 01 80 10 80       lo
fe80000000000000dc144dfffef5af30 03 40 20 80     eth1
fe80000000000000dc144dfffef5af31 02 40 20 80     eth0
fe8000000000000000000000a9fea9fe 03 40 20 82     eth1
20010db8000000000000000000000007 04 40 00 80     eth2
half a line
"""


def test_an_endpoint_for_each_interface_with_a_link_local_address(tmp_path: Path) -> None:
    """In the place of the one that stands for all; a machine without IPv6 has none."""
    endpoints = ("http://192.0.2.1", "http://[fe80::1%25IFACE]:80", "http://[fe80::2%25eth7]")
    assert on_each_interface(endpoints, link_local_interfaces(tmp_path)) == [endpoints[0], endpoints[2]]
    (tmp_path / "proc/net").mkdir(parents=True)
    (tmp_path / "proc/net/if_inet6").write_text(TABLE)
    each = [f"http://[fe80::1%25{name}]:80" for name in ("eth0", "eth1")]
    assert on_each_interface(endpoints, link_local_interfaces(tmp_path)) == [endpoints[0], *each, endpoints[2]]
