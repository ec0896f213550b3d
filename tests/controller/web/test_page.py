"""The live page, as a person sees it in a browser; the pictures are kept for a look."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from selenium import webdriver

from tests.controller.conftest import Make
from tests.controller.peer import peer
from tests.controller.web.browser import Browser, chromium, open_tab
from tests.controller.web.site import Api, client, free_address, lonely_controller
from tests.controller.web.test_figures import HOSTILE, present, record
from tests.controller.web.test_jobs import FETCHED, archive, finish, submit, take
from tests.servers.prosody import Prosody
from ucvm_agent.controller.controller import Controller
from ucvm_agent.controller.files import Files
from ucvm_agent.controller.model import Description, Result
from ucvm_agent.controller.web.site import open_site
from ucvm_agent.copilot.messages import JobOutput, TailJob
from ucvm_agent.events import ActionEnded, JobChanged, JobPhase, State, StateChanged

LOOKS = {"wide": (1400, 900, False), "dark": (1400, 900, True), "phone": (390, 844, False)}


@pytest.fixture(scope="module", name="running")
def _running() -> Iterator[webdriver.Chrome]:
    with chromium() as driver:
        yield driver


@pytest.fixture
async def browser(running: webdriver.Chrome) -> AsyncIterator[Browser]:
    """A tab of the test's own, which has to have nothing to complain of."""
    async with open_tab(running) as opened:
        yield opened
        assert await opened.complaints() == []


async def populate(manager: Controller) -> None:
    """A fleet with a day behind it."""
    now = datetime.now(UTC)
    analysis = Description(
        command="histogram.sh", arguments="--events 500000 run2026A.root", input_files=("histogram.sh",)
    )
    ledger = manager.ledger
    for hour in range(23, -1, -1):
        for number in range(3 + (hour * 7) % 11):
            when = now - timedelta(hours=hour, minutes=7)
            job = await ledger.submit(analysis, now=when - timedelta(minutes=40), id=f"hist-{23 - hour:02}-{number:03}")
            taken = await ledger.take("vm@x/r", machine_id="", host="wn01", now=when, seconds=1e6)
            assert taken is not None
            assert taken.lease is not None
            bad = (hour + number) % 9 == 0
            result = Result(
                lease=taken.lease.id, agent="vm@x/r", host="wn01", exit_status=256 * bad, ended=when, seconds=84.2
            )
            await ledger.finish(job.id, result)
    states = [
        State.READY,
        State.WORKING,
        State.WORKING,
        State.READY,
        State.CONTEXTUALIZING,
        State.DRAINING,
        State.STOPPED,
    ]
    for number in range(14):
        machine = f"{number:08x}-5b1d-4c7e-9a55-0242ac1100{number:02x}"
        state = states[number % len(states)]
        await present(
            manager, machine, f"wn{number + 1:02}.grid.example.org", StateChanged(state=state), online=number != 9
        )
    reason = "cvmfs: mount /cvmfs/atlas.cern.ch failed: no proxy answers (squid.example.org:3128)"
    action = ActionEnded(
        contextualizer="cvmfs",
        action="run",
        target="mount /cvmfs/atlas.cern.ch",
        result="failed",
        reason="exit code 32",
    )
    await present(manager, "f00dcafe-0000-4000-8000-000000000001", "wn15.grid.example.org", action)
    await present(
        manager,
        "f00dcafe-0000-4000-8000-000000000001",
        "wn15.grid.example.org",
        StateChanged(state=State.DEGRADED, reason=reason),
    )
    await present(
        manager,
        "f00dcafe-0000-4000-8000-000000000002",
        "wn16.grid.example.org",
        StateChanged(state=State.FAILED, reason="no source of user-data answered within 300 s"),
    )
    for number in range(6):
        await ledger.submit(analysis, now=now, id=f"fit-{number:03}")
        if number < 4:
            machine = f"{1 if number < 2 else 2:08x}-5b1d-4c7e-9a55-0242ac1100{1 if number < 2 else 2:02x}"
            await ledger.take(
                "vm@x/r", machine_id=machine, host=f"wn0{2 if number < 2 else 3}.grid.example.org", now=now, seconds=1e6
            )
            await present(
                manager,
                machine,
                f"wn0{2 if number < 2 else 3}.grid.example.org",
                JobChanged(job_id=f"fit-{number:03}", slot=1, phase=JobPhase.RUNNING),
            )


