"""What a context waits for, and what is remembered of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from ucvm_agent.events import ContextReceived
from ucvm_agent.sources.base import Found, Metadata
from ucvm_agent.stages.completion import recall
from ucvm_agent.store.store import Store

FOUND = Found("ec2", "http://x", b"data", vendor_data=b"vendor", metadata=Metadata("i-1", public_keys=("a",)))
COMPLETED = replace(FOUND, origin="http://x and y", overlay=b"online", metadata=Metadata("i-1", public_keys=("a", "b")))

BODY = ContextReceived(source="ec2", origin="", instance_id="i-1", digest="d", errors=0, warnings=0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(tmp_path / "state.db", "boot")) as store:
        store.keep_context(COMPLETED, "d", BODY)
        yield store


def test_the_context_that_the_user_data_named_before_is_used_again(store: Store) -> None:
    """With whatever else the source has now, the vendor's part among it."""
    newer = replace(FOUND, vendor_data=b"newer", extra_data=b"extra")
    assert recall(newer, store) == replace(COMPLETED, vendor_data=b"newer", extra_data=b"extra")


def test_what_the_platform_wanted_blanked_is_remembered(store: Store) -> None:
    """For the same instance, as far as it says, and only if it was us who blanked it."""
    blank = Found("vsphere", "guestinfo", None, metadata=Metadata("vm-1"), extra_data=b"extra", spent=True)
    assert recall(blank, store) is blank
    full = replace(blank, user_data=b"data", extra_data=None, to_blank=("userdata",))
    store.keep_context(full, "e", BODY)
    for metadata in (Metadata("vm-1"), Metadata()):
        assert recall(replace(blank, metadata=metadata), store) == replace(full, extra_data=b"extra")
    for found in (replace(blank, metadata=Metadata("vm-2")), replace(blank, spent=False), replace(full)):
        assert recall(found, store) is found


@pytest.mark.parametrize("found", [replace(FOUND, user_data=b"other"), replace(FOUND, base64=True), COMPLETED])
def test_other_user_data_are_taken_as_they_are(store: Store, found: Found) -> None:
    """They may name another context, or none."""
    assert recall(found, store) is found
