"""What all conversations with managers have in common (references/copilot-protocol.md, section 3)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import structlog

from ucvm_agent.copilot import redirection
from ucvm_agent.copilot.messages import Error, HaveJob, Message, Redirect, SecurityError, Sleep
from ucvm_agent.copilot.stanza import bare
from ucvm_agent.errors import DeliveryDelayed
from ucvm_agent.jobs.expectation import Expectations
from ucvm_agent.xmpp.listener import Listener

if TYPE_CHECKING:
    from ucvm_agent.copilot.messages import AnyMessage
    from ucvm_agent.copilot.post import Post
    from ucvm_agent.copilot.stanza import Envelope
    from ucvm_agent.settings import Jobs
    from ucvm_agent.xmpp.client import Connection

log = structlog.get_logger()

JITTER = 0.1
"""Part by which a pause may be longer, so that a fleet does not ask in step."""

TAKEN_SECONDS = 30.0
"""How long the server may take for a message that is sent only because it took the one before."""

PACE = 1.0
"""Seconds between such messages where the server acknowledges nothing."""

Ended: TypeAlias = Callable[[str], None]
"""Called when a manager has ended what we were talking about."""

Redirected: TypeAlias = Callable[[str, str], None]
"""Called when a manager has sent us on to another one."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What an agent says of itself.

    Arguments:
        host: what the machine calls itself.
    """

    machine_id: str
    host: str


def delays(first: float, longest: float) -> Iterator[float]:
    """Yield the seconds between questions: doubled each time, and from the first again after the longest."""
    delay = first
    while True:
        yield delay * random.uniform(1, 1 + JITTER)  # noqa: S311 - no secret
        delay = delay * 2 if delay * 2 <= longest else first


class Conversation(Listener):
    """Our side of it.

    Arguments:
        post: only the managers' messages come through it.
        managers: their JIDs, as the settings name them.
        tell: called with what an operator should know.

    Attributes:
        identity: what we say of ourselves.
        expectations: what is waited for.
        online: set while there is a connection.
        quiet_until: until then no manager is asked for a job; time of the loop.
        troubled_until: until then no manager is asked anything, since one has reported an error; time of the loop.
        on_sleep: called when a manager wants quiet, with the seconds.
    """

    def __init__(
        self,
        post: Post,
        connection: Connection,
        settings: Jobs,
        managers: tuple[str, ...],
        identity: Identity,
        tell: Callable[[str], None],
    ) -> None:
        self.post = post
        self.settings = settings
        self.managers = managers
        self.expectations = Expectations()
        self.online = asyncio.Event()
        self.quiet_until = 0.0
        self.troubled_until = 0.0
        self.on_sleep: Callable[[float], None] = lambda seconds: None
        self._accounts = {bare(manager) for manager in managers}
        self.identity = identity
        self._tell = tell
        self._connection = connection
        self._under_way: dict[str, asyncio.Future[bool]] = {}
        self._ended: list[Ended] = []
        self._redirected: list[Redirected] = []
        post.on(Sleep, self._on_sleep)
        post.on(Error, self._on_error)
        post.on(SecurityError, self._on_error)
        post.on(Redirect, self._on_redirect)
        if connection.connected:
            self.online.set()
        connection.listen(self)

    def follow(self, ended: Ended, redirected: Redirected) -> None:
        """Tell somebody who waits for something else than an expectation."""
        self._ended.append(ended)
        self._redirected.append(redirected)

    def answers(self, kind: type[Message]) -> None:
        """Give messages of this kind to who expects them."""
        self.post.on(kind, self._on_answer)

    def send(self, to: str, message: AnyMessage, *, noack: bool = False) -> bool:
        """Send what is asked again if it is lost; False if there is no connection.

        Arguments:
            noack: decline the acknowledgement, which an original manager gives all the same.
        """
        try:
            self.post.send(to, message, noack=noack)
        except DeliveryDelayed as error:
            log.debug("a manager cannot be told now", manager=to, reason=error.message)
            return False
        return True

    async def deliver(self, to: str, message: AnyMessage) -> bool:
        """Send one of many messages and wait until the server has it, so that they do not pile up here.

        False if there is no connection, or not any more, or the server does not take it.
        """
        try:
            id_ = self.post.send(to, message)
        except DeliveryDelayed as error:
            log.debug("a manager cannot be told now", manager=to, reason=error.message)
            return False
        if not self._connection.acknowledges:
            await asyncio.sleep(PACE)
            return True
        taken: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._under_way[id_] = taken
        try:
            async with asyncio.timeout(TAKEN_SECONDS):
                return await taken
        except TimeoutError:
            return False
        finally:
            del self._under_way[id_]

    def who(self, slot: int, request: str = "") -> dict[str, str]:
        """Return what every message says of us."""
        names = {"agent_host": self.identity.host, "machine_id": self.identity.machine_id}
        return names | {"slot": str(slot), "request": request}

    def delays(self) -> Iterator[float]:
        """Yield the seconds between questions, from the first on."""
        return delays(self.settings.retry_seconds, self.settings.retry_limit_seconds)

    def be_quiet(self, seconds: float) -> None:
        """Ask for no job for so long."""
        self.quiet_until = max(self.quiet_until, now() + seconds)

    async def calm(self) -> None:
        """Wait until managers may be spoken to: there is a connection, and no error a moment ago."""
        await self.online.wait()
        while (left := self.troubled_until - now()) > 0:
            await asyncio.sleep(left)
            await self.online.wait()

    def report(self, message: str) -> None:
        """Tell an operator."""
        self._tell(message)

    # What managers say

    def _on_answer(self, sender: str, message: Message, _: Envelope) -> None:
        if not self.expectations.take(sender, message):
            log.debug("an answer that nobody waits for", sender=sender, message=type(message).__name__)

    def _on_sleep(self, sender: str, _: Sleep, __: Envelope) -> None:
        seconds = random.uniform(0, self.settings.sleep_seconds)  # noqa: S311 - no secret
        log.info("a manager wants quiet", manager=sender, seconds=round(seconds))
        self.be_quiet(seconds)
        self._end(sender)  # only questions for jobs: who has one does not sleep (section 3.5)
        self.on_sleep(seconds)

    def _on_error(self, sender: str, error: Error | SecurityError, _: Envelope) -> None:
        log.warning("a manager reports an error", manager=sender, reason=error.error_string)
        self._tell(f"{bare(sender)} reports an error: {error.error_string or 'it does not say which'}")
        self.troubled_until = now() + self.settings.retry_seconds
        self.expectations.end(sender)
        self._end(sender)

    def _on_redirect(self, sender: str, message: Redirect, _: Envelope) -> None:
        referral, content = redirection.redirect(message, self._accounts)
        log.info("a manager sends us on", manager=sender, referral=referral)
        self.expectations.redirect(sender, referral)
        for redirected in self._redirected:
            redirected(sender, referral)
        try:
            # The end of a job is told until it is heard.
            self.post.forward(referral, content, keep=message.info.get("command") == "jobDone")
        except DeliveryDelayed as error:
            log.debug("a manager cannot be told now", manager=referral, reason=error.message)

    def _end(self, sender: str) -> None:
        self.expectations.end(sender, HaveJob)
        for ended in self._ended:
            ended(sender)

    # What the connection tells

    def session_started(self, *, resumed: bool) -> None:
        """Ask again, since an answer may have been lost."""
        self.online.set()
        if not resumed:
            self.expectations.end()

    def session_lost(self, reason: str) -> None:
        """Ask nobody for now."""
        self.online.clear()
        for id_ in self._under_way:
            self._settle(id_, taken=False)

    def acknowledged(self, id: str) -> None:  # noqa: A002 - as the attribute is called
        """Let who waits for it go on; what is not answered is asked again."""
        self._settle(id, taken=True)

    def _settle(self, id_: str, *, taken: bool) -> None:
        future = self._under_way.get(id_)
        if future is not None and not future.done():
            future.set_result(taken)


def now() -> float:
    """Return the time of the loop, in seconds."""
    return asyncio.get_running_loop().time()
