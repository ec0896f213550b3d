"""Questions that wait for a job."""

from __future__ import annotations

import pytest

from tests.controller.conftest import Make
from tests.controller.ledger.test_ledger import NOW
from tests.controller.peer import peer
from tests.servers.prosody import Prosody
from tests.servers.redis import RedisServer
from ucvm_agent.controller.model import Description
from ucvm_agent.controller.open_questions import KEPT_SECONDS, MOST, OpenQuestions
from ucvm_agent.copilot.messages import GetJob, HaveJob, NoJob, WantJob

SCRIPT = Description(command="run.sh")


def test_the_last_question_of_each_agent_is_kept() -> None:
    """The oldest first; a stale one is forgotten, and of too many the oldest."""
    now = 0.0
    questions = OpenQuestions(clock=lambda: now)
    questions.keep("a", "1")
    questions.keep("b", "2")
    questions.keep("a", "3")
    assert questions.oldest(2) == [("b", "2"), ("a", "3")]
    assert questions.oldest(1) == [("b", "2")]
    now = KEPT_SECONDS + 1
    questions.keep("c", "4")
    assert questions.oldest(9) == [("c", "4")]
    for number in range(MOST):
        questions.keep(f"agent-{number}", "")
    assert len(questions) == MOST
    assert ("c", "4") not in questions.oldest(MOST)


async def test_an_open_question_is_answered_once_and_only_that_of_an_agent_of_ours(
    prosody: Prosody, run_controller: Make
) -> None:
    """One job, one offer to the agent that asked first; an original agent hears nothing."""
    async with (
        run_controller() as controller,
        peer(prosody, "agent1") as first,
        peer(prosody, "agent2", "9876543210") as second,
        peer(prosody, "agent3", "5555555555") as original,
    ):
        manager = prosody.jid("jm")
        await original.confirmed(original.say(manager, WantJob()))
        for agent, machine in ((first, "m1"), (second, "m2")):
            agent.say(manager, WantJob(machine_id=machine, request=f"r-{machine}"))
            assert await agent.hear(NoJob) == (NoJob(request=f"r-{machine}"), f"{manager}/alpha")
        await controller.ledger.submit(SCRIPT, now=NOW, id="j")
        have, _ = await first.hear(HaveJob)
        assert (have.request, have.direct) == ("r-m1", "1")
        second.say(manager, WantJob(machine_id="m2", request="again"))
        assert (await second.hear(HaveJob))[0].request == "again"
        assert first.messages.empty()
        assert original.messages.empty()


async def test_an_agent_of_ours_hears_when_the_ledger_does_not_answer(
    prosody: Prosody, redis_server: RedisServer, run_controller: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or when there is more to do than can be kept: it asks again then, where silence would cost it minutes."""
    async with run_controller(redis=redis_server.url), peer(prosody, "agent1") as agent:
        manager = f"{prosody.jid('jm')}/alpha"
        await redis_server.kill()
        for question in (WantJob(machine_id="m1", request="want"), GetJob(machine_id="m1", request="get")):
            agent.say(manager, question)
            assert await agent.hear(NoJob) == (NoJob(request=question.request), manager)
        await redis_server.start()
        monkeypatch.setattr("ucvm_agent.controller.errands.MOST", 0)
        agent.say(manager, WantJob(machine_id="m1", request="again"))
        assert await agent.hear(NoJob) == (NoJob(request="again"), manager)
