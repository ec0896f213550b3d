"""ISO 9660 volumes, with the long names of Rock Ridge or Joliet where there are any."""

from __future__ import annotations

import io
from typing import BinaryIO, cast

import pycdlib
from pycdlib.dr import DirectoryRecord
from pycdlib.pycdlibexception import PyCdlibException

from ucvm_agent.sources.volumes.medium import Medium
from ucvm_agent.sources.volumes.volume import Volume


class IsoVolume(Volume):
    """A volume that pycdlib reads; it reads all folders at the beginning."""

    def __init__(self, medium: Medium) -> None:
        super().__init__(medium)
        self._iso = pycdlib.PyCdlib()
        try:
            self._iso.open_fp(cast("BinaryIO", medium))
        except PyCdlibException as error:
            raise medium.broken(str(error)) from None
        if self._iso.has_rock_ridge():
            self._names = "rr_path"
        else:
            self._names = "joliet_path" if self._iso.has_joliet() else "iso_path"

    def _read(self, names: list[str]) -> bytes | None:
        path = ""
        for position, name in enumerate(names, 1):
            record = self._child(path or "/", name)
            if record is None or record.is_dir() != (position < len(names)):
                return None
            path += "/" + self._name(record)
        assert record is not None  # noqa: S101 - there is at least one name, and mypy cannot know
        if record.is_file() and not self._is_link(record):
            self.check_size(path, record.get_data_length())
            content = io.BytesIO()
            self._iso.get_file_from_iso_fp(content, **{self._names: path})
            return content.getvalue()
        return None

    def _child(self, folder: str, name: str) -> DirectoryRecord | None:
        for record in self._iso.list_children(**{self._names: folder}):
            if record is not None and not record.is_dot() and not record.is_dotdot() and self._is_named(record, name):
                return cast("DirectoryRecord", record)
        return None

    def _is_named(self, record: DirectoryRecord, name: str) -> bool:
        if self._names == "iso_path":
            # Plain names are in capitals, with a version behind them.
            return self._name(record).partition(";")[0].rstrip(".").lower() == name.lower()
        return self._name(record) == name

    def _name(self, record: DirectoryRecord) -> str:
        match self._names:
            case "rr_path":
                return record.rock_ridge.name().decode() if record.rock_ridge else ""
            case "joliet_path":
                return record.file_identifier().decode("utf-16-be").partition(";")[0]
            case _:
                return record.file_identifier().decode()

    def _is_link(self, record: DirectoryRecord) -> bool:
        return self._names == "rr_path" and record.rock_ridge is not None and record.rock_ridge.is_symlink()
