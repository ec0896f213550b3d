"""What a context waits for, and what is remembered of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from ucvm_agent.cluster.completion import recall
from ucvm_agent.events import ContextReceived
from ucvm_agent.sources.base import Found, Metadata
from ucvm_agent.store.store import Store

FOUND = Found("ec2", "http://x", b"data", vendor_data=b"vendor", metadata=Metadata("i-1", public_keys=("a",)))
COMPLETED = replace(FOUND, origin="http://x and y", overlay=b"online", metadata=Metadata("i-1", public_keys=("a", "b")))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(tmp_path / "state.db", "boot")) as store:
        body = ContextReceived(source="ec2", origin="", instance_id="i-1", digest="d", errors=0, warnings=0)
        store.keep_context(COMPLETED, "d", body)
        yield store


def test_the_context_that_the_user_data_named_before_is_used_again(store: Store) -> None:
    """With whatever else the source has now, the vendor's part among it."""
    newer = replace(FOUND, vendor_data=b"newer", extra_data=b"extra")
    assert recall(newer, store) == replace(COMPLETED, vendor_data=b"newer", extra_data=b"extra")


@pytest.mark.parametrize("found", [replace(FOUND, user_data=b"other"), replace(FOUND, base64=True), COMPLETED])
def test_other_user_data_are_taken_as_they_are(store: Store, found: Found) -> None:
    """They may name another context, or none."""
    assert recall(found, store) is found
