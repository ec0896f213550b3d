"""Signed messages: orders that are authentic even if the server that carries them is not to be trusted.

Beside its `<body>` a message carries `<signature xmlns='urn:ucvm-agent:signature:1' key='…' time='…'>…</signature>`,
Ed25519 over what `signed_bytes` returns; docs/protocol-signatures.md is for those who write the other end.

What counts (`Verifier`):
    who       the keys of `xmpp.controller_keys`; where there are none, the key by which an account first signed
    once      the id of a message is remembered for a day, across restarts; what is older than that is refused
    in time   a message is late five minutes after it was signed, if this machine's clock says so and the signer's as
              well: the newest time that it has signed, carried on by our monotonic clock

So a machine whose clock is wrong at boot obeys, for the signer's clock tells it the time; and so does one whose signer
has put its clock back. What was obeyed once is never obeyed again, since nothing older than the ids that are remembered
counts, whatever any clock says. What a server can still do: keep back a message that nobody has seen yet, and hand it
on later while one of the clocks does not tell; that of the signer does from the first message on that a daemon gets.
"""

from __future__ import annotations

import json
import math
import re
import time
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, SubElement

import structlog

from ucvm_agent.copilot.refusals import Refusals
from ucvm_agent.copilot.stanza import bare, read_delay, read_message
from ucvm_agent.errors import MessageRefused, StoreError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from ucvm_agent.copilot.memory import Memory
    from ucvm_agent.settings import Xmpp

log = structlog.get_logger()

NAMESPACE = "urn:ucvm-agent:signature:1"
SIGNATURE = f"{{{NAMESPACE}}}signature"

WINDOW_SECONDS = 300.0
"""How long a message is fresh."""

KEPT_SECONDS = 86_400.0
"""How long the id of a message is remembered, by the signer's clock."""

MAX_PENDING = 1000
"""Messages that are checked but not remembered yet: far more than wait for being written down at the same time."""

FORGET = "if the controller has changed its key or its clock: ucvm-agent forget-key"

_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z")


class Trust(Enum):
    """How far a message that was not refused is to be trusted."""

    SIGNED = "signed"
    """It is authentic: obey it."""
    UNSIGNED = "unsigned"
    """Nobody has signed it, and nobody has to: it is as good as its server."""
    REPEATED = "repeated"
    """It is authentic, and has come before: acknowledge it, do not obey it again."""


