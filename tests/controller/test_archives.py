"""Archives that agents have made, in whatever way."""

from __future__ import annotations

import io
import tarfile
import tempfile
from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from ucvm_agent.controller.archives import _extract


def packed(members: Mapping[str, bytes], kind: bytes = tarfile.REGTYPE) -> bytes:
    """Return an archive of files of one kind."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname, entry.size = kind, "/etc/passwd", len(content) if kind == tarfile.REGTYPE else 0
            archive.addfile(entry, io.BytesIO(content))
    return file.getvalue()


def extract(archive: bytes) -> bytes:
    """Return what is found of `stdout`."""
    with tempfile.TemporaryFile() as copy:
        _extract(io.BytesIO(archive), "stdout", copy)
        copy.seek(0)
        return copy.read()


SOUND = packed({"./µ" + "x" * 120: b"first", "./stdout": bytes(range(256)) * 20, "./stderr": b""})


def test_the_output_is_found_by_its_name() -> None:
    """At the top of the archive only, and only as a file."""
    assert extract(SOUND) == bytes(range(256)) * 20
    assert extract(packed({"stdout": b"plain"})) == b"plain"
    assert extract(packed({"other/stdout": b"x", "../stdout": b"y", "/stdout": b"z"})) == b""
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE):
        assert extract(packed({"./stdout": b""}, kind)) == b""


@given(
    cut=st.integers(0, len(SOUND)),
    changes=st.lists(st.tuples(st.integers(0, len(SOUND) - 1), st.integers(0, 255)), max_size=4),
)
def test_a_damaged_archive_is_read_as_far_as_it_is_sound(cut: int, changes: list[tuple[int, int]]) -> None:
    """It is never an error of ours."""
    damaged = bytearray(SOUND)
    for place, value in changes:
        damaged[place] = value
    extract(bytes(damaged[:cut]))


@given(header=st.binary(max_size=1024))
def test_what_is_no_archive_has_no_output(header: bytes) -> None:
    """Whatever stands in its headers."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        assert archive.fileobj is not None
        archive.fileobj.write(header)
    extract(file.getvalue())
