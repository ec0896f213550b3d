"""The router of the local network, as far as the machine knows it: DNS, DHCP leases, the default route.

References/clouds.md, section 2.4, says where CloudStack's own agents look.
"""

from __future__ import annotations

import os
import re
import socket
import sys
from ipaddress import IPv4Address
from pathlib import Path

from ucvm_agent.errors import SourceUnavailable
from ucvm_agent.sources.claims import sound_addresses

LOOKUP_TIMEOUT = 2.0
"""Seconds for a name."""
MAX_LEASES = 256 * 1024
"""Most bytes that are read of a file of leases; dhclient appends for ever, so its end counts."""

_LEASES = (
    "run/systemd/netif/leases/*",
    "var/lib/dhcp/*.leases",
    "var/lib/dhclient/*.leases",
    "var/lib/NetworkManager/*.lease",
    "run/NetworkManager/devices/*",
)
_SERVER = re.compile(
    r"^\s*(?:SERVER_ADDRESS=|option dhcp-server-identifier |\S*dhcp_server_identifier\s*=\s*)([\d.]+)", re.M
)
_DEFAULT_ROUTE = re.compile(
    r"^\S+\t0{8}\t(?P<gateway>[0-9A-F]{8})\s*\t(?P<flags>[0-9A-F]{4})\t\S+\t\S+\t\S+\t0{8}\b", re.MULTILINE
)
_THROUGH_GATEWAY = 2
"""The flag of a route that leads through a gateway, RTF_GATEWAY."""


def dhcp_servers(root: Path = Path("/")) -> tuple[str, ...]:
    """Return the servers that gave this machine its leases, the newest first; what cannot be read is left out."""
    files = [path for pattern in _LEASES for path in root.glob(pattern) if path.is_file()]
    newest = sorted(files, key=_modified, reverse=True)
    return sound_addresses(address for path in newest for address in reversed(_SERVER.findall(_tail(path))))


def gateways(root: Path = Path("/")) -> tuple[str, ...]:
    """Return the gateways of the default routes of IPv4."""
    found = [
        str(IPv4Address(int(route["gateway"], 16).to_bytes(4, sys.byteorder)))
        for route in _DEFAULT_ROUTE.finditer(_tail(root / "proc/net/route"))
        if int(route["flags"], 16) & _THROUGH_GATEWAY
    ]
    return tuple(dict.fromkeys(found))


async def look_up(name: str) -> str:
    """Return the IPv4 address of a name, by DNS and the hosts file.

    Raises:
        SourceUnavailable: there is no such name, or nobody who knows it.
    """
    import aiodns  # here, since few machines need it; the C library's own resolver cannot be cancelled

    resolver = aiodns.DNSResolver(timeout=LOOKUP_TIMEOUT, tries=1)
    try:
        answer = await resolver.getaddrinfo(name, family=socket.AF_INET, type=socket.SOCK_STREAM)
    except aiodns.error.DNSError:
        raise SourceUnavailable("this name has no address", where=name) from None
    finally:
        await resolver.close()
    if not (addresses := sound_addresses(node.addr[0].decode(errors="replace") for node in answer.nodes)):
        raise SourceUnavailable("this name has no address", where=name)
    return addresses[0]


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - MAX_LEASES))  # the size of a file in /proc is 0
            return file.read(MAX_LEASES).decode(errors="replace")
    except OSError:
        return ""