def signed_bytes(message: Element, sender: str, when: str) -> bytes:
    """Return what is signed of a message: canonical JSON (RFC 8785), in which every part has a name.

    Arguments:
        sender: bare JID of the account that sends it.
        when: the attribute `time`.
    """
    envelope = read_message(message)
    named = {
        "signature": NAMESPACE,
        "id": envelope.id,
        "from": sender,
        "to": envelope.to,
        "time": when,
        "content": envelope.content,
    }
    return json.dumps(named, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


class Signer:
    """Signs messages of one account.

    Arguments:
        key: see `signing_key.load_or_make`.
        account: the JID from which they are sent.
        clock: epoch seconds.

    Attributes:
        public: the public key, as `xmpp.controller_keys` takes it.
    """

    def __init__(self, key: Ed25519PrivateKey, account: str, *, clock: Callable[[], float] = time.time) -> None:
        self._key = key
        self._account = bare(account)
        self._clock = clock
        self.public = b64encode(key.public_key().public_bytes_raw()).decode()

    def sign(self, message: Element) -> None:
        """Sign a message that is complete; one that is sent again later has to be signed anew, with the same id.

        Raises:
            ValueError: it has no id or no receiver.
        """
        if not message.get("id") or not message.get("to"):
            raise ValueError("a message without id or receiver cannot be signed")
        for old in message.findall(SIGNATURE):
            message.remove(old)
        when = f"{datetime.fromtimestamp(self._clock(), UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
        signature = self._key.sign(signed_bytes(message, self._account, when))
        element = SubElement(message, SIGNATURE, {"key": self.public, "time": when})
        element.text = b64encode(signature).decode()


def _boot_time() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Verifier:
    """Judges the messages that come over one connection.

    Arguments:
        settings: `[xmpp]`.
        jid: the full JID of this end; an order for another is refused, whoever delivers it.
        clock: epoch seconds, as this machine believes.
        monotonic: seconds that never step.

    Attributes:
        refusals: what only a person can mend.
    """

    def __init__(
        self,
        settings: Xmpp,
        jid: str,
        memory: Memory,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = _boot_time,
    ) -> None:
        self._mode = settings.signatures
        self._verified_stream = settings.verify
        self._keys = settings.controller_keys
        self._jid = jid
        self._memory = memory
        self.refusals = Refusals(memory)
        self._clock = clock
        self._monotonic = monotonic
        self._heard: dict[str, tuple[float, float]] = {}
        self._last: tuple[Element, Trust] | None = None
        self._pending: OrderedDict[tuple[str, str], float] = OrderedDict()

    def check(self, message: Element, *, remember: bool = True) -> Trust:
        """Judge a message of an account that is obeyed (a stranger's would be pinned as well).

        Asked again about the same element, it says the same: all listeners of a connection may ask. A signed message
        costs a commit, some milliseconds, for it has to be remembered before it is obeyed.

        Arguments:
            remember: False leaves that to `remember`, for an order that has to be obeyed although we are killed before
                it is written down: then it comes again, and has to count again.

        Raises:
            MessageRefused: it has to be dropped, without an acknowledgement; says why.
        """
        if self._last is not None and self._last[0] is message:
            return self._last[1]
        account = bare(message.get("from", ""))
        try:
            trust = self._watch(message, account)
            if remember:
                self.remember(account, message.get("id", ""))
        except StoreError as error:
            raise MessageRefused(f"it cannot be checked: {error}") from error
        self._last = (message, trust)
        return trust

    def remember(self, account: str, message_id: str) -> None:
        """See to it that an authentic message that was checked never counts again; nothing happens for any other.

        Raises:
            StoreError: it cannot be remembered.
        """
        when = self._pending.get((account, message_id))
        if when is not None:
            self._memory.remember(account, message_id, when, KEPT_SECONDS)
            del self._pending[account, message_id]

    def must_sign(self, account: str) -> bool:
        """Return whether what an account says counts only if it has signed it.

        Raises:
            StoreError: it cannot be found out.
        """
        if self._mode == "off":
            return False
        return self._mode == "required" or bool(self._keys) or bool(self._memory.key(account))

    def _watch(self, message: Element, account: str) -> Trust:
        """Judge a message, and note whether the orders of its account count."""
        try:
            trust = self._judge(message, account)
        except MessageRefused as error:
            if read_delay(message) is None:  # what a server has held back is late for no other reason
                self.refusals.note(account, error)
            raise
        if trust is not Trust.REPEATED:  # which can be an old one that a server says again
            self.refusals.settle(account)
        return trust

    def _judge(self, message: Element, account: str) -> Trust:
        if self._mode == "off":
            return Trust.UNSIGNED
        pinned = "" if self._keys else self._memory.key(account)
        good = (pinned,) if pinned else self._keys
        hint = f"{FORGET} {account}" if pinned else "see xmpp.controller_keys and xmpp.signatures"
        signature = message.find(SIGNATURE)
        if signature is None:
            if good or self._mode == "required":
                raise MessageRefused("it is not signed", where=account, hint=hint)
            return Trust.UNSIGNED
        when = self._verify(message, signature, account)
        key = signature.get("key", "")
        if good and key not in good:
            raise MessageRefused(f"it is signed by another key, {key}", where=account, hint=hint)
        if not good and not self._may_pin(account):
            return Trust.UNSIGNED
        return self._count(message, account, when, "" if good else key)

    def _verify(self, message: Element, signature: Element, account: str) -> float:
        """Return when the message was signed, epoch seconds, if it was by the key that it names, and for us."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        when = signature.get("time", "")
        try:
            key = Ed25519PublicKey.from_public_bytes(b64decode(signature.get("key", ""), validate=True))
            value = b64decode(signature.text or "", validate=True)
            moment = datetime.fromisoformat(when).timestamp() if _TIME.fullmatch(when) else None
        except (Base64Error, ValueError):
            moment = None
        if moment is None:
            raise MessageRefused("its signature is malformed", where=account)
        try:
            key.verify(value, signed_bytes(message, account, when))
        except InvalidSignature:
            raise MessageRefused("its signature is not valid", where=account) from None
        if not message.get("id") or message.get("to") not in (self._jid, bare(self._jid)):
            raise MessageRefused(f"it is signed for {message.get('to')}, and this is {self._jid}", where=account)
        return moment

    def _may_pin(self, account: str) -> bool:
        """Whether the first key of an account may be taken for its own."""
        if not self._verified_stream and self._mode == "required":
            raise MessageRefused(
                "no key is known for it", where=account, hint="set xmpp.controller_keys, or xmpp.verify = true"
            )
        return self._verified_stream

    def _count(self, message: Element, account: str, when: float, new_key: str) -> Trust:
        """Say whether an authentic message counts now."""
        message_id = message.get("id", "")
        if self._memory.seen(account, message_id):
            return Trust.REPEATED
        newest = self._memory.newest(account)
        if math.isinf(newest):
            self._heard.pop(account, None)  # the first, or all was forgotten
        signers_now = self._signers_now(account, newest)
        if min(self._clock(), signers_now) - when > WINDOW_SECONDS or when < newest - KEPT_SECONDS:
            ago = f"it was signed {signers_now - when:.0f} s ago"
            raise MessageRefused(ago, where=account, hint=f"{FORGET} {account}")
        if new_key:
            self._memory.pin(account, new_key)
            log.info("the key of a controller is pinned", account=account, key=new_key)
        self._pending[account, message_id] = when
        if len(self._pending) > MAX_PENDING:
            self._pending.popitem(last=False)
        self._heard[account] = max(signers_now, when), self._monotonic()
        return Trust.SIGNED

    def _signers_now(self, account: str, newest: float) -> float:
        """Return what time it is at least by the signer's clock, epoch seconds."""
        heard, at = self._heard.get(account, (newest, self._monotonic()))
        return max(newest, heard + self._monotonic() - at)
