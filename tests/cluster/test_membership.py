"""Cluster contextualization, against a PIN service built to references/cernvm-online.md, section 6."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from tests.daemon.running import Controller, Daemon
from tests.servers.online import Online
from ucvm_agent.cluster.membership import Membership, announce, hold_back, join
from ucvm_agent.errors import SettingsError, SourceRefused, SourceUnavailable
from ucvm_agent.settings import Cluster, Settings
from ucvm_agent.sources.base import Found
from ucvm_agent.stages.preparation import prepare
from ucvm_agent.store.store import Store

QUICK = Cluster(pause=0.01, jitter=0.01, deadline=20, insecure=True)
SHORT = QUICK.model_copy(update={"deadline": 0.5})
MASTER_IP = frozenset({"master_ip"})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "state/state.db", "boot-1")
    yield store
    store.close()


def member(online: Online, pin: str, *, master: bool = False) -> Membership:
    return Membership(pin, master, online.url)


async def test_a_worker_waits_until_the_master_is_ready(store: Store) -> None:
    """`master_ip` alone is not enough; what is there then is kept."""
    async with Online() as online:
        pin = online.new_cluster(master_ip="10.0.0.1")
        work = asyncio.create_task(join(member(online, pin), MASTER_IP, QUICK, store))
        async with online.posted:
            await online.posted.wait_for(lambda: len(online.requests) >= 4)
        assert not work.done()
        await online.put(pin, master_ready="1")
        assert await work is True
    assert store.cluster_keys(member(online, pin).name) == {"master_ip": "10.0.0.1"}
    assert not any("master_ip" in request for request in online.requests[:4])


async def test_any_key_of_the_cluster(store: Store) -> None:
    """Also such as another machine publishes later."""
    async with Online() as online:
        pin = online.new_cluster(master_ip="node.example.org", master_ready="yes")
        keys = frozenset({"master_ip", "Token"})
        work = asyncio.create_task(join(member(online, pin), keys, QUICK, store))
        await online.put(pin, Token="a: b=c")
        assert await work is True
    assert store.cluster_keys(member(online, pin).name) == {"master_ip": "node.example.org", "Token": "a: b=c"}


async def test_a_master_publishes_its_address_and_that_it_is_ready(store: Store) -> None:
    """Each once, whatever is started again; its own context knows its address as well."""
    async with Online() as online:
        pin = online.new_cluster()
        master = member(online, pin, master=True)
        for new in (True, False):
            assert await join(master, MASTER_IP if new else frozenset(), QUICK, store) is new
            await announce(master, QUICK, store)
        assert online.clusters[pin].keys == {"master_ip": "127.0.0.1", "master_ready": "1"}
        assert len([request for request in online.requests if request.startswith("POST")]) == 2


async def test_a_master_that_lost_its_memory(store: Store) -> None:
    """The address that is published already is its own, so that all is well."""
    async with Online() as online:
        pin = online.new_cluster(master_ip="127.0.0.1", master_ready="1")
        master = member(online, pin, master=True)
        assert await join(master, MASTER_IP, QUICK, store) is True
        await announce(master, QUICK, store)


async def test_two_masters(store: Store) -> None:
    """The second one stops, and says why."""
    async with Online() as online:
        pin = online.new_cluster(master_ip="10.9.9.9")
        with pytest.raises(SourceRefused, match="two masters share a PIN"):
            await join(member(online, pin, master=True), frozenset(), QUICK, store)


@pytest.mark.parametrize("master", [True, False])
async def test_a_pin_that_is_none_any_more(store: Store, master: bool) -> None:
    """Nobody waits for what cannot come."""
    async with Online() as online:
        with pytest.raises(SourceRefused, match="no cluster with this PIN"):
            await join(member(online, "abcdef123456", master=master), MASTER_IP, QUICK, store)


async def test_the_deadline(store: Store) -> None:
    """A worker goes on without its cluster, and tells what was missing."""
    async with Online() as online:
        pin = online.new_cluster(master_ip="10.0.0.1")
        with pytest.raises(SourceUnavailable, match=r"within 0.5 s: master_ready is not there yet"):
            await join(member(online, pin), MASTER_IP, SHORT, store)
        online.silent = True
        with pytest.raises(SourceUnavailable, match="no answer of the cluster"):
            await join(member(online, pin), MASTER_IP, SHORT, store)


@pytest.mark.parametrize("failure", [429, 500, 503])
async def test_a_service_in_trouble(store: Store, failure: int) -> None:
    """Its faults pass."""
    async with Online(failures=3, failure=failure) as online:
        pin = online.new_cluster(master_ip="10.0.0.1", master_ready="1")
        assert await join(member(online, pin), MASTER_IP, QUICK, store) is True


@pytest.mark.parametrize("value", ["10.0.0.1; reboot", "$(reboot)", "a\nb", "<html>", "-", "10.0.0.1 x"])
async def test_an_address_that_is_none(store: Store, value: str) -> None:
    """Whoever knows the PIN could have written it, and it ends in scripts."""
    async with Online() as online:
        pin = online.new_cluster(master_ip=value, master_ready="1", other=value)
        with pytest.raises(SourceRefused, match="neither address nor name"):
            await join(member(online, pin), MASTER_IP, QUICK, store)
        if value not in ("-", "10.0.0.1 x"):
            with pytest.raises(SourceRefused, match="characters that are refused"):
                await join(member(online, pin), frozenset({"other"}), QUICK, store)


async def test_http_has_to_be_allowed(store: Store) -> None:
    """Whoever is in between could write the keys."""
    with pytest.raises(SettingsError, match="insecure"):
        await join(Membership("abcdef123456", False, "http://h.example.org"), MASTER_IP, Cluster(), store)


async def test_the_pin_is_not_logged(store: Store) -> None:
    """Though it is part of every URL."""
    with structlog.testing.capture_logs() as logged:
        async with Online() as online:
            pin = online.new_cluster(master_ip="10.0.0.1", master_ready="1")
            await join(member(online, pin), MASTER_IP, QUICK, store)
            online.clusters.clear()
            with pytest.raises(SourceRefused) as caught:
                await join(member(online, pin), frozenset({"x"}), QUICK, store)
    told = f"{logged} {caught.value!r} {caught.value} {member(online, pin)!r}"
    assert "/clusters/***" in told
    assert pin not in told


# The context


def context(online: Online, pin: str, *, master: bool = False) -> str:
    role = "yes" if master else "no"
    return f"""\
