"""The ledger of several controllers that share one Redis, and their work with original job managers.

The original's keys are `waiting_jobs`, `job:<id>:description` and `agentseen::<account>`
(references/copilot-protocol.md, section 4.1): an original tool submits jobs to us, and an original job manager hands
out ours, but for those that need an agent of ours. All else is below `ucvm:`. A job that an original tool has submitted
is known here once it is handed out.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from ucvm_agent.controller.ledger import rules
from ucvm_agent.controller.ledger.base import Admission, Kind, Reception
from ucvm_agent.controller.ledger.redis_jobs import PAGE, RedisJobs
from ucvm_agent.controller.ledger.redis_keys import OURS, QUEUE, event_number, status_key
from ucvm_agent.controller.ledger.redis_link import NOTICES
from ucvm_agent.controller.ledger.redis_scripts import APPEND
from ucvm_agent.controller.model import Entry, JobStatus, Machine, Summary
from ucvm_agent.events import Event, State

KEPT_EVENTS = 200_000
"""Events that are kept, of all machines together."""

STORY_EVENTS = 1000
"""Events that the story of one machine holds at least, before the first of them goes."""

EVENTS_AT_ONCE = 500
"""That are looked at in one go, while Redis does nothing else."""

KEY_OF = "ucvm:key:"
"""Before an account: the public key by which its controllers sign."""

KNOWN_SECONDS = 30 * 86_400
"""How long the id of an event is remembered."""


class RedisLedger(RedisJobs):
    """See `Ledger`.

    Arguments:
        url: of Redis.
        max_tries: of a job that an original tool has submitted.
    """

    async def common_key(self, account: str, key: str) -> str:
        """See `Ledger`."""
        with self._link.errors():
            name = f"{KEY_OF}{account}"
            await self._link.redis.set(name, key, nx=True)
            return str(await self._link.redis.get(name))

    async def admit(self, account: str, question: str, *, now: datetime, cooldown: float) -> Admission:
        """See `Ledger`."""
        with self._link.errors():
            name = account.partition("@")[0]
            return Admission(await self._admit(keys=[], args=(name, question, now.timestamp(), cooldown)))

    async def record(self, event: Event, jid: str, *, now: datetime) -> Reception:
        """See `Ledger`."""
        known = f"ucvm:event:{event.id}"

        async def work(pipe: Any) -> Reception:
            before = _read_machine(await pipe.get(_machine(event.machine_id)))
            if before is not None and not rules.owns(before, jid):
                pipe.multi()
                _save_machine(pipe, before, rules.refuse(before, jid))
                return Reception.REFUSED
            if await pipe.exists(known):
                pipe.multi()
                return Reception.KNOWN
            pipe.multi()
            pipe.set(known, "", ex=KNOWN_SECONDS)
            pipe.eval(APPEND, 0, event.machine_id, event.model_dump_json(), KEPT_EVENTS, STORY_EVENTS)
            _save_machine(pipe, before, rules.observe(before, event, jid, now=now))
            return Reception.NEW

        return await self._link.transact((known, _machine(event.machine_id)), work)

    async def claim(self, machine_id: str, jid: str, *, host: str = "", instance_id: str = "", now: datetime) -> bool:
        """See `Ledger`; it seldom has to write, and then one answer of Redis is enough."""

        async def read(redis: Any) -> tuple[Machine | None, Machine]:
            before = _read_machine(await redis.get(_machine(machine_id)))
            return before, rules.claim(before, machine_id, jid, host, instance_id, now=now)

        async def work(pipe: Any) -> bool:
            before, after = await read(pipe)
            pipe.multi()
            _save_machine(pipe, before, after)
            return rules.owns(after, jid)

        with self._link.errors():
            before, after = await read(self._redis)
        return before == after or await self._link.transact((_machine(machine_id),), work)

    async def present(self, machine_id: str, jid: str, *, online: bool, now: datetime) -> None:
        """See `Ledger`."""

        async def work(pipe: Any) -> None:
            before = _read_machine(await pipe.get(_machine(machine_id)))
            met = before and rules.meet(before, jid, online=online, now=now)
            pipe.multi()
            if met:
                _save_machine(pipe, before, met)

        await self._link.transact((_machine(machine_id),), work)

    async def silent(self, before: datetime) -> Sequence[Machine]:
        """See `Ledger`."""
        with self._link.errors():
            ids = await self._redis.zrangebyscore("ucvm:machines", "-inf", f"({before.timestamp()}")
        return [machine for machine in await self._machines(ids) if not (machine.online or machine.jobs)]

    async def forget_machine(self, machine_id: str, *, before: datetime) -> bool:
        """See `Ledger`; killed in the middle, it leaves the machine, to be forgotten again."""
        known = await self.machine(machine_id)
        if known is None or known.seen >= before:
            return False
        await self._forget_older_events(machine_id)
        story = f"ucvm:events:{machine_id}"

        async def work(pipe: Any) -> bool:
            machine = _read_machine(await pipe.get(_machine(machine_id)))
            events = [id_ for id_, _ in await pipe.xrange(story)]
            pipe.multi()
            if machine is None or machine.seen >= before:
                return False
            pipe.delete(_machine(machine_id), story)
            if events:
                pipe.xdel("ucvm:events", *events)
            pipe.zrem("ucvm:machines", machine_id)
            pipe.srem("ucvm:online", machine_id)
            if machine.state:
                pipe.srem(f"ucvm:state:{machine.state}", machine_id)
            pipe.publish(NOTICES, f"{Kind.MACHINE} {machine_id}")
            return True

        return await self._link.transact((_machine(machine_id), story), work)

    async def machines(self, *, limit: int | None = 1000) -> Sequence[Machine]:
        """See `Ledger`."""
        with self._link.errors():
            ids = await self._redis.zrevrange("ucvm:machines", 0, -1 if limit is None else limit - 1)
        return await self._machines(ids)

    async def machine(self, machine_id: str) -> Machine | None:
        """See `Ledger`."""
        found = await self._machines([machine_id])
        return found[0] if found else None

    async def events(self, machine_id: str = "", *, limit: int = 100, after: int = 0) -> Sequence[Entry]:
        """See `Ledger`."""
        key = f"ucvm:events:{machine_id}" if machine_id else "ucvm:events"
        with self._link.errors():
            if after:
                rows = await self._redis.xrange(key, min=f"({_stream_id(after)}", count=limit)
            else:
                rows = (await self._redis.xrevrange(key, count=limit))[::-1]
        events = [(event_number(id_), Event.model_validate_json(fields["event"])) for id_, fields in rows]
        hosts = await self._hosts({event.machine_id for _, event in events})
        return [Entry(number=number, host=hosts.get(event.machine_id, ""), event=event) for number, event in events]

    async def _hosts(self, ids: set[str]) -> dict[str, str]:
        """Return what machines are called, as far as they are known."""
        with self._link.errors():
            texts = await self._redis.mget([_machine(id_) for id_ in ids]) if ids else []
        return {machine.machine_id: machine.host for text in texts if (machine := _read_machine(text))}

    async def summary(self) -> Summary:
        """See `Ledger`."""
        async with self._link.pipeline() as pipe:
            pipe.llen(QUEUE)
            pipe.llen(OURS)
            for status in JobStatus:
                pipe.zcard(status_key(status))
            pipe.zcard("ucvm:machines")
            pipe.scard("ucvm:online")
            for state in State:
                pipe.scard(f"ucvm:state:{state}")
            waiting, kept, *counts = await pipe.execute()
        statuses = dict(zip((status.value for status in JobStatus), counts, strict=False))
        machines, online, *states = counts[len(JobStatus) :]
        return Summary(
            **statuses | {"waiting": waiting + kept},
            machines=machines,
            online=online,
            states={state.value: count for state, count in zip(State, states, strict=True) if count},
        )

    async def _forget_older_events(self, machine_id: str) -> None:
        """Remove from the story of all machines what that of this one does not hold any more."""
        story = f"ucvm:events:{machine_id}"
        with self._link.errors():
            if await self._redis.xlen(story) < STORY_EVENTS:
                return
            (oldest, _), *_ = await self._redis.xrange(story, count=1)
            begin = "-"
            while begin:
                begin = await self._forget_events(args=(machine_id, begin, f"({oldest}", EVENTS_AT_ONCE))

    async def _machines(self, ids: Sequence[str]) -> list[Machine]:
        pages = [await self._page(ids[begin : begin + PAGE]) for begin in range(0, len(ids), PAGE)]
        return [machine for page in pages for machine in page]

    async def _page(self, ids: Sequence[str]) -> list[Machine]:
        async with self._link.pipeline() as pipe:
            for machine_id in ids:
                pipe.get(_machine(machine_id))
                pipe.smembers(f"ucvm:holds:{machine_id}")
            found = await pipe.execute()
        machines = [(_read_machine(text), jobs) for text, jobs in zip(found[::2], found[1::2], strict=True)]
        return [machine.model_copy(update={"jobs": tuple(sorted(jobs))}) for machine, jobs in machines if machine]


def _machine(machine_id: str) -> str:
    return f"ucvm:machine:{machine_id}"


def _read_machine(text: str | None) -> Machine | None:
    return Machine.model_validate_json(text) if text else None


def _stream_id(number: int) -> str:
    return f"{number // 1000}-{number % 1000}"


def _save_machine(pipe: Any, before: Machine | None, machine: Machine) -> None:
    pipe.set(_machine(machine.machine_id), machine.model_dump_json())
    pipe.zadd("ucvm:machines", {machine.machine_id: machine.seen.timestamp()})
    (pipe.sadd if machine.online else pipe.srem)("ucvm:online", machine.machine_id)
    if before is not None and before.state and before.state is not machine.state:
        pipe.srem(f"ucvm:state:{before.state}", machine.machine_id)
    if machine.state:
        pipe.sadd(f"ucvm:state:{machine.state}", machine.machine_id)
    pipe.publish(NOTICES, f"{Kind.MACHINE} {machine.machine_id}")
