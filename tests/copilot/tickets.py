"""What a key manager does: it signs tickets."""

from __future__ import annotations

from base64 import encodebytes

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA1

from ucvm_agent.copilot.tickets import SEPARATOR, Ticket


def issue(ticket: Ticket, key: RSAPrivateKey) -> str:
    """Sign a ticket; what is signed is the base64 text, with its line breaks."""
    fields = (ticket.component, str(ticket.valid_from), str(ticket.valid_to), ticket.requester)
    data = encodebytes(SEPARATOR.join(fields).encode())
    signature = encodebytes(key.sign(data, PKCS1v15(), SHA1()))
    return signature.decode() + SEPARATOR + data.decode()
