"""The user-data as far as the bootloader needs them: found by the sources of the running system.

Local media are always asked. The network is asked where the initial RAM disk has it, which is where the layer comes
over the network or the kernel parameter `ip=` says so.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from ucvm_agent import sources
from ucvm_agent.errors import SourceAbsent, SourceError, SourceUnavailable, UserDataError
from ucvm_agent.settings import Settings
from ucvm_agent.sources.base import Found, Source
from ucvm_agent.sources.find import find
from ucvm_agent.sources.machine import Machine
from ucvm_agent.userdata.context import Context
from ucvm_agent.userdata.decode import decode

log = structlog.get_logger()

LOCAL = ("configdrive", "opennebula", "vsphere", "nocloud")
REMOTE = ("azure", "gce", "ec2", "openstack", "cloudstack")
"""µCernVM's order (references/ucernvm-boot.md, section 4). Azure's source asks the network beside its medium, and would
keep trying where there is none."""
LOCAL_SECONDS = 10.0
"""Longest that local media are looked at; a drive that does not answer must not keep the machine from starting."""


@dataclass(frozen=True, slots=True)
class MicroContext:
    """What was found, and what it says.

    Arguments:
        found: None = no source has user-data now.
    """

    found: Found | None
    context: Context


async def read(settings: Settings, machine: Machine, *, network: bool) -> MicroContext:
    """Find the user-data and decode them; what is wrong with them is left to the running system to tell.

    Arguments:
        network: it is up.
    """
    found = await _found(settings, machine, LOCAL, min(LOCAL_SECONDS, settings.boot.deadline))
    if found is None and network:
        found = await _found(settings, machine, REMOTE, settings.boot.deadline)
    shown = await _with_extra(settings, found)
    try:
        return MicroContext(found, decode(shown) if shown else Context(""))
    except UserDataError as error:
        log.warning("the user-data cannot be used", reason=str(error))
        return MicroContext(found, Context(""))


async def _found(settings: Settings, machine: Machine, names: tuple[str, ...], seconds: float) -> Found | None:
    made: list[Source] = [sources.make(name, settings) for name in names]
    try:
        return await find(made, machine, seconds)
    except SourceAbsent:
        return None
    except SourceError as error:
        say = log.debug if isinstance(error, SourceUnavailable) and names is LOCAL else log.warning
        say("no user-data for the bootloader", reason=str(error))
        return None


async def _with_extra(settings: Settings, found: Found | None) -> Found | None:
    """Return it with the extra user-data of local media, which the running system finds again by itself."""
    extra = sources.make("extra", settings)
    try:
        return await extra.add_to(found) if found else await extra.fetch()
    except SourceError:
        return found
