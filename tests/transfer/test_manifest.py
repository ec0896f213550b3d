"""The manifest of an archive, as the program sha256sum understands it."""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.transfer.conftest import names
from ucvm_agent.errors import TransferRefused
from ucvm_agent.transfer.manifest import manifest, write_manifest


@pytest.fixture
def archive(folder: Path, tmp_path: Path) -> Path:
    """What is in the folder, as `job1.tgz`."""
    (folder / "stdout").write_bytes(b"hello\n")
    (folder / "a\nb\\c\r").write_bytes(b"")
    (folder / "sub").mkdir()
    (folder / "sub/\udcff").write_bytes(b"x" * 2**21)
    (folder / "link").symlink_to("/etc/passwd")
    path = tmp_path / "out/job1.tgz"
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as packing:
        packing.add(folder, ".")
    return path


def test_sha256sum_agrees(archive: Path) -> None:
    """With the archive and with all that comes out of it, whatever it is called."""
    path = write_manifest(archive)
    assert names(archive.parent) == ["job1.tgz", "job1.tgz.sha256"]
    subprocess.run(["tar", "-xzf", archive.name], cwd=archive.parent, check=True)
    checked = subprocess.run(["sha256sum", "--check", "--strict", path.name], cwd=archive.parent, capture_output=True)
    assert checked.returncode == 0
    assert checked.stdout.count(b": OK\n") == 4


def test_half_an_archive_has_no_manifest(archive: Path) -> None:
    """Nor has what is none."""
    whole = archive.read_bytes()
    for part in (whole[: len(whole) // 2], b"", b"text", whole[:-4] + b"1234"):
        archive.write_bytes(part)
        with pytest.raises(TransferRefused):
            manifest(archive)
