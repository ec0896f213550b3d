"""Where a NoCloud seed is, and its documents, from a folder or over HTTP (references/clouds.md, section 2.8)."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ucvm_agent.errors import SourceAbsent, SourceRefused, SourceUnavailable
from ucvm_agent.network.retry import retry
from ucvm_agent.sources.base import MAX_BODY
from ucvm_agent.sources.local import read_file
from ucvm_agent.sources.machine import Machine, split_command_line

if TYPE_CHECKING:
    import aiohttp

_LONG_NAMES = {"s": "seedfrom", "i": "instance-id", "h": "local-hostname"}
_SEED = re.compile(r"ds=nocloud(?:-net)?(?:;(?P<values>\S*))?", re.IGNORECASE)
_PLACEHOLDER = re.compile(r"__dmi\.([\w-]+)__")
HTTP = ("http://", "https://")


@dataclass(frozen=True, slots=True)
class Named:
    """What the kernel command line or the firmware say: that there is a seed, and perhaps where.

    Arguments:
        by: who says so, for people.
        values: by their long names (`seedfrom`, `instance-id`, `local-hostname`).
    """

    by: str
    values: dict[str, str]


@dataclass(frozen=True, slots=True)
class Seed:
    """The documents of a seed.

    Arguments:
        origin: where they are from.
    """

    origin: str
    user_data: bytes = field(repr=False)
    meta_data: bytes = field(repr=False)
    vendor_data: bytes | None = field(default=None, repr=False)

    @property
    def shown(self) -> str:
        """The origin without what may be a secret in a URL."""
        return _shown(self.origin)


def read_named(machine: Machine) -> Named | None:
    """Return what the kernel command line says, or else the serial number of the firmware; None if neither does."""
    words = split_command_line(machine.kernel_command_line)
    serial = machine.dmi.get("product_serial", "")
    for by, texts in (("the kernel command line", words), ("product_serial", [serial])):
        for text in texts:
            if match := _SEED.fullmatch(text):
                return Named(by, _values(match["values"] or "", machine))
    return None


def _values(text: str, machine: Machine) -> dict[str, str]:
    pairs = (pair.partition("=") for pair in text.split(";") if "=" in pair)
    values = {_LONG_NAMES.get(name, name): value for name, _, value in pairs}
    return {name: _PLACEHOLDER.sub(lambda match: _dmi(match[1], machine), value) for name, value in values.items()}


def _dmi(name: str, machine: Machine) -> str:
    """Return a value of the firmware by the name that dmidecode has for it: `chassis-serial-number`."""
    kernel = name.replace("-", "_").replace("system_", "product_").replace("baseboard_", "board_")
    kernel = kernel.replace("serial_number", "serial").replace("product_manufacturer", "sys_vendor")
    return machine.dmi.get(kernel, "")


async def read_seed(place: str, *, allow_insecure: bool) -> Seed:
    """Read the documents of a seed.

    Arguments:
        place: a folder, a `file://` or an `https://` URL; the names of the documents are put behind it.
        allow_insecure: take plain HTTP, too.

    Raises:
        SourceAbsent: there is no seed. SourceRefused: it may not be used. SourceUnavailable: it does not answer.
    """
    if place.startswith(HTTP):
        return await _read_url(place, allow_insecure=allow_insecure)
    if "://" in place and not place.startswith("file://"):
        hint = "use https://, file:// or a path"
        raise SourceRefused("a seed of this kind is not read", where=place.partition("://")[0], hint=hint)
    return await asyncio.to_thread(read_folder, Path(place.removeprefix("file://")))


def read_folder(folder: Path) -> Seed:
    """Read the documents of a seed folder; see `read_seed`."""
    texts = {name: read_file(folder / name) for name in ("user-data", "meta-data", "vendor-data")}
    return complete(str(folder), texts)


def complete(origin: str, documents: dict[str, bytes | None]) -> Seed:
    """Return the seed that these documents are.

    Raises:
        SourceAbsent: `user-data` or `meta-data` are missing; both may be empty.
    """
    user_data, meta_data = documents["user-data"], documents["meta-data"]
    if user_data is None or meta_data is None:
        missing = "user-data" if user_data is None else "meta-data"
        raise SourceAbsent(f"there is no {missing} in the seed", where=_shown(origin), hint="it may be empty")
    return Seed(origin, user_data, meta_data, documents.get("vendor-data"))


async def _read_url(place: str, *, allow_insecure: bool) -> Seed:
    if place.startswith("http://") and not allow_insecure:
        hint = "serve it over https, or set allow_insecure_seed of this source"
        raise SourceRefused("a seed over plain HTTP can be forged", where=_shown(place), hint=hint)
    from ucvm_agent.network import http

    documents: dict[str, bytes | None] = {}
    async with http.session() as session:
        for name in ("meta-data", "user-data", "vendor-data"):
            url = place + name
            documents[name] = await retry(partial(_get, session, url), on=SourceUnavailable)
    return complete(place, documents)


async def _get(session: aiohttp.ClientSession, url: str) -> bytes | None:
    import aiohttp

    from ucvm_agent.network import http

    where = _shown(url)
    try:
        async with session.get(url) as response:
            body = await http.read_bounded(response, MAX_BODY) if response.status == 200 else b""
            status, page = response.status, response.content_type == "text/html" and body.lstrip().startswith(b"<")
    except http.AnswerRefused as error:
        raise SourceRefused(str(error), where=where) from None
    except aiohttp.InvalidURL:
        raise SourceRefused("this is no URL", where=where) from None
    except (aiohttp.ClientError, TimeoutError) as error:
        raise SourceUnavailable(f"no answer: {type(error).__name__}", where=where) from None
    if status in http.RETRYABLE:
        raise SourceUnavailable(f"it answered {status}", where=where)
    if status in (404, 410):
        return None
    if status != 200:
        raise SourceRefused(f"it answered {status}", where=where)
    if page:
        raise SourceRefused("a web page came instead of the seed", where=where)
    return body


def _shown(place: str) -> str:
    """Return a place without what may be a secret in a URL."""
    if not place.startswith(HTTP):
        return place
    from ucvm_agent.network.http import without_secrets

    return without_secrets(place)
