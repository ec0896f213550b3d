"""Sending a manager what a job writes, while it writes it (docs/protocol-jobs.md, "Orders")."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from ucvm_agent.copilot.messages import JobOutput, TailJob
from ucvm_agent.jobs.running.tail import Stream

if TYPE_CHECKING:
    from ucvm_agent.jobs.conversation import Conversation
    from ucvm_agent.jobs.workshop import Workshop

SECONDS = 60.0
"""How long output is sent after one order."""

PAUSE = 1.0
"""Seconds between two looks at a file."""

MAX_DATA = 10_000
"""Bytes of output in one message, before base64; what is encrypted grows (`post.SECURE_GROWTH`)."""


async def send_output(
    order: TailJob, manager: str, conversation: Conversation, workshop: Workshop, has_it: Callable[[], bool]
) -> None:
    """Send what there is and what is added within a minute.

    Arguments:
        manager: who wants it.
        has_it: whether the machine has the job still.

    Raises:
        JobError: the job has put something else in the place of the file.
    """
    offset = order.offset
    loop = asyncio.get_running_loop()
    until = loop.time() + SECONDS
    with workshop.readers.reading(order.job_id) as last:
        while True:
            over = last.is_set() or not has_it()
            chunk = await workshop.tail(order.job_id, Stream(order.stream), offset, MAX_DATA)
            more = chunk.end < chunk.size
            end = over and not more
            if chunk.data or end:
                data = base64.b64encode(chunk.data).decode()
                who = {"job_id": order.job_id, "stream": order.stream, "request": order.request}
                piece = {"offset": chunk.offset, "data": data, "end": "1" if end else ""}
                if not await conversation.deliver(manager, JobOutput.model_validate(who | piece)):
                    return
                offset = chunk.end
            if end or loop.time() > until:
                return
            if not more:
                with suppress(TimeoutError):
                    async with asyncio.timeout(PAUSE):
                        await last.wait()
