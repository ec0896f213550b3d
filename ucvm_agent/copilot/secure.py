"""The original's secure mode, both roles: the consumer is an agent, the provider a manager with an RSA key pair.

It is old: nothing authenticates what is encrypted, so it only hides messages from a server that looks but does not
touch (references/copilot-protocol.md, sections 6 and 6.6). Between ends of ours, signatures over TLS are better.

Neither class sends anything: `wrap` makes of a message the one that is sent, `unwrap` of one that came the one that
was meant. Messages of type `error` are not for them; acknowledgements and clear `security_error`s pass through.
"""

from __future__ import annotations

import base64
import os
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, ParseError, tostring

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from ucvm_agent.copilot import cipher
from ucvm_agent.copilot.stanza import Envelope, Hash, bare, decode_base64, fill_element, read_element
from ucvm_agent.copilot.tickets import Ticket, read_ticket
from ucvm_agent.errors import DeliveryDelayed, DeliveryRefused, MessageRefused, TicketRefused
from ucvm_agent.salted import SALT_BYTES

if TYPE_CHECKING:
    from ucvm_agent.copilot.public_keys import PublicKeys

SESSION_KEY_BYTES = 32
NO_TICKET = "No ticket"
"""What stands for a ticket where there is no key manager."""

MAX_PEERS = 10_000
"""Most peers whose session keys a provider remembers; the one that was silent longest is forgotten first."""

_TICKET = "componentAuthenticationTicket"
_UNREADABLE = "Could not decrypt the message"
"""All that anybody is told, for the reason would help to guess what is encrypted."""


class Consumer:
    """The side of an agent.

    Arguments:
        keys: of the components that it talks to.
        key_manager: JID of the component that gives tickets; empty if there is none.
    """

    def __init__(self, keys: PublicKeys, key_manager: str = "") -> None:
        self._keys = keys
        self._key_manager = key_manager
        self._session_keys: dict[str, bytes] = {}
        self._ticket_text = "" if key_manager else NO_TICKET
        self._ticket: Ticket | None = None

    def needs_ticket(self, now: float) -> bool:
        """Whether the key manager is to be asked (`getTicket`): there is no ticket yet, or it has expired.

        Arguments:
            now: epoch seconds.
        """
        return bool(self._key_manager) and (self._ticket is None or now > self._ticket.valid_to)

    def wrap(self, envelope: Envelope) -> Envelope:
        """Encrypt a message for the component that it is addressed to.

        Raises:
            DeliveryDelayed: there is no ticket yet.
            DeliveryRefused: no key of this component is known.
        """
        if envelope.ack:
            return envelope
        recipient = self._keys.find(envelope.to)
        if recipient is None:
            raise DeliveryRefused(f"no public key of {envelope.to} is known", hint="add it to the file of public keys")
        info = dict(_info(envelope))
        if not (info.get("command") == "getTicket" and bare(envelope.to) == bare(self._key_manager)):
            if not self._ticket_text:
                raise DeliveryDelayed("the key manager has not given a ticket yet")
            info[_TICKET] = self._ticket_text
        # One for each account: an answer comes from a full JID, which the question may not have named.
        session_key = self._session_keys.setdefault(bare(envelope.to), os.urandom(SESSION_KEY_BYTES))
        encrypted = cipher.encrypt_key(base64.encodebytes(session_key), recipient)
        content = {
            "session_key": base64.encodebytes(encrypted).decode(),
            "info": seal(info, session_key, os.urandom(SALT_BYTES)),
        }
        return replace(envelope, content=content)

    def unwrap(self, envelope: Envelope) -> Envelope:
        """Decrypt what a component has sent.

        Raises:
            MessageRefused: it cannot be decrypted, or came in clear.
        """
        if _is_clear(envelope):
            return _without_echo(envelope)
        session_key = self._session_keys.get(bare(envelope.sender))
        if session_key is None:
            raise MessageRefused(_UNREADABLE, where=envelope.sender)
        return _opened(envelope, session_key)

    def answer(self, error: MessageRefused) -> None:
        """Say nothing: only providers tell why they have dropped a message."""

    def take_ticket(self, envelope: Envelope) -> None:
        """Keep the ticket of a decrypted `storeTicket`.

        Raises:
            TicketRefused: it is not from the key manager, or not signed by it.
        """
        key = self._keys.find(self._key_manager)
        if not self._key_manager or key is None or bare(envelope.sender) != bare(self._key_manager):
            raise TicketRefused("The ticket is not from the key manager", where=envelope.sender)
        text = _string(_info(envelope).get("ticket", ""))
        self._ticket = read_ticket(text, key)
        self._ticket_text = text


