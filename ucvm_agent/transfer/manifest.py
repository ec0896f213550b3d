"""What an archive holds, in the form of `sha256sum`, so that `sha256sum --check` can tell what of it is sound."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ucvm_agent.errors import TransferRefused
from ucvm_agent.files import whole_file
from ucvm_agent.transfer.checksum import sha256_of
from ucvm_agent.transfer.partial import disk


def manifest(archive: Path) -> str:
    """Return a line for the archive and one for each file in it, in their order; links have no content of their own.

    It blocks: call it in a thread.

    Raises:
        TransferRefused: this is no gzipped tar archive, or cannot be read.
    """
    try:
        with archive.open("rb") as file:
            own = _line(sha256_of(file), archive.name)
            file.seek(0)
            return own + "".join(_read(file))
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile):
        raise TransferRefused("this is no gzipped tar archive, or not all of one", where=str(archive)) from None
    except OSError as error:
        raise TransferRefused(f"the archive cannot be read: {error.strerror}", where=str(archive)) from None


def write_manifest(archive: Path) -> Path:
    """Write the manifest of `<id>.tgz` beside it, as `<id>.tgz.sha256`, and return that path.

    It blocks: call it in a thread.

    Raises:
        TransferDelayed: the disk is full.
        TransferRefused: the archive cannot be read, or nothing can be written there.
    """
    path = archive.with_name(f"{archive.name}.sha256")
    text = manifest(archive)
    with disk(path):
        whole_file.write(path, text.encode("utf-8", "surrogateescape"))
    return path


def _read(file: IO[bytes]) -> Iterator[str]:
    with gzip.open(file) as plain:
        with tarfile.open(fileobj=plain, mode="r|") as members:
            for member in members:
                content = members.extractfile(member) if member.isreg() else None
                if content is not None:
                    yield _line(sha256_of(content), member.name)
        sha256_of(plain)  # to its end, where gzip's own checksum is


def _line(checksum: str, name: str) -> str:
    """Return one line; a name that would break it is escaped as sha256sum does."""
    escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"{'' if escaped == name else chr(92)}{checksum}  {escaped}\n"
