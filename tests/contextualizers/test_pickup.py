"""The pickup archive of a local volume."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from contextualizers.pickup import Pickup, PickupOptions
from ucvm_agent.contextualize.actions import ExtractArchive
from ucvm_agent.contextualize.system import System
from ucvm_agent.sources.base import Found
from ucvm_agent.userdata.decode import decode


def test_archive_is_unpacked_over_the_system(tmp_path: Path) -> None:
    """It comes with the context, and without one there is nothing to do."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("etc/motd"))
    system = System(tmp_path)
    context = decode(Found("extra", "test", None, pickup=packed.getvalue()))
    (action,) = Pickup().plan(PickupOptions(), context, system)
    assert isinstance(action, ExtractArchive)
    assert (action.path, action.content) == ("/", packed.getvalue())
    assert "etc/motd" in action.preview(system).diff
    assert list(Pickup().plan(PickupOptions(), decode(Found("extra", "test", None)), system)) == []
