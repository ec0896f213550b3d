"""The figures for a collector of metrics, as OpenMetrics, on a port of 127.0.0.1.

Every account of this machine may read that port, those of jobs as well: there is nothing secret in it.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

import structlog
from aiohttp import web
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
    StateSetMetricFamily,
)
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from ucvm_agent import __version__
from ucvm_agent.errors import StoreError
from ucvm_agent.events import JobPhase, State
from ucvm_agent.monitoring.figures import Figures
from ucvm_agent.store.status import Status

log = structlog.get_logger()

LOOPBACK = "127.0.0.1"
RETRY_SECONDS = 30.0
"""Until the port is tried again that somebody else has."""

FRESH_SECONDS = 1.0
"""For how long the figures are told again as they were read."""

IDLE = "idle"
"""A slot without a job."""


@dataclass(frozen=True, slots=True)
class Readings(Collector):
    """All that is told; a collector of `prometheus_client`.

    Arguments:
        slots: the numbers of those that may have a job.
    """

    figures: Figures
    status: Status
    slots: Sequence[int]

    def collect(self) -> Iterator[Metric]:
        """Yield one family of metrics after the other."""
        yield InfoMetricFamily("ucvm_agent", "The agent.", value={"version": __version__})
        yield StateSetMetricFamily(
            "ucvm_state", "State of the machine.", {state.value: state is self.status.state for state in State}
        )
        yield from _system(self.figures)
        yield from _controllers(self.status)
        yield self._slots()

    def _slots(self) -> Metric:
        has = {job.slot: job.phase for job in self.status.jobs if not job.phase.over}
        phases = [IDLE, *(phase for phase in JobPhase if not phase.over)]
        family = StateSetMetricFamily("ucvm_slot", "What each slot does.", labels=["slot"])
        for slot in sorted({*self.slots, *has}):
            family.add_metric([str(slot)], {phase: phase == has.get(slot, IDLE) for phase in phases})
        return family


class Page:
    """The text of all metrics, made anew once a second at most: a job that asks all the time costs no more than that.

    Arguments:
        read: what is told; raises OSError or TimeoutError if the system, and StoreError if the state file does not
            tell.
    """

    def __init__(self, read: Callable[[], Awaitable[Readings]]) -> None:
        self._read = read
        self._lock = asyncio.Lock()
        self._text = b""
        self._stale_from = -math.inf

    async def answer(self, _: web.Request) -> web.Response:
        """Answer a collector."""
        async with self._lock:
            if time.monotonic() >= self._stale_from:
                try:
                    self._text = _written(await self._read())
                except (OSError, TimeoutError, StoreError) as error:
                    log.warning("the figures of the machine cannot be read", reason=str(error) or "not in time")
                    raise web.HTTPServiceUnavailable(text="the figures cannot be read now\n") from None
                self._stale_from = time.monotonic() + FRESH_SECONDS
        return web.Response(body=self._text, headers={"Content-Type": CONTENT_TYPE_LATEST})


async def serve(port: int, page: Page) -> None:
    """Serve `/metrics` until cancelled."""
    application = web.Application()
    application.router.add_get("/metrics", page.answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await _listen(runner, port)
        await asyncio.get_running_loop().create_future()
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, port: int) -> None:
    """Take the port, as soon as it is free."""
    told = False
    while True:
        site = web.TCPSite(runner, LOOPBACK, port)
        try:
            await site.start()
        except OSError as error:
            write = log.debug if told else log.warning
            write("metrics cannot be served", setting="monitoring.port", port=port, reason=str(error))
            told = True
            await site.stop()
            await asyncio.sleep(RETRY_SECONDS)
        else:
            log.info("metrics are served", address=f"http://{LOOPBACK}:{port}/metrics")
            return


def _written(readings: Readings) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(readings)
    text: bytes = generate_latest(registry)  # type: ignore[no-untyped-call]  # as the library leaves it
    return text


def _system(figures: Figures) -> Iterator[Metric]:
    load = GaugeMetricFamily("ucvm_load", "Average number of running processes.", labels=["minutes"])
    for minutes, value in zip(("1", "5", "15"), figures.load, strict=True):
        load.add_metric([minutes], value)
    yield load
    yield GaugeMetricFamily("ucvm_processes", "Number of processes.", figures.processes)
    used = GaugeMetricFamily("ucvm_memory_used", "Memory in use.", labels=["kind"], unit="bytes")
    available = GaugeMetricFamily("ucvm_memory_available", "Memory to be had.", labels=["kind"], unit="bytes")
    for kind, space in (("ram", figures.memory), ("swap", figures.swap)):
        used.add_metric([kind], space.used)
        available.add_metric([kind], space.available)
    yield from (used, available)
    used = GaugeMetricFamily("ucvm_disk_used", "Space in use.", labels=["mount"], unit="bytes")
    available = GaugeMetricFamily("ucvm_disk_available", "Space to be had.", labels=["mount"], unit="bytes")
    for disk in figures.disks:
        used.add_metric([str(disk.mount)], disk.space.used)
        available.add_metric([str(disk.mount)], disk.space.available)
    yield from (used, available)
    received = CounterMetricFamily("ucvm_network_received", "Bytes received.", labels=["interface"], unit="bytes")
    sent = CounterMetricFamily("ucvm_network_sent", "Bytes sent.", labels=["interface"], unit="bytes")
    for interface in figures.interfaces:
        received.add_metric([interface.name], interface.received)
        sent.add_metric([interface.name], interface.sent)
    yield from (received, sent)


def _controllers(status: Status) -> Iterator[Metric]:
    waiting = GaugeMetricFamily("ucvm_events_waiting", "Events that are still to be told.", labels=["controller"])
    refused = CounterMetricFamily("ucvm_events_refused", "Events that were not taken.", labels=["controller"])
    for delivery in status.deliveries:
        waiting.add_metric([delivery.reporter], delivery.waiting)
        refused.add_metric([delivery.reporter], delivery.refused)
    yield from (waiting, refused)
