"""The figures as a collector of metrics gets them from the real daemon."""

from __future__ import annotations

import asyncio
import socket

import aiohttp
import pytest
from prometheus_client.openmetrics import parser
from prometheus_client.samples import Sample

from tests.daemon.running import PATIENCE
from tests.operators.site import Site
from tests.servers.ports import LOOPBACK, free_port
from ucvm_agent import __version__


@pytest.fixture
def port() -> int:
    """A port that is free now."""
    return free_port()


async def fetch(port: int) -> tuple[dict[str, list[Sample]], str]:
    """Return the samples by their families, and the content type, as soon as the daemon serves them."""
    async with aiohttp.ClientSession() as session, asyncio.timeout(PATIENCE):
        while True:
            try:
                async with session.get(f"http://{LOOPBACK}:{port}/metrics") as answer:
                    families = parser.text_string_to_metric_families(await answer.text())  # type: ignore[no-untyped-call]  # theirs
                    return {family.name: family.samples for family in families}, answer.headers["Content-Type"]
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.05)


def value(samples: list[Sample], **labels: str) -> float:
    """Return the value of the only sample with these labels."""
    (found,) = [sample.value for sample in samples if labels.items() <= sample.labels.items()]
    return found


async def test_the_figures_are_openmetrics(site: Site, port: int) -> None:
    """State, figures, what controllers still have to be told; as another's parser reads them."""
    site.configure({"monitoring": {"port": port}})
    await site.start()
    samples, kind = await fetch(port)
    assert kind == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert value(samples["ucvm_agent"], version=__version__) == 1
    assert value(samples["ucvm_state"], ucvm_state="ready") == 1
    assert value(samples["ucvm_state"], ucvm_state="failed") == 0
    assert value(samples["ucvm_load"], minutes="15") >= 0
    assert value(samples["ucvm_memory_available_bytes"], kind="ram") > 2**20
    assert value(samples["ucvm_disk_used_bytes"], mount="/") > 2**20
    assert value(samples["ucvm_processes"]) > 1
    assert value(samples["ucvm_events_waiting"], controller=f"xmpp:{site.prosody.jid('boss')}") >= 0
    assert samples["ucvm_slot"] == []


async def test_slots(site: Site, port: int) -> None:
    """Each says what it does; and without a connection the figures are there all the same."""
    site.configure({"monitoring": {"port": port}, "jobs": {"enabled": True, "slots": 2}})
    await site.start()
    await site.prosody.stop()
    samples, _ = await fetch(port)
    assert value(samples["ucvm_slot"], slot="1", ucvm_slot="idle") == 1
    assert value(samples["ucvm_slot"], slot="2", ucvm_slot="running") == 0


async def test_without_xmpp(site: Site, port: int) -> None:
    """A machine that nobody controls can be watched."""
    site.configure({"monitoring": {"port": port}}, jid="", controllers=[])
    await site.daemon.start()
    samples, _ = await fetch(port)
    assert "ucvm_memory_used_bytes" in samples


async def test_another_program_has_the_port(site: Site, port: int) -> None:
    """The log says so, and the machine is ready none the less."""
    with socket.socket() as other:
        other.bind((LOOPBACK, port))
        other.listen()
        site.configure({"monitoring": {"port": port}})
        await site.start()
        assert "metrics cannot be served" in site.daemon.log.read_text()
    assert await site.daemon.end() == 0
