"""Cluster contextualization: machines of one cluster find each other by a PIN (references/cernvm-online.md, section 6).

The master publishes its address, and later that it is ready; the others wait for both. Places in the user-data like
`###MASTER_IP_PLACEHOLDER###` are filled from the cluster's keys. Nothing else waits for them: what does not depend
on a key is planned and applied at once, and the whole context again when the keys are there.

Who speaks to the service is `service.py`; it is imported when there is a cluster, since a dry run passes
through here.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING

import structlog
from pydantic import SecretBytes, SecretStr

from ucvm_agent.contextualize.plan import Plan
from ucvm_agent.errors import SourceRefused, SourceUnavailable
from ucvm_agent.userdata.context import Context, Problem, Severity
from ucvm_agent.userdata.placeholders import stand_in

if TYPE_CHECKING:
    from ucvm_agent.cluster.service import ClusterService
    from ucvm_agent.contextualize.actions import Action
    from ucvm_agent.settings import Cluster
    from ucvm_agent.store.store import Store

log = structlog.get_logger()

MASTER_IP, MASTER_READY = "master_ip", "master_ready"
PIN = re.compile(r"[a-z0-9]{12}")

_VALUE = re.compile(r"[A-Za-z0-9 ._:/@%+=,~\[\]-]{1,1000}")
"""What a value may be. Whoever knows the PIN writes values, and they end in scripts: nothing that acts in a shell."""
_HOST = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*")


@dataclass(frozen=True, slots=True)
class Membership:
    """What a context says of its cluster.

    Arguments:
        pin: by which anybody reads and writes the cluster's keys.
        is_master: whether the others wait for this machine.
        service_url: of the PIN service.
    """

    pin: str = field(repr=False)
    is_master: bool
    service_url: str

    @property
    def name(self) -> str:
        """What stands for the cluster in the store."""
        return hashlib.sha256(f"{self.service_url} {self.pin}".encode()).hexdigest()


def read_membership(context: Context, settings: Cluster) -> Membership | None:
    """Return what the bootloader's block of a context says of a cluster; None if there is none, or no sound PIN."""
    pin = _block(context, "cvm_cluster_pin")
    if not PIN.fullmatch(pin):
        return None
    master = _block(context, "cvm_cluster_master") == "1"
    return Membership(pin, master, _block(context, "cvm_service_url") or settings.service_url)


def _block(context: Context, key: str) -> str:
    entry = context.entry(f"[ucernvm-begin] {key}")
    return entry.value if entry is not None and isinstance(entry.value, str) else ""


# What of a plan waits


def hold_back(plan: Plan) -> Plan:
    """Leave out of a plan what waits for keys of the cluster, and what is to come after that."""
    return plan.without(lambda step: _mentions(step.action, plan.context.missing))


def _mentions(action: Action, keys: Iterable[str]) -> bool:
    text = repr([_revealed(getattr(action, item.name)) for item in fields(action)])
    return any(stand_in(key) in text for key in keys)


def _revealed(value: object) -> object:
    return value.get_secret_value() if isinstance(value, SecretStr | SecretBytes) else value


def without_premature(plan: Plan) -> Plan:
    """Leave out problems of lines that wait for a key: whether they are any shows when the value is there."""
    texts = {part.name: part.text.split("\n") for part in plan.context.parts}

    def is_premature(problem: Problem) -> bool:
        lines = texts.get(problem.place.part, [])
        line = lines[problem.place.line - 1] if 0 < problem.place.line <= len(lines) else ""
        waits = any(stand_in(key) in line for key in plan.context.missing)
        return waits and problem.severity is not Severity.NOTE

    return replace(plan, problems=tuple(problem for problem in plan.problems if not is_premature(problem)))


# The roles


