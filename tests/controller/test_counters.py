"""What a monitor is told (references/copilot-protocol.md, section 7)."""

from __future__ import annotations

from tests.controller.conftest import Make
from tests.controller.ledger.test_ledger import SCRIPT
from tests.controller.peer import Peer, peer
from tests.servers.prosody import Prosody
from ucvm_agent.copilot.messages import GetJob, JobDone, RunJob, WantJob


async def test_a_monitor_is_told_what_happens(prosody: Prosody, run_controller: Make) -> None:
    """Under the names of the original, wanting no acknowledgement."""
    monitor = {"jid": f"{prosody.jid('mon')}", "seconds": 0.5}
    async with (
        run_controller(instance="a.b", monitor=monitor) as controller,
        peer(prosody, "mon", "9999999999") as mon,
        peer(prosody, "agent1") as agent,
    ):
        manager = f"{prosody.jid('jm')}/a.b"
        agent.say(manager, WantJob())
        assert await _next(mon, "error.") == ("reportEvent", "error.emptyQueue")
        await controller.submit(SCRIPT, "j")
        while await _next(mon, "queuedJobs", "value") != ("reportEventValue", "queuedJobs", "1"):
            pass
        agent.say(manager, GetJob())
        await agent.hear(RunJob)
        assert await _next(mon, "job.") == ("reportEvent", "job.start")
        agent.say(manager, JobDone(job_id="j", exit_code="0", job_data="startedAt=100\n"))
        command, event, milliseconds = await _next(mon, "job.", "duration")
        assert (command, event) == ("reportEventDuration", "job.succeeded")
        assert int(milliseconds) > 1_000_000_000_000


async def _next(mon: Peer, prefix: str, *values: str) -> tuple[str, ...]:
    """Return command, event and values of the next report whose event begins so."""
    while True:
        envelope = await mon.next()
        info = envelope.info or {}
        assert envelope.noack
        assert info["component"] == "jobmanager.generic.a_b"
        if str(info["event"]).startswith(prefix):
            return tuple(str(info[name]) for name in ("command", "event", *values))
