"""Secrets in actions: given as they are, or by reference to where they are kept (references/clouds.md, section 4.6).

    ssm:NAME[:VERSION|:LABEL]                       a parameter of AWS' Systems Manager
    secretsmanager:NAME-or-ARN[#KEY][@STAGE]        a secret of AWS' Secrets Manager, or one key of it
    s3://BUCKET/KEY[?versionId=V]                   an object

A reference is no secret itself, and is all that plans, previews, journal and logs ever hold. What it stands for is
fetched when the action is applied (`secrets.py`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import PlainValidator, SecretStr

PARAMETER = re.compile(r"ssm:(?P<name>arn:[\w:./-]+|[\w./-]+(?::[\w.-]+)?)", re.ASCII)
SECRET = re.compile(
    r"secretsmanager:(?P<name>arn:[\w:/+=.-]+|[\w/+=.-]+)(?:#(?P<key>[^@#\s]+))?(?:@(?P<stage>[\w+=.-]+))?", re.ASCII
)
OBJECT = re.compile(r"s3://[\w:.-]+/[^\s?#]+(?:\?versionId=[^\s&#]+)?", re.ASCII)

_BEGINNINGS = ("ssm:", "secretsmanager:", "s3:", "secretmanager:", "secrets-manager:", "secret-manager:")
"""What is meant as a reference; the last ones are mistakes, which would be passwords otherwise."""
_EXPECTED = "expected ssm:NAME, secretsmanager:NAME#KEY or s3://BUCKET/KEY"


@dataclass(frozen=True, slots=True)
class SecretReference:
    """Where a secret is kept.

    Raises:
        ValueError: the text names no such place.
    """

    text: str

    def __post_init__(self) -> None:
        if not any(form.fullmatch(self.text) for form in (PARAMETER, SECRET, OBJECT)):
            raise ValueError(f"this is no reference to a secret: {_EXPECTED}")

    def __str__(self) -> str:
        return self.text


def is_reference(text: str) -> bool:
    """Tell whether a text is meant as a reference, rightly written or not."""
    return text.startswith(_BEGINNINGS)


def read_secret(value: object) -> SecretStr | SecretReference:
    """Return a secret as somebody wrote it down; what begins like a reference is one.

    Raises:
        ValueError: it is no text, or a reference that is none; the message never holds the value.
    """
    if isinstance(value, SecretStr | SecretReference):
        return value
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("expected text")
    text = str(value)
    return SecretReference(text.strip()) if is_reference(text.strip()) else SecretStr(text)


Secret = Annotated[SecretStr | SecretReference, PlainValidator(read_secret)]
"""A field that holds a secret, in an action as well as in options."""
