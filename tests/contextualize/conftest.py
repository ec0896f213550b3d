"""What tests of accounts share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contextualize.account_root import make_target
from ucvm_agent.contextualize.target import Target


@pytest.fixture
def target(tmp_path: Path) -> Target:
    """A root with well-formed account files, and a skeleton."""
    return make_target(tmp_path)
