"""OpenSSH public keys in contexts: one, a list, or a text with several."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

from ucvm_agent.contextualize.base import parse_public_key


def check_key(line: str) -> str:
    """Return the line if it is one public key; else raise ValueError."""
    return parse_public_key(line).line


def _split_lines(value: object) -> object:
    if value is None:
        return []
    return [line for line in value.splitlines() if line.strip()] if isinstance(value, str) else value


PublicKey = Annotated[str, AfterValidator(check_key)]
PublicKeys = Annotated[tuple[PublicKey, ...], BeforeValidator(_split_lines)]
"""A list of keys, or one text with a key on each line."""
