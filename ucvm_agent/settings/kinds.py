"""Of what kind a setting is: what its text may be, and how it is written in one line."""

from __future__ import annotations

import re
from base64 import b64decode
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict


def _split_commas(value: object) -> object:
    return [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_split_commas)]
"""A list; the environment and the kernel command line write it as `a,b,c`."""


def _parts(text: str) -> SplitResult:
    """Split a URL that may be shown and logged; the errors quote nothing of it."""
    try:
        parts = urlsplit(text)
    except ValueError:
        raise ValueError("is not a URL") from None
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError(
            "may hold no credentials and no query, since it is shown (a token for [http] goes into http.token_file)"
        )
    return parts


def _url(text: str) -> str:
    if text:
        parts = _parts(text)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("is not a URL of http or https")
    return text


def _place(text: str) -> str:
    if "://" in text:
        _parts(text)
    return text


def _address(text: str) -> str:
    """Return a JID, or what slixmpp may still refuse as one; loading that for a dry run would take too long."""
    if text and not re.fullmatch(r"""([^\s"&'/:<>@]+@)?[^\s@/]+(/.+)?""", text):
        raise ValueError("is not a JID: write it as user@domain")
    return text


def _account(text: str) -> str:
    if text and "@" not in _address(text).partition("/")[0]:
        raise ValueError("is not an account's JID: write it as user@domain")
    return text


Address = Annotated[str, AfterValidator(_address)]
"""A JID: of an account, a component, or a resource of one."""
Addresses = Annotated[tuple[Address, ...], BeforeValidator(_split_commas)]
"""A list of them, written as `Names`."""
Account = Annotated[str, AfterValidator(_account)]
"""The JID of an account."""

Url = Annotated[str, AfterValidator(_url)]
"""A URL of http or https that may be shown: without credentials and query; empty where that means something."""
Place = Annotated[str, AfterValidator(_place)]
"""A host, a path, or a URL that may be shown."""
Places = Annotated[tuple[Place, ...], BeforeValidator(_split_commas)]
"""A list of them, written as `Names`."""


def _signing_keys(keys: tuple[str, ...]) -> tuple[str, ...]:
    for key in keys:
        try:
            if len(b64decode(key, validate=True)) != SIGNING_KEY_BYTES:
                raise ValueError
        except ValueError:
            raise ValueError(f"{key} is not the base64 of a public key of Ed25519") from None
    return keys


SIGNING_KEY_BYTES = 32
"""Of a public key of Ed25519."""

SigningKeys = Annotated[Names, AfterValidator(_signing_keys)]
"""Public keys of Ed25519, the base64 of each."""


class Section(BaseModel):
    """A table of the settings file.

    A table that is not given is made by `model_construct`: calling it would build a validator for each alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
