"""VMware's guestinfo: values that the host hands to its guest by key (references/clouds.md, section 2.7)."""

from __future__ import annotations

import asyncio
import binascii
import os
import shutil
import zlib
from base64 import b64decode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from ucvm_agent.errors import SourceAbsent, SourceError, SourceRefused, SourceUnavailable
from ucvm_agent.sources.base import MAX_BODY

log = structlog.get_logger()

TIMEOUT = 5.0
"""Seconds for one value; the channel to the host can hang."""
TRIES = 2
TOOLS = (("vmware-rpctool",), ("vmtoolsd", "--cmd"))
"""The programs that ask the host, in the order of preference, without the question."""

BLANK = "---"
"""What a value is overwritten with, since it cannot be taken away."""

_BASE64 = frozenset({"base64", "b64"})
_PACKED = frozenset({"gzip+base64", "gz+b64"})


@dataclass(frozen=True, slots=True)
class Value:
    """What a key holds, and the encoding that the host says it has."""

    text: bytes = field(repr=False)
    encoding: str = ""

    @property
    def is_base64(self) -> bool:
        """Whether the text is base64, of something packed or not."""
        return self.encoding in _BASE64 | _PACKED

    def decoded(self) -> bytes:
        """Return what was encoded; nothing, with a warning, if it is damaged or too large."""
        if not self.is_base64:
            return self.text
        try:
            data = b64decode(b"".join(self.text.split()), validate=True)
            if self.encoding in _BASE64:
                return data
            unpacking = zlib.decompressobj(wbits=31)
            content = unpacking.decompress(data, MAX_BODY)
        except (binascii.Error, zlib.error):
            log.warning("a value of guestinfo is damaged", encoding=self.encoding)
            return b""
        if not unpacking.eof:
            log.warning("a value of guestinfo is cut off or too large", encoding=self.encoding)
            return b""
        return content


class Guestinfo:
    """The values of this guest.

    Arguments:
        environment: of the process; a container gets its values there.

    Attributes:
        blanked: keys that were asked for and turned out to be overwritten.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self.blanked: set[str] = set()
        self._environment = os.environ if environment is None else environment

    @property
    def is_in_environment(self) -> bool:
        """Whether the environment holds values."""
        return any(name.startswith("VMX_GUESTINFO_") for name in self._environment)

    async def get(self, key: str) -> Value | None:
        """Return the value of `guestinfo.KEY`, or None if it is not set.

        Raises:
            SourceAbsent: there is no program to ask the host with. SourceUnavailable: the host does not answer.
        """
        text = await self._read(key)
        word = (text or b"").strip().decode(errors="replace")
        if word == BLANK:
            self.blanked.add(key)
        if text is None or word in ("", BLANK):
            return None
        encoding = await self._read(f"{key}.encoding") or b""
        return Value(text, encoding.decode(errors="replace").strip().lower())

    async def blank(self, key: str) -> None:
        """Overwrite the value of `guestinfo.KEY`.

        Raises:
            SourceAbsent, SourceUnavailable: see `get`.
        """
        await _ask_host(f"info-set guestinfo.{key} {BLANK}")

    async def _read(self, key: str) -> bytes | None:
        name = f"VMX_GUESTINFO_{key.upper()}"
        given = self._environment.get(name) or self._environment.get(name.replace(".", "_"))
        if given is not None:
            return os.fsencode(given)
        if self.is_in_environment:
            return None
        return await _ask_host(f"info-get guestinfo.{key}")


async def _ask_host(question: str) -> bytes | None:
    failure: SourceError = SourceAbsent("there is neither vmware-rpctool nor vmtoolsd", hint="install open-vm-tools")
    for program, *words in TOOLS:
        path = await asyncio.to_thread(shutil.which, program)
        if path is None:
            continue
        for _ in range(TRIES):
            try:
                return await _run(path, *words, question)
            except SourceUnavailable as error:
                failure = error
    raise failure


async def _run(path: str, *words: str) -> bytes | None:
    """Return what a program prints, or None if it says that there is no value.

    Raises:
        SourceUnavailable: it does not end in time, or fails.
    """
    process = await asyncio.create_subprocess_exec(
        path,
        *words,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=MAX_BODY,
    )
    try:
        async with asyncio.timeout(TIMEOUT):
            assert process.stdout is not None  # noqa: S101 - it is a pipe
            assert process.stderr is not None  # noqa: S101 - as above
            async with asyncio.TaskGroup() as group:
                printed = group.create_task(_read_bounded(process.stdout, path))
                complaint = group.create_task(_read_bounded(process.stderr, path))
            code = await process.wait()
    except TimeoutError:
        raise SourceUnavailable(f"it does not answer within {TIMEOUT:g} s", where=path) from None
    except BaseExceptionGroup as errors:
        raise SourceRefused(f"it prints more than the {MAX_BODY} bytes that are read", where=path) from errors
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if code == 0:
        return printed.result()
    if b"no value found" in (complaint.result() + printed.result()).lower():
        return None
    raise SourceUnavailable(f"it failed with exit code {code}", where=path)


async def _read_bounded(stream: asyncio.StreamReader, path: str) -> bytes:
    content = bytearray()
    while chunk := await stream.read(64 * 1024):
        content += chunk
        if len(content) > MAX_BODY:
            raise SourceRefused("too much", where=path)
    return bytes(content)