class Provider:
    """The side of a job manager, a storage manager or a key manager.

    Arguments:
        private_key: its own.
        key_manager: the key by which tickets are signed; None lets everybody in, as a key manager itself has to.
        clock: epoch seconds.
    """

    def __init__(
        self,
        private_key: RSAPrivateKey,
        key_manager: RSAPublicKey | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._private_key = private_key
        self._key_manager = key_manager
        self._clock = clock
        self._session_keys: OrderedDict[str, bytes] = OrderedDict()

    def unwrap(self, envelope: Envelope) -> Envelope:
        """Decrypt what a consumer has sent, and check its ticket.

        Raises:
            TicketRefused: for want of a good ticket.
            MessageRefused: it cannot be decrypted. `answer` tells the sender of either.
        """
        if _is_clear(envelope):
            return _without_echo(envelope)
        session_key = self._session_key(envelope)
        opened = _opened(envelope, session_key)
        self._session_keys[envelope.sender] = session_key
        self._session_keys.move_to_end(envelope.sender)
        if len(self._session_keys) > MAX_PEERS:
            self._session_keys.popitem(last=False)
        info = dict(_info(opened))
        ticket = info.pop(_TICKET, "")
        if self._key_manager is not None:
            read_ticket(_string(ticket), self._key_manager).check(envelope.sender, self._clock())
        return replace(opened, content={"info": info})

    def wrap(self, envelope: Envelope) -> Envelope:
        """Encrypt an answer for the consumer that it is addressed to; a `security_error` stays clear.

        Raises:
            DeliveryRefused: this consumer has sent nothing that it could be an answer to.
        """
        if _is_clear(envelope):
            return envelope
        session_key = self._session_keys.get(envelope.to)
        if session_key is None:
            raise DeliveryRefused(f"no session key of {envelope.to} is known")
        return replace(envelope, content={"info": seal(_info(envelope), session_key, os.urandom(SALT_BYTES))})

    def answer(self, error: MessageRefused) -> Hash:
        """Return the content that tells a consumer why its message was dropped (sections 2.12 and 2.15)."""
        command = "error" if isinstance(error, TicketRefused) else "security_error"
        return {"info": {"command": command, "errorString": error.message}}

    def _session_key(self, envelope: Envelope) -> bytes:
        text = envelope.content.get("session_key", "")
        try:
            session_key = decode_base64(_text(cipher.decrypt_key(decode_base64(_string(text)), self._private_key)))
        except ValueError:
            session_key = b""
        if len(session_key) != SESSION_KEY_BYTES:
            raise MessageRefused(_UNREADABLE, where=envelope.sender)
        return session_key


def seal(info: Hash, session_key: bytes, salt: bytes) -> str:
    """Return the value of the attribute `info` that hides `info` (section 6.1)."""
    element = Element("info")
    fill_element(element, info)
    for inner in element.iter():
        inner.tag = inner.tag.rpartition("}")[2]  # the original's parser knows no namespaces
    plain = base64.encodebytes(tostring(element))
    return base64.encodebytes(cipher.encrypt(plain, session_key, salt)).decode()


def unseal(sealed: str, session_key: bytes) -> Hash:
    """Undo `seal`.

    Raises:
        ValueError: it is damaged, or was sealed with another key.
    """
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    plain = cipher.decrypt(decode_base64(sealed), session_key)
    try:
        element: Element = fromstring(decode_base64(_text(plain)).decode(), forbid_dtd=True)
    except (ParseError, DefusedXmlException):
        raise ValueError("not XML") from None
    if element.tag.rpartition("}")[2] != "info":
        raise ValueError("not a message")
    return read_element(element)


def _opened(envelope: Envelope, session_key: bytes) -> Envelope:
    try:
        info = unseal(_string(envelope.content.get("info", "")), session_key)
    except ValueError:
        raise MessageRefused(_UNREADABLE, where=envelope.sender) from None
    return _without_echo(replace(envelope, content={"info": info}))


def _without_echo(envelope: Envelope) -> Envelope:
    """Drop `send_back`: the original leads session keys through it, and peers may forge it (section 6.5)."""
    info = {key: value for key, value in _info(envelope).items() if key != "send_back"}
    return replace(envelope, content={"info": info} if info else {})


def _is_clear(envelope: Envelope) -> bool:
    """Whether a message is never encrypted: an acknowledgement, or a provider's complaint."""
    return bool(envelope.ack) or _info(envelope).get("command") == "security_error"


def _info(envelope: Envelope) -> Hash:
    return envelope.info or {}


def _string(value: str | Hash) -> str:
    return value if isinstance(value, str) else ""


def _text(data: bytes) -> str:
    return data.decode("ascii", "replace")
