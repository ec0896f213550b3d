"""Fetches the secrets that actions refer to, when they are applied and not before."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING

from pydantic import SecretBytes, SecretStr

from ucvm_agent.contextualize.actions.secret import OBJECT, PARAMETER, SECRET, SecretReference
from ucvm_agent.errors import ActionError, SecretError

if TYPE_CHECKING:
    from ucvm_agent.network.aws import Cloud

LIFETIME = 300.0
"""Seconds for which a secret is remembered (references/clouds.md, section 4.6)."""

PATIENCE = 150.0
"""Seconds for one secret, tries again included."""

MAX_SIZE = 16 * 1024 * 1024
"""Most bytes of a secret that is an object of S3."""

CURRENT = "AWSCURRENT"
"""Stage of a secret that names none."""


class Secrets:
    """What the references in a plan stand for, in memory only.

    Arguments:
        region: of AWS; empty = what boto3 finds by itself.
        clock: monotonic seconds.
    """

    def __init__(self, region: str = "", clock: Callable[[], float] = time.monotonic) -> None:
        self._region = region
        self._clock = clock
        self._cloud: Cloud | None = None
        self._known: dict[SecretReference, tuple[float, SecretBytes]] = {}
        self._locks: defaultdict[SecretReference, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def resolve(self, reference: SecretReference) -> SecretBytes:
        """Return what a reference stands for.

        Raises:
            ActionError: it cannot be had.
        """
        async with self._locks[reference]:
            asked, secret = self._known.get(reference, (0.0, None))
            if secret is None or self._clock() - asked >= LIFETIME:
                asked, secret = self._clock(), await self._fetch(reference)
                self._known[reference] = asked, secret
            return secret

    async def resolve_text(self, secret: SecretStr | SecretReference) -> SecretStr:
        """Return a secret as text, without the line end that whoever wrote a file left behind it.

        Raises:
            ActionError: it cannot be had, or is no text.
        """
        if isinstance(secret, SecretStr):
            return secret
        data = await self.resolve(secret)
        try:
            text = data.get_secret_value().decode()
        except UnicodeDecodeError:
            raise ActionError("the secret is no text in UTF-8", where=str(secret)) from None
        return SecretStr(text.removesuffix("\n").removesuffix("\r"))

    async def _fetch(self, reference: SecretReference) -> SecretBytes:
        try:
            async with asyncio.timeout(PATIENCE):
                return SecretBytes(await asyncio.to_thread(self._ask, reference.text))
        except TimeoutError:
            raise ActionError(f"no answer within {PATIENCE:g} s", where=str(reference)) from None
        except SecretError as error:
            raise ActionError(error.message, where=str(reference), hint=error.hint) from None

    def _ask(self, text: str) -> bytes:
        from ucvm_agent.network.aws import Cloud  # slow to import, and seldom needed

        self._cloud = self._cloud or Cloud(self._region)
        if match := PARAMETER.fullmatch(text):
            return self._cloud.read_parameter(match["name"])
        if match := SECRET.fullmatch(text):
            return self._cloud.read_secret(match["name"], match["key"] or "", match["stage"] or CURRENT)
        if OBJECT.fullmatch(text):
            return self._cloud.read_object(text, MAX_SIZE)
        raise AssertionError("a reference has one of these forms")
