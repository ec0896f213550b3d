"""What a URL of a file names, checked before any program or server sees it.

URLs come from managers, and with them host names, folders and file names (references/copilot-protocol.md, sections
2.4 and 6.6): a URL with control characters, `..`, credentials or a host that is none is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, quote, unquote, urlsplit

from ucvm_agent.errors import TransferRefused

MAX_LENGTH = 4096
"""Most characters of a URL; what is signed for S3 has about 1,000."""

_SERVER = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,252}|\[[0-9A-Fa-f:.]{2,45}\])(?::([0-9]{1,5}))?")
_CHECKSUM = re.compile(r"sha256=([0-9A-Fa-f]{64})")


@dataclass(frozen=True, slots=True)
class Location:
    """One file somewhere.

    Arguments:
        scheme: in small letters.
        server: `host` or `host:port`; the bucket of S3; empty for a file of this machine.
        path: decoded, begins with a slash, has no `..`.
        url: as it was given, without fragment; its query may hold a secret.
        sha256: what the file has to have, in small letters; empty = whatever it has.
        token: bearer token that came with the URL; empty = that of the settings, if there is one.
    """

    scheme: str
    server: str
    path: str
    url: str = field(repr=False)
    sha256: str = ""
    token: str = field(default="", repr=False)

    @property
    def shown(self) -> str:
        """The URL for logs and errors, without query."""
        return self.url.partition("?")[0]

    @property
    def host(self) -> str:
        """The server without its port, in small letters."""
        match = _SERVER.fullmatch(self.server)
        return match[1].lower() if match else ""


def parse(url: str, token: str = "") -> Location:
    """Return what a URL names: `SCHEME://SERVER/PATH[?QUERY][#sha256=HEX]`.

    Raises:
        TransferRefused: it is no URL of a file; the error does not quote it.
    """
    if len(url) > MAX_LENGTH or not url.isprintable() or "\\" in url or url != url.strip():
        raise TransferRefused("the URL is too long, or has characters that no URL has")
    try:
        parts = urlsplit(url)
        path = unquote(parts.path, errors="strict")
    except ValueError:
        raise TransferRefused("this is no URL", hint="write SCHEME://HOST/PATH") from None
    if "@" in parts.netloc:
        raise TransferRefused("the URL holds credentials", hint="they belong into the settings [transfer]")
    if parts.query and parts.scheme not in ("http", "https", "s3"):
        raise TransferRefused("a URL of this scheme has no query")
    if parts.scheme in ("http", "https") and not (url.isascii() and " " not in url):
        raise TransferRefused("the URL has characters that have to be written as %XX")
    _check_server(parts)
    _check_path(parts.scheme, path)
    plain = parts._replace(fragment="").geturl()
    return Location(parts.scheme, parts.netloc, path, plain, _checksum(parts.fragment), token)


def chirp_url(server: str, folder: str, file: str) -> str:
    """Return the URL of a file on a Chirp server, as messages of Co-Pilot name it.

    Arguments:
        server: `host[:port]` (`chirpUrl`, `outputChirpUrl`).
        folder: on that server (`inputDir`), absolute or not.
        file: its name in the folder (one of `inputFiles`).

    Raises:
        TransferRefused: they name no file.
    """
    if not file or any(name.startswith("-") or not name.isprintable() for name in (server, folder, file)):
        raise TransferRefused("the message names no file of a Chirp server")
    url = f"chirp://{server}/{quote('/'.join(name for name in (folder.strip('/'), file) if name))}"
    if parse(url).server != server:  # a slash or a question mark in it would make it another one
        raise TransferRefused("the message names no Chirp server", hint="it is written host:port")
    return url


def _check_server(parts: SplitResult) -> None:
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise TransferRefused("a file is on this machine", hint="write file:///path")
        return
    match = _SERVER.fullmatch(parts.netloc)
    if not match or not 0 < int(match[2] or 1) < 2**16:
        raise TransferRefused("the URL names no server", hint="write SCHEME://HOST[:PORT]/PATH")


def _check_path(scheme: str, path: str) -> None:
    names = path.split("/")
    if names[0] or ".." in names or "." in names or not path.isprintable():
        raise TransferRefused("the URL names no file", hint="its path is absolute, without . and ..")
    if not names[-1] and scheme not in ("http", "https"):
        raise TransferRefused("the URL names a folder, not a file")


def _checksum(fragment: str) -> str:
    if not fragment:
        return ""
    match = _CHECKSUM.fullmatch(fragment)
    if not match:
        raise TransferRefused("what follows # is not a checksum", hint="write #sha256=HEX")
    return match[1].lower()
