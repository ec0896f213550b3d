"""Tickets of the original's secure mode: what a key manager signs, so that a component may talk to the others.

References/copilot-protocol.md, section 6.4.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from ucvm_agent.copilot.stanza import bare, decode_base64
from ucvm_agent.errors import TicketRefused

SEPARATOR = "###"
ANY_COMPONENT = "*"
"""The only component that providers of the original accept."""

_SECONDS = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True, slots=True)
class Ticket:
    """A permission to talk to components.

    Arguments:
        component: `*`.
        valid_from: epoch seconds.
        valid_to: epoch seconds.
        requester: JID of who asked for it.
    """

    component: str
    valid_from: int
    valid_to: int
    requester: str

    def check(self, sender: str, now: float) -> None:
        """Check that `sender` may show it now; unlike the original, a ticket is good only from who asked for it.

        Raises:
            TicketRefused: says why; the sender may be told.
        """
        if self.component != ANY_COMPONENT:
            raise TicketRefused("The ticket is not valid for this component")
        if now < self.valid_from:
            raise TicketRefused("The ticket is not yet valid")
        if now > self.valid_to:
            raise TicketRefused("The ticket has expired")
        if bare(self.requester) != bare(sender):
            raise TicketRefused("The ticket was given to another requester")


def read_ticket(text: str, key: RSAPublicKey) -> Ticket:
    """Read a ticket that the key manager of this key has signed.

    Raises:
        TicketRefused: it has not, or what it signed is no ticket.
    """
    # What is signed is the base64 text, with its line breaks.
    signature, _, data = text.partition(SEPARATOR)
    try:
        key.verify(
            decode_base64(signature),
            data.encode("utf-8", "replace"),
            PKCS1v15(),
            hashes.SHA1(),  # noqa: S303 - as the original does
        )
    except InvalidSignature:
        raise TicketRefused("The signature of the ticket is not valid") from None
    fields = decode_base64(data).decode("utf-8", "replace").split(SEPARATOR)
    if len(fields) != 4 or not all(_SECONDS.fullmatch(seconds) for seconds in fields[1:3]):
        raise TicketRefused("The ticket is malformed")
    return Ticket(fields[0], int(fields[1]), int(fields[2]), fields[3])