async def leave_output(manager: Controller, id: str) -> None:  # noqa: A002 - as the field is called
    """Let a job that has ended have left an archive."""
    job = await manager.ledger.job(id)
    assert job is not None
    assert job.result is not None
    lines = [
        f"[{second:6.2f} s] {second * 11_900:>7} events read, m = {91.2 + second / 900:.3f} GeV" for second in range(42)
    ]
    text = "\n".join([*lines, "histogram written: mass.root, 3 objects, 118 kB", ""])
    place = Files(manager.settings.state_dir / "files").archive(id, job.result.lease, f"{id}.tgz")
    place.parent.mkdir(parents=True)
    place.write_bytes(archive(stdout=text.encode()))


@pytest.mark.parametrize("look", LOOKS)
async def test_the_page_fits_its_screen(api: Api, manager: Controller, browser: Browser, look: str) -> None:
    """On a phone and on a desk, by day and by night."""
    width, height, dark = LOOKS[look]
    await browser.size(width, height, dark=dark)
    await populate(manager)
    await leave_output(manager, "hist-23-001")
    await browser.open(api.url, api.token)
    await browser.shows("#fleet tbody", "wn16")
    await browser.until("document.querySelector('#throughput svg')")
    for section in ("figures", "jobs", "throughput"):
        await browser.run(f"document.querySelector('#{section}').scrollIntoView({{block: 'center'}})")
        await browser.screenshot(f"{look}-{section}")
        assert await browser.overflow() == 0
    await browser.click("#jobs [data-job='hist-23-001']")
    await browser.shows("#log", "histogram written")
    await browser.screenshot(f"{look}-job")
    assert await browser.overflow() == 0


async def test_new_jobs_push_old_ones_off_the_page(api: Api, manager: Controller, browser: Browser) -> None:
    """A page that is open for days shows as many as one that was just opened, and all others on request."""
    await browser.size(1400, 900)
    await browser.open(api.url, api.token)
    await browser.until("document.querySelector('#throughput svg')")
    edges = [
        f"document.querySelector('{edge}"
        for edge in ("#jobs').offsetTop", "#fleet').offsetTop", "#fleet').offsetHeight")
    ]
    assert await browser.run(f"return {' - '.join(edges)}") == 16  # however high the chart beside them is
    for number in range(32):
        await submit(api, id=f"n-{number:02}")
    await browser.shows("#jobs tbody tr:first-child", "n-31")
    await browser.until("document.querySelectorAll('#jobs tbody tr').length === 30")
    await browser.click("#jobs .more")
    await browser.shows("#jobs tbody tr:nth-child(32)", "n-00")
    job = await take(manager)
    assert job.lease is not None
    await manager.ledger.give_back(job.id, job.lease.id, "no scratch disk", now=job.changed)
    await browser.shows("#jobs tbody", "before: no scratch disk")


async def test_states_change_without_reload(api: Api, manager: Controller, browser: Browser) -> None:
    """VMs, jobs, figures and events; what fails comes first."""
    await browser.open(api.url, api.token)
    await browser.run("window.mark = 1")
    await present(manager, "m1", "wn01", StateChanged(state=State.READY))
    await present(manager, "m2", "wn02", StateChanged(state=State.READY))
    await browser.shows("#fleet tbody", "wn02")
    await present(manager, "m2", "wn02", StateChanged(state=State.FAILED, reason="no disk"))
    await browser.shows("#fleet tbody tr:first-child", "no disk")
    await browser.shows("#events li", "failed: no disk")
    await present(manager, "m3", "wn03", StateChanged(state=State.READY, reason="soon gone"))
    await browser.shows("#fleet tbody", "wn03")
    await browser.shows("#events li", "soon gone")
    assert (await api.ask("DELETE", "/api/v1/vms/m3")).status == 204
    await browser.until("!document.querySelector('#fleet tbody').textContent.includes('wn03')")
    await browser.until("!document.querySelector('#events').textContent.includes('soon gone')")
    await submit(api, id="first")
    await browser.shows("#jobs tbody tr", "waiting")
    job = await take(manager)
    await browser.shows("#jobs tbody tr", "running")
    await browser.shows("#fleet tr:nth-child(2)", "first")
    await finish(manager, job)
    await browser.shows("#jobs tbody tr", "done")
    await browser.shows("#figures", "1 jobs")
    await browser.until("document.querySelector('#throughput .done')")
    await browser.click("#jobs [data-value=failed]")
    await browser.until("document.querySelectorAll('#jobs tbody tr').length === 0")
    assert await browser.run("return window.mark") == 1


