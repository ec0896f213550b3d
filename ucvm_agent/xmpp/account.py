"""The account that `[xmpp]` names: its address, its password, and how its server is verified."""

from __future__ import annotations

import os
import ssl

from slixmpp import JID, InvalidJID

from ucvm_agent.errors import SettingsError
from ucvm_agent.settings import XmppAccount


def read_password(settings: XmppAccount) -> str:
    """Return the password, from its file if there is one; the file is read at each login.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not text, or there is none.
    """
    if settings.password_file is not None:
        password = settings.password_file.read_text(encoding="utf-8").rstrip("\r\n")
        if not password:
            raise ValueError(f"{settings.password_file} is empty")
        return password
    if not settings.password.get_secret_value():
        raise ValueError("neither password nor password_file is set")
    return settings.password.get_secret_value()


def tls_context(settings: XmppAccount) -> ssl.SSLContext:
    """Return how the server is to be verified.

    Raises:
        OSError: the file of certificates cannot be read or holds none.
    """
    context = ssl.create_default_context(cafile=settings.ca_file)
    if not settings.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def read_jid(text: str, where: str) -> JID:
    """Return an address of the settings.

    Raises:
        SettingsError: it is none; `where` names the setting.
    """
    try:
        return JID(text)
    except InvalidJID as error:
        raise SettingsError(f"not a JID: {text}", where=where, hint="write it as user@domain") from error


def account_of(jid: str) -> str:
    """Return the account of an address from the wire, in its one form; empty if it is no address."""
    try:
        return str(JID(jid).bare)
    except InvalidJID:
        return ""


def full_jid(text: str, machine_id: str) -> JID:
    """Return the address to log in as; without a resource of its own it gets that of the machine.

    Raises:
        SettingsError: it is no account's.
    """
    jid = read_jid(text, "xmpp.jid")
    if not jid.user or not jid.domain:
        raise SettingsError("not an account's JID", where="xmpp.jid", hint="write it as user@domain")
    return jid if jid.resource else JID(f"{text}/ucvm-{machine_id[:8]}")


def explain(error: OSError | ValueError) -> str:
    """Return the cause in the words of the system; asyncio's own repeat its arguments."""
    if not isinstance(error, OSError) or not error.errno or isinstance(error, ssl.SSLError):
        return str(error)
    reason = os.strerror(error.errno)
    return f"{error.filename}: {reason}" if error.filename else reason
