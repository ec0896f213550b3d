"""The included texts of earlier boots, one file each, for a boot without network.

A file's name is the SHA-256 of its URL, which may hold a secret; its first line holds the SHA-256 of the instance-id
and of the text. What another instance has left on this disk is not used, nor what a power cut or somebody damaged.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

import structlog

from ucvm_agent.files import whole_file
from ucvm_agent.userdata.bounds import MAX_UNPACKED

log = structlog.get_logger()

_DIGEST = 64
_HEAD = 2 * _DIGEST + 2


class Cache:
    """A folder of texts by their URLs, for one instance.

    Nothing in it is worth failing for: what cannot be read counts as absent, what cannot be written is logged.
    """

    def __init__(self, folder: Path, instance_id: str) -> None:
        self._folder = folder
        self._instance = _digest(instance_id.encode())

    def read(self, url: str) -> bytes | None:
        """Return what `url` brought to this instance at an earlier boot, if that is known."""
        try:
            with self._path(url).open("rb") as file:
                content = file.read(_HEAD + MAX_UNPACKED + 1)
        except OSError:
            return None
        text = content[_HEAD:]
        return text if content[:_HEAD] == self._head(text) else None

    def write(self, url: str, text: bytes) -> None:
        """Keep what `url` has brought."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            whole_file.write(self._path(url), self._head(text) + text)
        except OSError as error:
            log.warning(
                "an include cannot be kept for a boot without network", folder=str(self._folder), reason=error.strerror
            )

    def prune(self, urls: Iterable[str]) -> None:
        """Remove what is not of these URLs."""
        kept = {self._path(url).name for url in urls}
        try:
            for path in self._folder.iterdir() if self._folder.is_dir() else ():
                if path.name not in kept:
                    path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("old includes cannot be removed", folder=str(self._folder), reason=error.strerror)

    def _path(self, url: str) -> Path:
        return self._folder / _digest(url.encode())

    def _head(self, text: bytes) -> bytes:
        return f"{self._instance} {_digest(text)}\n".encode()


def _digest(data: bytes) -> str:
    return sha256(data).hexdigest()