async def test_what_others_write_is_text(api: Api, manager: Controller, browser: Browser) -> None:
    """Names, reasons and output of jobs are whatever somebody chose."""
    await present(manager, HOSTILE, HOSTILE, StateChanged(state=State.FAILED, reason=HOSTILE))
    description = {**FETCHED, "arguments": HOSTILE}
    await submit(api, description, "j")
    job = await take(manager)
    packed = archive(stdout=HOSTILE.encode() + b"\x1b[31m\x00")
    await api.ask("PUT", "/files/j/j.tgz", token=job.token.get_secret_value(), data=packed)
    await finish(manager, job, status=9)
    await browser.open(api.url, api.token)
    for place in ("#fleet tbody", "#events", "#jobs tbody"):
        await browser.shows(place, HOSTILE)
    await browser.click("#jobs [data-job=j]")
    await browser.shows("#log", HOSTILE)
    await browser.shows("#facts", "signal 9")
    assert await browser.run("return document.images.length") == 0
    assert await browser.run("return document.title") == "ucvm-controller"


async def test_the_log_of_a_running_job_tails(prosody: Prosody, run_controller: Make, browser: Browser) -> None:
    """Each piece is there when it comes, and the archive goes on where the VM has stopped."""
    async with (
        run_controller(http={"listen": "127.0.0.1:0"}) as manager,
        open_site(manager) as url,
        client(manager, url) as api,
        peer(prosody, "agent1") as agent,
    ):
        await submit(api, id="j")
        now = datetime.now(UTC)
        job = await manager.ledger.take(agent.connection.jid, machine_id="m1", host="vm1", now=now, seconds=180)
        assert job is not None
        await browser.open(url, api.token)
        await browser.click("#jobs [data-job=j]")
        ask, sender = await agent.hear(TailJob)
        for offset, text in ((0, "event 1\n"), (8, "event 2\n")):
            data = base64.b64encode(text.encode()).decode()
            agent.say(sender, JobOutput(job_id="j", stream="stdout", offset=offset, data=data, request=ask.request))
            await browser.shows("#log", text)
        await browser.shows("#tailing", "live")
        await present(manager, "m1", "wn1", JobChanged(job_id="j", slot=1, phase=JobPhase.VALIDATING, exit_status=0))
        await browser.shows("#facts", "validating")
        await browser.screenshot("tail")
        packed = archive(stdout=b"event 1\nevent 2\nevent 3\n")
        await api.ask("PUT", "/files/j/j.tgz", token=job.token.get_secret_value(), data=packed)
        assert job.lease is not None
        result = Result(lease=job.lease.id, agent=job.lease.agent, exit_status=0, ended=now)
        await manager.ledger.finish("j", result)
        await browser.shows("#log", "event 1\nevent 2\nevent 3\n")
        await browser.shows("#tailing", "complete")
        await browser.leave()


async def test_the_page_says_when_it_is_stale(browser: Browser, tmp_path: Path) -> None:
    """And catches up by itself when the controller is there again."""
    async with lonely_controller(tmp_path, listen=free_address()) as manager:
        async with open_site(manager) as url, client(manager, url) as api:
            await browser.open(url, api.token)
        await browser.shows("#link", "stale since")
        await browser.screenshot("stale")
        await record(manager, "m1", 1, State.READY)
        async with open_site(manager):
            await browser.until("document.querySelector('#link').dataset.state === 'live'")
            await browser.shows("#fleet tbody", "m1")
    assert all("net::ERR_" in entry for entry in await browser.complaints())


async def test_a_wrong_token_opens_nothing(api: Api, browser: Browser) -> None:
    """The page asks again, and says why."""
    await browser.open(api.url, api.token)
    await browser.click("#leave")
    await browser.until("!document.querySelector('#door').hidden")
    await browser.enter("wrong")
    await browser.shows("#refusal", "not the token")
    await browser.enter(api.token)
    await browser.until("document.querySelector('#link').dataset.state === 'live'")
    assert all("401" in entry for entry in await browser.complaints())


async def test_a_job_is_opened_and_closed_by_keyboard(api: Api, manager: Controller, browser: Browser) -> None:
    """The focus comes back to where it was, although the job has changed meanwhile."""
    await submit(api, id="j")
    await browser.open(api.url, api.token)
    await browser.press("#jobs [data-job=j]", "\ue007")  # Enter
    await browser.shows("#tailing", "has not begun")
    await take(manager)
    await browser.shows("#jobs tbody tr", "running")
    await browser.press("#job-title", "\ue00c")  # Escape
    await browser.until("document.querySelector('#job').hidden")
    assert await browser.run("return document.activeElement.dataset.job") == "j"
    assert all("409" in entry for entry in await browser.complaints())
