"""What the tests of contextualizers share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contextualizers.ask import furnish
from ucvm_agent.contextualize.system import System


@pytest.fixture
def system(tmp_path: Path) -> System:
    """Return a small Debian system."""
    return furnish(
        tmp_path,
        {
            "/etc/os-release": "ID=debian\nVERSION_ID=12\n",
            "/etc/passwd": "root:x:0:0:root:/root:/bin/bash\n",
            "/etc/group": "root:x:0:\nsudo:x:27:\nusers:x:100:\n",
            "/etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
        },
    )
