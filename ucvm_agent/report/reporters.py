"""Which controllers the settings name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ucvm_agent.report.base import Reporter
from ucvm_agent.settings import Settings

if TYPE_CHECKING:
    from ucvm_agent.xmpp.client import Connection


@dataclass(frozen=True, slots=True)
class Reporters:
    """The controllers, and the XMPP connection that those among them share."""

    each: tuple[Reporter, ...] = ()
    connection: Connection | None = None


def make_reporters(settings: Settings, machine_id: str) -> Reporters:
    """Make a reporter for each controller; loads slixmpp and aiohttp only where they are needed.

    Arguments:
        machine_id: makes the VM's XMPP resource.

    Raises:
        SettingsError: a JID is none.
    """
    each: list[Reporter] = []
    connection = None
    if settings.xmpp.jid:
        from ucvm_agent.report.xmpp import XmppReporter
        from ucvm_agent.xmpp.client import Connection

        connection = Connection(settings.xmpp, machine_id, controllers=settings.xmpp.controllers)
        for controller in dict.fromkeys(settings.xmpp.controllers):
            each.append(XmppReporter(connection, controller, receipts=settings.xmpp.receipts))
    if settings.http.url:
        from ucvm_agent.report.http import HttpReporter

        each.append(HttpReporter(settings.http))
    return Reporters(tuple(each), connection)
