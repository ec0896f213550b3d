"""Who may say what, and who acts on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element

from ucvm_agent.copilot.messages import Message
from ucvm_agent.copilot.stanza import Envelope, bare


@dataclass(frozen=True, slots=True)
class Route:
    """Who acts on a command.

    Arguments:
        handler: called on the loop, and must not block.
        late: the handler acknowledges the message itself, when it is sure to have it.
        account: the only one (a bare JID) that may say this; empty = all whose commands count.
    """

    handler: Callable[[str, Any, Envelope], None]
    late: bool
    account: str


class Routes:
    """All of them.

    Arguments:
        accepts: whether the commands of an account (a bare JID) count.
    """

    def __init__(self, accepts: Callable[[str], bool]) -> None:
        self._accepts = accepts
        self._routes: dict[type[Message], Route] = {}
        self._guests: dict[str, frozenset[str]] = {}

    def add(self, kind: type[Message], route: Route) -> None:
        """Have somebody act on messages of a kind."""
        self._routes[kind] = route

    def admit(self, account: str, *kinds: type[Message]) -> None:
        """Let whoever speaks through an account send these kinds, and no others."""
        self._guests[account] = frozenset(kind.model_fields["command"].default for kind in kinds)

    def find(self, message: Message) -> Route | None:
        """Return who acts on a message, if anybody does."""
        return self._routes.get(type(message))

    def hosts(self, account: str) -> bool:
        """Return whether guests speak through an account."""
        return account in self._guests

    def is_guests(self, message: Element, envelope: Envelope) -> bool:
        """Return whether somebody says what the guests of an account may."""
        return message.get("type") != "groupchat" and envelope.command in self._guests.get(bare(envelope.sender), ())

    def may_speak(self, message: Element, envelope: Envelope) -> bool:
        """Return whether anything that a sender says can count."""
        account = bare(envelope.sender)
        return (
            self._accepts(account)
            or self.is_guests(message, envelope)
            or (account != "" and any(route.account == account for route in self._routes.values()))
        )

    def is_open(self, route: Route, account: str) -> bool:
        """Return whether an account, not as a guest, may say what goes this way."""
        return account == route.account if route.account else self._accepts(account)