async def join(membership: Membership, missing: frozenset[str], settings: Cluster, store: Store) -> bool:
    """Play this machine's part, until the keys that its context waits for are kept in the store.

    The master publishes its address first. The others wait until it is ready.

    Returns:
        Whether there are new keys.

    Raises:
        SettingsError, SourceRefused: it makes no sense to wait: the PIN is unknown, or two masters share it.
        SourceUnavailable: the keys were not there within `[cluster] deadline`.
    """
    known = await asyncio.to_thread(store.cluster_keys, membership.name)
    has_published = not membership.is_master or MASTER_IP in known
    if has_published and not missing:
        return False
    from ucvm_agent.cluster.service import open_service

    async with open_service(membership, settings) as service:
        member = _Member(service, settings)
        found: Mapping[str, str] = {}
        try:
            async with asyncio.timeout(settings.deadline):
                if not has_published:
                    address = await member.publish_address()
                    await asyncio.to_thread(store.keep_cluster_keys, membership.name, {MASTER_IP: address})
                    found = {MASTER_IP: address}
                if wanted := missing - found.keys():
                    await member.wait(() if membership.is_master else (MASTER_READY,))
                    found = {**found, **await member.wait(sorted(wanted))}
        except TimeoutError:
            reason = member.fault or f"{', '.join(sorted(missing))} not published"
            message = f"no answer of the cluster within {settings.deadline:g} s: {reason}"
            raise SourceUnavailable(message, hint="is its master up? SIGHUP waits again") from None
    await asyncio.to_thread(store.keep_cluster_keys, membership.name, found)
    return bool(missing & found.keys())


async def announce(membership: Membership, settings: Cluster, store: Store) -> None:
    """Tell the cluster that this master is ready, once in the life of the cluster.

    Raises:
        SettingsError, SourceRefused, SourceUnavailable: as `join`.
    """
    if MASTER_READY in await asyncio.to_thread(store.cluster_keys, membership.name):
        return
    from ucvm_agent.cluster.service import open_service

    async with open_service(membership, settings) as service:
        member = _Member(service, settings)
        try:
            async with asyncio.timeout(settings.deadline):
                await member.publish(MASTER_READY, "1")
        except TimeoutError:
            message = f"the cluster could not be told that its master is ready: {member.fault}"
            raise SourceUnavailable(message) from None
    await asyncio.to_thread(store.keep_cluster_keys, membership.name, {MASTER_READY: "1"})


class _Member:
    """A machine in its cluster; every call lasts until it has an answer, and is bounded by its caller.

    Attributes:
        fault: what was wrong the last time.
    """

    def __init__(self, service: ClusterService, settings: Cluster) -> None:
        self.fault = ""
        self._service = service
        self._settings = settings

    async def publish_address(self) -> str:
        """Publish our address, and return it."""
        while True:
            try:
                address = await self._service.own_address()
                break
            except SourceUnavailable as error:
                await self._pause(error)
        if await self.publish(MASTER_IP, address) != address:
            message = "two masters share a PIN: another one has published its address"
            raise SourceRefused(message, where=self._service.where, hint="give each cluster its own PIN")
        return address

    async def publish(self, key: str, value: str) -> str:
        """Set a key if it is not set, and return what it is set to."""
        while True:
            try:
                if await self._service.post(key, value):
                    return value
                if (there := await self._service.get(key)) is not None:
                    return there
                self.fault = f"{key} came and went"
            except SourceUnavailable as error:
                await self._pause(error)
            else:
                await self._pause()

    async def wait(self, keys: Iterable[str]) -> dict[str, str]:
        """Return the values of keys, when all are there."""
        values: dict[str, str] = {}
        for key in keys:
            while (value := await self._ask(key)) is None:
                await self._pause()
            values[key] = _checked(key, value, self._service.where)
        return values

    async def _ask(self, key: str) -> str | None:
        try:
            value = await self._service.get(key)
            if value is None:
                await self._service.check_pin()
        except SourceUnavailable as error:
            self.fault = str(error)
            return None
        self.fault = f"{key} is not there yet" if value is None else ""
        return value

    async def _pause(self, error: SourceUnavailable | None = None) -> None:
        if error is not None:
            self.fault = str(error)
        log.debug("waiting for the cluster", reason=self.fault)
        jitter = random.random() * self._settings.jitter  # noqa: S311 - not for secrecy
        await asyncio.sleep(max(self._settings.pause + jitter, self._service.take_retry_after()))


def _checked(key: str, value: str, where: str) -> str:
    """Return a value that may be put into a text.

    Raises:
        SourceRefused: it may not; whoever knows the PIN could have written it.
    """
    if key == MASTER_IP and not _is_address(value):
        hint = "somebody else may know the PIN"
        raise SourceRefused("what the cluster gives as master_ip is neither address nor name", where=where, hint=hint)
    if not _VALUE.fullmatch(value):
        hint = "letters, digits, blanks and ._:/@%+=,~[]- may be in it"
        raise SourceRefused(f"the key {key} of the cluster has characters that are refused", where=where, hint=hint)
    return value


def _is_address(text: str) -> bool:
    from ipaddress import ip_address  # a dry run needs none

    try:
        ip_address(text)
    except ValueError:
        return _HOST.fullmatch(text) is not None
    return True
