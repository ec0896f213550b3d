"""`/api/v1/vms`: the fleet, and what VMs are told."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import web
from pydantic import Field

from ucvm_agent.controller.model import Machine, Record
from ucvm_agent.controller.web.bodies import Draining, Machines, Plan, Pushed
from ucvm_agent.controller.web.operation import API, Asked, Nothing, Operation
from ucvm_agent.errors import OrderError

if TYPE_CHECKING:
    from ucvm_agent.controller.controller import Controller


class MachineQuery(Record):
    """Which VMs."""

    limit: int = Field(1000, ge=1, le=10_000)


class MachineRoutes:
    """The operations on VMs."""

    def __init__(self, controller: Controller) -> None:
        self._ledger = controller.ledger
        self._orders = controller.orders
        self._contexts = controller.contexts

    def operations(self) -> list[Operation]:
        """All of them."""
        vms, one = f"{API}/vms", f"{API}/vms/{{vm}}"
        later = HTTPStatus.ACCEPTED
        return [
            Operation("GET", vms, "List VMs", self.fleet, Machines, MachineQuery),
            Operation("GET", one, "Show a VM", self.show, Machine),
            Operation(
                "POST", f"{one}/drain", "Let it finish its jobs", self.drain, Machine, body=Draining, status=later
            ),
            Operation("DELETE", one, "Forget it and its events", self.forget, status=HTTPStatus.NO_CONTENT),
            Operation("POST", f"{one}/resume", "Let it take jobs again", self.resume, Machine, status=later),
            Operation("POST", f"{one}/push", "Tell it of its context", self.push, Pushed, status=later),
            Operation("POST", f"{one}/rehearse", "Have its context planned", self.rehearse, Plan),
        ]

    async def fleet(self, asked: Asked[MachineQuery, Nothing]) -> Machines:
        """Return the fleet."""
        return Machines(vms=tuple(await self._ledger.machines(limit=asked.query.limit)))

    async def show(self, asked: Asked[Nothing, Nothing]) -> Machine:
        """Return a VM."""
        return await self._machine(asked["vm"])

    async def drain(self, asked: Asked[Nothing, Draining]) -> Machine:
        """Let a VM take no more jobs; the order arrives even if it is away now."""
        machine = await self._machine(asked["vm"])
        await self._orders.drain(machine.machine_id, asked.body.reason)
        return machine

    async def resume(self, asked: Asked[Nothing, Nothing]) -> Machine:
        """Let a VM take jobs again; the order arrives even if it is away now."""
        machine = await self._machine(asked["vm"])
        await self._orders.resume(machine.machine_id)
        return machine

    async def forget(self, asked: Asked[Nothing, Nothing]) -> None:
        """Forget a VM; the next account that reports for it is its own from then on."""
        machine = await self._machine(asked["vm"])
        await self._ledger.forget_machine(machine.machine_id, before=datetime.now(UTC))

    async def push(self, asked: Asked[Nothing, Nothing]) -> Pushed:
        """Tell a VM of the context that it has here."""
        machine = await self._machine(asked["vm"])
        return Pushed(sequence=await self._contexts.push(machine.machine_id))

    async def rehearse(self, asked: Asked[Nothing, Nothing]) -> Plan:
        """Return the plan that a VM makes of the context that it has here."""
        machine = await self._machine(asked["vm"])
        text = await self._contexts.rehearse(machine.machine_id)
        try:
            return Plan(plan=json.loads(text))
        except ValueError:
            raise OrderError("what it says is no plan", where=machine.jid) from None

    async def _machine(self, machine_id: str) -> Machine:
        machine = await self._ledger.machine(machine_id)
        if machine is None:
            raise web.HTTPNotFound(reason="no such VM")
        return machine
