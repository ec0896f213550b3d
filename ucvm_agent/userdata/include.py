"""`#include` and `#include-once`: what a document wants from elsewhere (references/clouds.md, section 5.2).

Decoding fetches nothing. It takes what was fetched before (`Found.included`), and says what it still lacks
(`Context.includes`); the room `include` fetches that and decodes again, until nothing is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urlsplit

from ucvm_agent.sources.base import Fetched
from ucvm_agent.userdata.context import Include, Place
from ucvm_agent.userdata.problems import Problems

MAX_URLS = 20
"""Most URLs that a user-data includes, those of included texts counted, too."""

MAX_DEPTH = 3
"""Most includes inside each other."""

_ONCE, _ALWAYS = "#include-once", "#include"


def shown_url(url: str) -> str:
    """Return a URL as it may be shown: without credentials, query and fragment, any of which may be a secret."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "a URL that cannot be read"
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def read_urls(rows: Iterable[tuple[int, str]], part: str, *, once: bool) -> Iterator[tuple[str, bool, Place]]:
    """Yield each URL, whether it is fetched only once, and its place.

    Arguments:
        rows: number (from 1) and text of each line; a URL may follow the marker on its line.
        once: whether the lines before the first marker are those of `#include-once`.
    """
    for number, line in rows:
        text, lower = line, line.lower()
        for marker in (_ONCE, _ALWAYS):
            if lower.startswith(marker):
                once, text = marker == _ONCE, line[len(marker) :]
                break
        url = text.strip()
        if url and not url.startswith("#"):
            yield url, once, Place(part, number, line.index(url) + 1)


class Inclusion:
    """The includes of one user-data: what they brought, what is missing, and how deep we are in them.

    Arguments:
        fetched: what was fetched before.
    """

    def __init__(self, fetched: Mapping[str, Fetched]) -> None:
        self.missing: dict[str, Include] = {}
        self._fetched = fetched
        self._chain: list[str] = []

    @contextmanager
    def inside(self, url: str) -> Iterator[None]:
        """Note that what is read meanwhile came from `url`."""
        self._chain.append(url)
        try:
            yield
        finally:
            self._chain.pop()

    def take(self, url: str, place: Place, problems: Problems, *, once: bool, local: bool) -> bytes | None:
        """Return what the URL brought; None if it is missing, cannot be had or is not allowed.

        Arguments:
            once: it is fetched once for each instance.
            local: the document that wants it is a file of this machine.
        """
        if refusal := self._refusal(url):
            message, hint = refusal
            problems.error(place, f"{shown_url(url)} is not included: {message}", hint)
            return None
        if (fetched := self._fetched.get(url)) is None:
            local = local and all(each.lower().startswith("file:") for each in self._chain)
            known = self.missing.get(url)
            self.missing[url] = Include(url, once and (known is None or known.once), local, place)
            return None
        if fetched.data is None:
            problems.error(place, f"{shown_url(url)} cannot be included: {fetched.failure}", fetched.hint)
        elif fetched.failure:
            message = f"an earlier copy of {shown_url(url)} is used: {fetched.failure}"
            problems.warning(place, message, fetched.hint)
        return fetched.data

    def _refusal(self, url: str) -> tuple[str, str] | None:
        if url in self._chain:
            return "it includes itself", "remove the line"
        if len(self._chain) >= MAX_DEPTH:
            return f"includes are nested more than {MAX_DEPTH} deep", "include it from the user-data itself"
        if url not in self._fetched and url not in self.missing and self._count >= MAX_URLS:
            return f"there are more than {MAX_URLS} URLs", "unite what they bring"
        return None

    @property
    def _count(self) -> int:
        return len(self._fetched) + len(self.missing)
