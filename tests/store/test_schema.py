"""A state file that is not ours to use is refused with its reason, and stays as it is."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ucvm_agent.errors import StoreAbsent, StoreBusy, StoreDamaged, StoreError, StoreNewer
from ucvm_agent.store import schema
from ucvm_agent.store.schema import APPLICATION_ID, MIGRATIONS, Schema, open_reader, open_writer
from ucvm_agent.store.store import Store


def sound(path: Path) -> None:
    store = Store(path, "boot")
    store.events.add_reporter("c")
    store.close()


def newer(path: Path) -> None:
    sound(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version={len(MIGRATIONS) + 1}")


def foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE theirs (x)")


def torn(path: Path) -> None:
    sound(path)
    content = bytearray(path.read_bytes())
    content[4096:12288] = b"\xa5" * 8192
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (newer, StoreNewer),
        (foreign, StoreDamaged),
        (torn, StoreDamaged),
        (lambda path: path.write_bytes(b"not a database at all" * 500), StoreDamaged),
    ],
    ids=["newer", "foreign", "torn", "garbage"],
)
def test_an_unusable_file_is_refused_and_kept(tmp_path: Path, spoil: object, error: type[StoreError]) -> None:
    """Neither the daemon nor `status` changes a byte of it."""
    path = tmp_path / "state.db"
    assert callable(spoil)
    spoil(path)
    before = path.read_bytes()
    for opening in (open_writer, open_reader):
        with pytest.raises(error) as caught:
            opening(path)
        assert str(path) in str(caught.value)
        assert caught.value.hint
    assert path.read_bytes() == before


def test_a_state_from_every_earlier_schema_is_brought_up_to_date(tmp_path: Path) -> None:
    """What an older agent wrote is still there after the upgrade."""
    for version in range(1, len(MIGRATIONS) + 1):
        path = tmp_path / f"{version}.db"
        with closing(open_writer(path, Schema(APPLICATION_ID, MIGRATIONS[:version]))) as db:
            db.execute("INSERT INTO machine (only, machine_id) VALUES (1, 'm')")
        with closing(open_writer(path)) as db:
            assert db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
            assert db.execute("SELECT machine_id FROM machine").fetchone() == ("m",)


def test_a_state_that_others_could_read_is_taken_from_them(tmp_path: Path) -> None:
    """With its write-ahead log, which a crash leaves behind; a database that is not ours keeps its mode."""
    path = tmp_path / "state.db"
    with closing(open_writer(path)):
        files = [path, *(tmp_path / f"state.db-{name}" for name in ("wal", "shm"))]
        for file in files:
            file.chmod(0o644)
        with closing(open_writer(path)):
            assert [file.stat().st_mode & 0o777 for file in files] == [0o600] * 3
    theirs = tmp_path / "theirs.db"
    foreign(theirs)
    theirs.chmod(0o644)
    with pytest.raises(StoreDamaged):
        open_writer(theirs)
    assert theirs.stat().st_mode & 0o777 == 0o644


def test_no_state_yet(tmp_path: Path) -> None:
    """Reading before the first run makes no file."""
    with pytest.raises(StoreAbsent, match="has not run here"):
        open_reader(tmp_path / "state.db")
    assert list(tmp_path.iterdir()) == []


def test_a_writer_that_another_holds_up_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write lock that does not end is an error with a name, not a hang."""
    monkeypatch.setattr(schema, "BUSY_SECONDS", 0.05)
    path = tmp_path / "state.db"
    sound(path)
    with closing(Store(path, "boot")) as store, closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBusy):
            store.events.add_reporter("d")
