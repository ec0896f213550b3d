"""The host name, and its line in /etc/hosts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

from ucvm_agent.contextualize.actions import SetHostname, WriteFile
from ucvm_agent.contextualize.base import (
    Action,
    Context,
    Contextualizer,
    Options,
    Problem,
    Reads,
    Refusal,
    System,
    demand_hostname,
    remark,
)

LONGEST = 253
"""Characters of a name in the DNS (RFC 1123, section 2.1), and so in /etc/hosts."""

_LOCALHOST = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"


def _host_name(text: str) -> str:
    name = text.strip().rstrip(".")
    demand_hostname(name, LONGEST)
    return name


def _managed(value: object) -> object:
    return True if value in ("localhost", "template") else value


HostName = Annotated[str, AfterValidator(_host_name)]


class HostnameOptions(Options):
    """cloud-init's keys, and `hostname` of the amiconfig plugin (references/amiconfig.md, section 7)."""

    hostname: Annotated[HostName | None, Reads("hostname", "[hostname] hostname")] = None
    fqdn: Annotated[HostName | None, Reads("fqdn")] = None
    prefer_fqdn: Annotated[bool, Reads("prefer_fqdn_over_hostname")] = False
    preserve: Annotated[bool, Reads("preserve_hostname")] = False
    manage_hosts: Annotated[bool, BeforeValidator(_managed), Reads("manage_etc_hosts")] = True
    create_file: Annotated[bool, Reads("create_hostname_file")] = True


class Hostname(Contextualizer[HostnameOptions]):
    """Sets the name that the context gives, else the one that the platform gives.

    A name with dots is split as cloud-init does: the first label is the host name, the whole goes to
    /etc/hosts. There the line of 127.0.1.1 is ours, all others stay; `manage_etc_hosts: false` leaves the
    file alone, its other values mean the same here.
    """

    name = "hostname"
    options = HostnameOptions
    early = True
    amiconfig = ("hostname",)

    def plan(self, options: HostnameOptions, context: Context, system: System) -> Iterable[Action]:
        """Yield the host name and the new /etc/hosts."""
        full = options.fqdn or options.hostname or _platform_name(context)
        if options.preserve or not full:
            return
        short = (options.hostname or full).partition(".")[0]
        if options.hostname and "." in options.hostname and not options.fqdn:
            full = options.hostname
        try:
            yield SetHostname(hostname=full if options.prefer_fqdn else short)
        except ValueError as error:
            raise Refusal("prefer_fqdn_over_hostname", str(error)) from None
        if options.manage_hosts:
            names = [full, short] if full != short else [short]
            old = (system.read("/etc/hosts") or b"").decode(errors="surrogateescape")
            content = with_own_line(old or _LOCALHOST, names)
            yield WriteFile(path="/etc/hosts", content=content.encode(errors="surrogateescape"))

    def remarks(self, options: HostnameOptions, context: Context, system: System) -> Iterable[Problem]:
        """Warn of what is done otherwise than asked for."""
        if not options.create_file:
            yield remark(context, "create_hostname_file", "has no effect: /etc/hostname is always written")


def _platform_name(context: Context) -> str:
    try:
        return _host_name(context.metadata.hostname) if context.metadata.hostname else ""
    except ValueError:
        return ""


def with_own_line(hosts: str, names: Iterable[str]) -> str:
    """Return the text of /etc/hosts with these names for 127.0.1.1 (Debian's way without a fixed address)."""
    lines = hosts.splitlines()
    addresses = [(line.split() or [""])[0] for line in lines]
    kept = [line for line, address in zip(lines, addresses, strict=True) if address != "127.0.1.1"]
    if "127.0.1.1" in addresses:
        position = addresses.index("127.0.1.1")
    else:
        position = addresses.index("127.0.0.1") + 1 if "127.0.0.1" in addresses else 0
    kept.insert(position, f"127.0.1.1 {' '.join(names)}")
    return "".join(f"{line}\n" for line in kept)
