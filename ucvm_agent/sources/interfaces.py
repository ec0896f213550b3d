"""The network interfaces by which a link-local address is reached: each is a link of its own (RFC 4007)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

INTERFACE = "IFACE"
"""Stands in an endpoint for each interface: `http://[fe80::a9fe:a9fe%25IFACE]`."""

_LINK_SCOPE = "20"


def link_local_interfaces(root: Path = Path("/")) -> list[str]:
    """Return the interfaces that have a link-local IPv6 address, sorted by name."""
    try:
        rows = [line.split() for line in (root / "proc/net/if_inet6").read_text().splitlines()]
    except OSError:
        return []  # this kernel has no IPv6
    return sorted({row[5] for row in rows if len(row) == 6 and row[3] == _LINK_SCOPE})


def on_each_interface(endpoints: Iterable[str], interfaces: Iterable[str]) -> list[str]:
    """Return the endpoints, with one for each interface in the place of one that stands for all."""
    every = list(interfaces)
    return [
        endpoint.replace(f"%25{INTERFACE}", f"%25{name}")
        for endpoint in endpoints
        for name in (every if f"%25{INTERFACE}" in endpoint else [""])
    ]
