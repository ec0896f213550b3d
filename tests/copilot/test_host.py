"""The description of a machine, as we write it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ucvm_agent.copilot.host import host_description

MEMINFO = "MemTotal: 1034240 kB\nMemFree: 700000 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\nHugePages_Total: 3\n"


def test_the_description_is_that_of_this_machine(tmp_path: Path) -> None:
    """What jobs need to know, in the units of the original; what is zero is left out."""
    (tmp_path / "meminfo").write_text(MEMINFO)
    text = host_description(tmp_path, proc=tmp_path)
    system = os.uname()
    expected = (
        '[\nType="machine";\nRequirements=(other.Type=="Job");\nWNHost="NAME";\nVersion="0";\nLocalDiskSpace=NUMBER;\n'
        f'Uname="{system.release}";\nMemory=1010;\nFreeMemory=683;\nPlatform="{system.sysname}-{system.machine}";\n]\n'
    )
    text = re.sub(r'(?<=WNHost=")[^"\n]+', "NAME", text)
    assert re.sub(r"(?<=LocalDiskSpace=)[1-9][0-9]*", "NUMBER", text) == expected


def test_what_cannot_be_found_out_is_left_out(tmp_path: Path) -> None:
    """The original crashes there."""
    text = host_description(tmp_path / "absent", proc=tmp_path / "absent")
    assert re.findall(r"^\w+", text, re.MULTILINE) == ["Type", "Requirements", "WNHost", "Version", "Uname", "Platform"]