[ucernvm-begin]
cvm_cluster_pin={pin}
cvm_cluster_master={role}
cvm_service_url={online.url}
[ucernvm-end]

#cloud-config
hostname: node
write_files:
  - path: /etc/first
    content: here
  - path: /etc/master
    content: ###MASTER_IP_PLACEHOLDER###
"""


JOIN = """\
runcmd:
  - echo joined `cat /etc/master` >> /var/log/joined
"""


def test_what_waits_and_what_does_not(tmp_path: Path) -> None:
    """What comes after something that waits, waits as well; what is wrong with the stand-in is no mistake."""
    user_data = context(Online(), "abcdef123456") + JOIN + "locale: ###LOCALE_PLACEHOLDER###\n"
    prepared = prepare(Found("file", "x", user_data.encode()), Settings(root=tmp_path))
    targets = [step.action.target for step in hold_back(prepared.plan).steps]
    assert prepared.missing == {"master_ip", "locale"}
    assert "/etc/first" in targets
    assert "/etc/master" not in targets
    assert not any("joined" in target for target in targets)
    assert {problem.severity.value for problem in prepared.plan.problems} == {"note"}
    for number, step in enumerate(hold_back(prepared.plan).steps):
        assert all(each < number for each in (*step.waits_for, *step.needs))


@pytest.fixture
def root(scratch_root: Path) -> Path:
    (scratch_root / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\n")
    return scratch_root


async def test_master_and_worker_boot_together(tmp_path: Path, root: Path) -> None:
    """The worker does what it can at once, the rest when its master is ready, and after a restart nothing twice."""
    (tmp_path / "master/root/etc").mkdir(parents=True)
    async with Online() as online, Controller() as of_worker, Controller() as of_master:
        pin = online.new_cluster()
        quick = {"pause": 0.05, "jitter": 0.05, "insecure": True}
        async with Daemon(tmp_path, root) as worker, Daemon(tmp_path / "master", tmp_path / "master/root") as master:
            for daemon, controller, text in (
                (worker, of_worker, context(online, pin) + JOIN),
                (master, of_master, context(online, pin, master=True)),
            ):
                path = daemon.folder / "user-data"
                path.write_text(text)
                daemon.configure(
                    controller, sources={"names": ["file"]}, cluster=quick, **{"sources.file": {"path": str(path)}}
                )
            await worker.start()
            await of_worker.reason("waiting for keys of the cluster: master_ip")
            assert (root / "etc/first").read_text() == "here"
            assert not (root / "etc/master").exists()
            await master.start()
            await of_worker.state("ready")
            assert (root / "etc/master").read_text() == "127.0.0.1"
            assert (root / "var/log/joined").read_text() == "joined 127.0.0.1\n"
            assert await online.key(pin, "master_ready") == "1"
            assert await worker.end() == 0
            online.clusters.clear()  # a day later
            await worker.start()
            await of_worker.state("ready", times=2)
            assert (root / "var/log/joined").read_text() == "joined 127.0.0.1\n"
            assert (root / "etc/master").read_text() == "127.0.0.1"
            _, plan, _ = await worker.command("--dry-run")
            assert "master_ip_PLACEHOLDER" not in plan
            assert pin not in worker.log.read_text() + plan


async def test_a_cluster_that_does_not_come(tmp_path: Path, root: Path) -> None:
    """The machine is degraded and says why; what does not depend on the cluster is done."""
    async with Online() as online, Controller() as controller, Daemon(tmp_path, root) as daemon:
        path = tmp_path / "user-data"
        path.write_text(context(online, "abcdef123456"))
        daemon.configure(
            controller,
            sources={"names": ["file"]},
            cluster={"insecure": True},
            **{"sources.file": {"path": str(path)}},
        )
        await daemon.start()
        state = await controller.state("degraded")
        assert "no cluster with this PIN" in state.reason
        assert (root / "etc/first").read_text() == "here"
        assert not (root / "etc/master").exists()
        code, _, errors = await daemon.command("--dry-run")
        assert (code, errors) == (0, "")
