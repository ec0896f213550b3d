"""The description of a machine, as we write it and as others do."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from ucvm_agent.copilot.host import Description, host_description, read_description

MEMINFO = "MemTotal: 1034240 kB\nMemFree: 700000 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\nHugePages_Total: 3\n"


def test_the_description_is_that_of_this_machine(tmp_path: Path) -> None:
    """What jobs need to know, in the units of the original; what is zero is left out."""
    (tmp_path / "meminfo").write_text(MEMINFO)
    text = host_description(tmp_path, proc=tmp_path)
    assert text.startswith('[\nType="machine";\nRequirements=(other.Type=="Job");\nWNHost="')
    assert text.endswith(";\n]\n")
    read = read_description(text)
    assert read.host
    assert (read.memory, read.free_memory, read.swap, read.free_swap) == (1010, 683, None, None)
    assert read.kernel == os.uname().release
    assert read.platform == f"{os.uname().sysname}-{os.uname().machine}"
    assert read.disk
    assert read.others == {"Type": "machine", "Requirements": '(other.Type=="Job")', "Version": "0"}


def test_what_cannot_be_found_out_is_left_out(tmp_path: Path) -> None:
    """The original crashes there."""
    read = read_description(host_description(tmp_path / "absent", proc=tmp_path / "absent"))
    assert (read.disk, read.memory) == (None, None)
    assert read.host


def test_the_form_of_the_report_is_read_as_well() -> None:
    """Spaces round the equals sign, lists, and no last semicolon."""
    text = '[ Type = "machine"; WNHost = "vm1.example.org" ; Memory = 1010; Packages = {"a@b::c", "d"}; Swap = 12.5 ]'
    assert read_description(text) == Description(
        host="vm1.example.org", memory=1010, others={"Type": "machine", "Packages": ("a@b::c", "d")}
    )


@given(st.text(st.sampled_from('[]{};="\n, aW9') | st.characters()))
def test_nothing_makes_the_reader_fail(text: str) -> None:
    """A description is what somebody else wrote."""
    read_description(text)
    read_description(f"[WNHost={text};Memory={text};Uname={{{text}}}]")


@given(st.dictionaries(st.from_regex("[A-Za-z]{1,9}", fullmatch=True), st.from_regex("[ -:<-Z^-z]*", fullmatch=True)))
def test_a_quoted_value_is_read_as_it_stands(values: dict[str, str]) -> None:
    """Whatever it holds besides what ends it."""
    known = {"WNHost", "Uname", "Platform", "LocalDiskSpace", "Memory", "FreeMemory", "Swap", "FreeSwap"}
    values = {name: value.replace('"', "") for name, value in values.items() if name not in known}
    text = "[\n" + "".join(f'{name}="{value}";\n' for name, value in values.items()) + "]\n"
    assert read_description(text).others == values
