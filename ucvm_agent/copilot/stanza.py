"""What a Co-Pilot message looks like on the wire: a `<message>` whose body is elements instead of text.

A message carries one hash. Its scalars are attributes, written as `_BASE64:` and base64; its hashes are child
elements. All of this is functions of `xml.etree` elements: a slixmpp stanza class cannot own `<body>`, which
slixmpp keeps for text. The rules are those of references/copilot-protocol.md, sections 1.1 to 1.4.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeAlias
from xml.etree.ElementTree import Element, SubElement

CLIENT_NAMESPACE = "jabber:client"
MESSAGE = f"{{{CLIENT_NAMESPACE}}}message"
MAX_DEPTH = 16
"""Elements deeper than this are ignored; the protocol itself needs four levels."""

Hash: TypeAlias = Mapping[str, "str | Hash"]
"""What a message says: scalars and hashes by name."""

_DELAY = "{urn:xmpp:delay}delay"
_PREFIX = re.compile(r"_{1,2}BASE64:?")
_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/]")
_NAME = re.compile(r"(?!xml)[A-Za-z_][A-Za-z0-9_.-]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Envelope:
    """One message of the protocol.

    Arguments:
        id: its UUID; an original receiver drops a message without one. Empty for an acknowledgement.
        to: receiver, a JID.
        sender: the stanza's `from`; left empty when sending, since the server fills it in.
        ack: the id that this message acknowledges; such a message has no content.
        noack: the sender wants no acknowledgement.
        content: the hash beneath `<body>`; a command is in its `info`.
    """

    id: str = ""
    to: str = ""
    sender: str = ""
    ack: str = ""
    noack: bool = False
    content: Hash = field(default_factory=dict)

    @property
    def info(self) -> Hash | None:
        """The command and its arguments, or None in a malformed message or an acknowledgement."""
        info = self.content.get("info")
        return None if isinstance(info, str) else info

    @property
    def command(self) -> str:
        """What is wanted; empty if there is nothing."""
        command = (self.info or {}).get("command", "")
        return command if isinstance(command, str) else ""


def encode_value(text: str) -> str:
    """Write one scalar as the value of an attribute."""
    return "_BASE64:" + base64.b64encode(text.encode("utf-8", "replace")).decode("ascii")


def decode_value(value: str) -> str:
    """Read the value of an attribute; one without the prefix is plain text, and damaged base64 never raises."""
    prefix = _PREFIX.match(value)
    return value if prefix is None else decode_base64(value[prefix.end() :]).decode("utf-8", "replace")


def decode_base64(text: str) -> bytes:
    """Read base64 as far as it goes, whatever else stands in between."""
    digits = _NOT_BASE64.sub("", text.partition("=")[0])
    # One digit alone holds no whole byte.
    digits = digits[:-1] if len(digits) % 4 == 1 else digits
    return base64.b64decode(digits + "=" * (-len(digits) % 4))


def bare(jid: str) -> str:
    """Return the account of a JID: what stands before the resource."""
    return jid.partition("/")[0]


def fill_element(element: Element, content: Hash) -> None:
    """Add a hash to an element.

    Raises:
        ValueError: a key is not a name that XML allows.
    """
    for key, value in content.items():
        if not _NAME.fullmatch(key):
            raise ValueError(f"not a name of an attribute or element: {key!r}")
        if isinstance(value, str):
            element.set(key, encode_value(value))
        else:
            fill_element(SubElement(element, f"{{{CLIENT_NAMESPACE}}}{key}"), value)


def read_element(element: Element, depth: int = 0) -> dict[str, str | Hash]:
    """Return the hash that an element holds; a child replaces an attribute or an earlier child of its name."""
    content: dict[str, str | Hash] = {
        name: decode_value(value) for name, value in element.attrib.items() if not name.startswith("{")
    }
    if depth < MAX_DEPTH:
        for child in element:
            namespace, _, name = child.tag.rpartition("}")
            if namespace in ("", "{" + CLIENT_NAMESPACE):
                content[name] = read_element(child, depth + 1)
    return content


def body_element(content: Hash) -> Element:
    """Return the `<body>` that carries a hash."""
    body = Element(f"{{{CLIENT_NAMESPACE}}}body")
    fill_element(body, content)
    return body


def message_element(envelope: Envelope) -> Element:
    """Return the whole `<message>`; an acknowledgement has no body."""
    message = Element(MESSAGE)
    plain = {"to": envelope.to, "from": envelope.sender, "id": envelope.id, "ack": envelope.ack}
    message.attrib.update({name: value for name, value in plain.items() if value})
    if envelope.noack:
        message.set("noack", "1")
    if envelope.content or not envelope.ack:
        message.append(body_element(envelope.content))
    return message


def read_message(message: Element) -> Envelope:
    """Read a `<message>`; whatever it lacks is empty, and what is unknown is ignored."""
    body = message.find(f"{{{CLIENT_NAMESPACE}}}body")
    return Envelope(
        id=message.get("id", ""),
        to=message.get("to", ""),
        sender=message.get("from", ""),
        ack=message.get("ack", ""),
        noack=decode_value(message.get("noack", "")) == "1",
        content={} if body is None else read_element(body),
    )


def read_delay(message: Element) -> datetime | None:
    """Return when a `<message>` came to the server that held it back (XEP-0203); None if none did."""
    delay = message.find(_DELAY)
    if delay is None:
        return None
    try:
        stamp = datetime.fromisoformat(delay.get("stamp", ""))
    except ValueError:
        return None
    return stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)
