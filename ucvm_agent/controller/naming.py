"""VMs by the names that people use."""

from __future__ import annotations

from collections.abc import Iterable

from ucvm_agent.controller import tables
from ucvm_agent.controller.client import Client
from ucvm_agent.controller.model import Machine
from ucvm_agent.controller.web.bodies import Machines
from ucvm_agent.errors import UsageError

MACHINES = 10_000
"""Most VMs that are asked for."""


async def named(client: Client, name: str) -> Machine:
    """Return the VM of a name.

    Raises:
        UsageError: as `chosen` does.
    """
    return chosen((await client.get("vms", Machines, limit=MACHINES)).vms, name)


def chosen(machines: Iterable[Machine], name: str) -> Machine:
    """Return the VM of an id, of the beginning of an id, or of a host name in full or in short.

    Raises:
        UsageError: there is none, or more than one.
    """
    known = list(machines)
    exact = [machine for machine in known if machine.machine_id == name]
    hosts = [machine for machine in known if name in (machine.host, machine.host.partition(".")[0])]
    begun = [machine for machine in known if machine.machine_id.startswith(name)]
    found = exact or hosts or begun
    if len(found) == 1:
        return found[0]
    what = f"{len(found)} VMs are called so" if found else "no such VM"
    raise UsageError(what, where=tables.clean(name), hint="`ucvm-controller vms --json` lists their ids")
