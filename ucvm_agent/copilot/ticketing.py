"""Getting a ticket from the key manager of the original's secure mode (references/copilot-protocol.md, section 6.4)."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog
from pydantic import SecretStr

from ucvm_agent.copilot.messages import GetTicket, StoreTicket
from ucvm_agent.copilot.stanza import bare
from ucvm_agent.errors import DeliveryError

if TYPE_CHECKING:
    from ucvm_agent.copilot.post import Post
    from ucvm_agent.copilot.secure import Consumer
    from ucvm_agent.copilot.stanza import Envelope

log = structlog.get_logger()

PAUSE = 2.0
"""Seconds until a key manager that has not answered is asked again; the original asks as often."""

LOOK_SECONDS = 60.0
"""Between two looks whether the ticket has expired."""


class Ticketing:
    """Sees to it that a consumer has a ticket.

    Arguments:
        key_manager: its JID; empty if there is none.
        credential: what it wants to see.

    Attributes:
        ready: set as soon as there is a ticket, or none is needed.
    """

    def __init__(self, post: Post, consumer: Consumer, key_manager: str, credential: SecretStr) -> None:
        self.ready = asyncio.Event()
        self._post = post
        self._consumer = consumer
        self._key_manager = key_manager
        self._credential = credential
        self._news = asyncio.Event()
        if key_manager:
            post.on(StoreTicket, self._on_ticket, account=bare(key_manager))
        else:
            self.ready.set()

    async def run(self) -> None:
        """Ask whenever there is no ticket, until cancelled."""
        while True:
            needed = self._consumer.needs_ticket(time.time())
            if needed:
                self._ask()
            self._news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(PAUSE if needed else LOOK_SECONDS):
                    await self._news.wait()

    def _ask(self) -> None:
        question = GetTicket()
        if credential := self._credential.get_secret_value():
            question = GetTicket(credential=credential)
        try:
            self._post.send(self._key_manager, question)
        except DeliveryError as error:
            log.debug("the key manager cannot be asked", key_manager=self._key_manager, reason=error.message)

    def _on_ticket(self, sender: str, _: StoreTicket, envelope: Envelope) -> None:
        self._consumer.take_ticket(envelope)
        log.info("the key manager has given a ticket", key_manager=sender)
        self.ready.set()
        self._news.set()
        self._post.retry()
