"""What happens, live and counted."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from tests.controller.ledger.test_ledger import event
from tests.controller.web.site import Api, client
from tests.controller.web.test_jobs import finish, submit, take
from ucvm_agent.controller.controller import Controller
from ucvm_agent.controller.web.site import open_site
from ucvm_agent.events import AnyBody, Note, State, StateChanged

HOSTILE = '<img src=x onerror="document.title=1">'


async def present(manager: Controller, machine: str, host: str, body: AnyBody, *, online: bool = True) -> None:
    """Let a VM report."""
    now = datetime.now(UTC)
    told = event(body, machine).model_copy(update={"time": now})
    await manager.ledger.record(told, f"{host}@site.example/r", now=now)
    await manager.ledger.claim(machine, f"{host}@site.example/r", host=host, now=now)
    await manager.ledger.present(machine, f"{host}@site.example/r", online=online, now=now)


async def record(manager: Controller, machine: str, seq: int, state: State | None = None, reason: str = "") -> None:
    body = StateChanged(state=state, reason=reason) if state else Note(message=f"note {seq}")
    kept = await manager.ledger.record(event(body, machine, seq), "vm@x/r", now=datetime.now(UTC))
    assert kept


async def test_the_fleet_is_counted(api: Api, manager: Controller) -> None:
    """VMs by state, jobs by status, and whether the controller hears anything."""
    await record(manager, "m1", 1, State.READY)
    await record(manager, "m2", 1, State.FAILED, "no disk")
    await submit(api)
    summary = (await api.ask("GET", "/api/v1/summary")).json
    assert summary["states"] == {"ready": 1, "failed": 1}
    assert (summary["machines"], summary["waiting"], summary["connected"]) == (2, 1, False)
    vms = (await api.ask("GET", "/api/v1/vms")).json["vms"]
    assert {vm["machine_id"]: vm["failure"] for vm in vms} == {"m1": "", "m2": "no disk"}
    assert (await api.ask("GET", "/api/v1/vms/m2")).json["state"] == "failed"
    assert (await api.ask("GET", "/api/v1/vms/m3")).status == 404


async def test_what_has_ended_is_counted_by_the_hour(api: Api, manager: Controller) -> None:
    """The last span is the present one."""
    await submit(api)
    await submit(api)
    await finish(manager, await take(manager))
    await finish(manager, await take(manager), status=256)
    spans = (await api.ask("GET", "/api/v1/throughput?seconds=600&count=6")).json["spans"]
    assert len(spans) == 6
    assert sum(span["done"] for span in spans) == sum(span["failed"] for span in spans) == 1
    assert all(datetime.fromisoformat(span["begin"]).minute % 10 == 0 for span in spans)
    assert (await api.ask("GET", "/api/v1/throughput?seconds=1")).status == 400


async def test_events_are_listed_and_followed_without_a_gap(api: Api, manager: Controller) -> None:
    """Those after a number first, then those that come; of one VM, if one is named."""
    for seq in range(1, 4):
        await record(manager, "m1", seq)
    await record(manager, "m2", 1)
    entries = (await api.ask("GET", "/api/v1/events?vm=m1")).json["events"]
    assert [entry["event"]["seq"] for entry in entries] == [1, 2, 3]
    async with api.follow(f"/api/v1/events/follow?vm=m1&after={entries[0]['number']}") as events:
        assert [(await anext(events))[1]["event"]["seq"] for _ in range(2)] == [2, 3]
        await record(manager, "m2", 2)
        await record(manager, "m1", 4)
        assert (await anext(events))[1]["event"]["seq"] == 4


async def test_whatever_changes_is_told_at_once(api: Api, manager: Controller) -> None:
    """A job through its life, a VM, and its event."""
    async with api.follow("/api/v1/feed") as events:
        await submit(api, id="j")
        await take(manager)
        await record(manager, "m1", 1, State.WORKING)
        seen = await _until(events, "vm")
    assert [data["status"] for kind, data in seen if kind == "job"][-1] == "running"
    assert seen[-1][1]["jobs"] == ["j"]


async def test_a_machine_that_is_forgotten_is_told_of_at_once(api: Api, manager: Controller) -> None:
    """Whoever forgets it, be it an operator or time; one that has come anew meanwhile is not gone."""
    await present(manager, "m1", "wn01", Note(message="x"))
    async with api.follow("/api/v1/feed") as events:
        assert (await api.ask("DELETE", "/api/v1/vms/m1")).status == 204
        async for kind, data in events:
            if kind == "gone":
                assert data == {"machine_id": "m1"}
                break
        await record(manager, "m1", 1, State.READY)
        assert (await _until(events, "vm"))[-1][1]["state"] == "ready"


async def test_events_name_their_machine(api: Api, manager: Controller) -> None:
    """Listed or followed, by what it is called."""
    await present(manager, "m1", "wn01.example.org", Note(message="x"))
    entries = (await api.ask("GET", "/api/v1/events")).json["events"]
    assert [entry["host"] for entry in entries] == ["wn01.example.org"]
    async with api.follow("/api/v1/events/follow?after=0") as events:
        assert (await anext(events))[1]["host"] == "wn01.example.org"


async def _until(events: Any, wanted: str) -> list[tuple[str, Any]]:
    seen = []
    async for kind, data in events:
        seen.append((kind, data))
        if kind == wanted and data.get("state"):
            return seen
    return seen


async def test_streams_end_in_order_when_the_site_closes(manager: Controller) -> None:
    """A reader sees an end, not a broken connection, and nobody waits for it."""
    async with asyncio.timeout(20):
        site = open_site(manager)
        url = await site.__aenter__()
        async with client(manager, url) as api, api.follow("/api/v1/feed") as events:
            began = asyncio.get_running_loop().time()
            await site.__aexit__(None, None, None)
            assert [event async for event in events] == []
            assert asyncio.get_running_loop().time() - began < 2
