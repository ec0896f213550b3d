"""Scripts: which interpreter line runs when, and what is run."""

from __future__ import annotations

import pytest

from tests.userdata.conftest import Decode, findings
from ucvm_agent.userdata.context import Frequency, Severity, Stage


@pytest.mark.parametrize(
    ("line", "rewritten", "stage", "warned"),
    [
        ("#!/bin/sh", "#!/bin/sh", Stage.AFTER, False),
        ("#!/bin/bash", "#!/bin/bash", Stage.AFTER, False),
        ("#!/bin/sh.before", "#!/bin/sh", Stage.BEFORE, False),
        ("#!/bin/sh.after", "#!/bin/sh", Stage.AFTER, False),
        ("#!/bin/bash.before -x", "#!/bin/bash -x", Stage.BEFORE, False),
        ("#!/bin/bash -e", "#!/bin/bash -e", Stage.AFTER, True),
        ("#!/usr/bin/env python3", "#!/usr/bin/env python3", Stage.AFTER, True),
        ("#!/bin/sh ", "#!/bin/sh ", Stage.AFTER, True),
        ("#!/bin/sh\r", "#!/bin/sh", Stage.AFTER, True),
        ("#!", "#!/bin/sh", Stage.AFTER, True),
    ],
)
def test_the_interpreter_line_says_when(read: Decode, line: str, rewritten: str, stage: Stage, warned: bool) -> None:
    """Lines that the original never ran are run after, with a warning."""
    end = "\r\n" if line.endswith("\r") else "\n"
    (script,) = (context := read(f"\n  \n{line.rstrip(chr(13))}{end}exit 0{end}")).scripts
    assert script.text == f"{rewritten}\nexit 0\n".encode()
    assert (script.stage, script.frequency, script.place.line) == (stage, Frequency.INSTANCE, 3)
    assert [severity for severity, _, _ in findings(context)] == [Severity.WARNING] * warned


def test_a_second_script_that_is_never_reached_is_warned_of(read: Decode) -> None:
    """By its line; what stands in a here-document, or can be reached, is part of the first."""
    context = read(
        "#!/bin/sh\ncat > f <<X\nexit 0\n#!/bin/sh\nX\n#!/bin/bash\nexit 0\n\n# next\n#!/bin/sh\necho second\n"
    )
    assert len(context.scripts) == 1
    assert [(severity, line) for severity, line, _ in findings(context)] == [(Severity.WARNING, 10)]


def test_a_script_may_carry_binary_data(read: Decode) -> None:
    """Byte for byte after its exit."""
    script = b"#!/bin/sh\ntail -n +3 $0 | tar x\nexit 0\n" + bytes(range(256)) * 4 + b"\n"
    assert [found.text for found in read(script).scripts] == [script]


@pytest.mark.parametrize(("text", "expected"), [("#!/bin/bash\na\n", "#!/bin/bash\na\n"), ("a\n", "#!/bin/sh\na\n")])
def test_a_boothook_runs_early_at_each_boot(read: Decode, text: str, expected: str) -> None:
    """By the shell if it names no interpreter."""
    (script,) = read(f"#cloud-boothook\n{text}").scripts
    assert (script.text, script.stage, script.frequency) == (expected.encode(), Stage.BEFORE, Frequency.BOOT)


PART = '--b\nContent-Type: {}\nContent-Disposition: attachment; filename="{}"\n\n{}\n'
HEAD = 'Content-Type: multipart/mixed; boundary="b"\nMIME-Version: 1.0\n\n'


def test_mime_types_say_how_often_and_names_in_which_order(read: Decode) -> None:
    """As cloud-init runs them; names are unique and usable as file names."""
    context = read(
        HEAD
        + PART.format("text/x-shellscript-per-once", "20 b", "#!/bin/bash -e\nb")
        + PART.format("text/x-shellscript-per-boot", "10-a", "#!/bin/sh\na")
        + PART.format("text/cloud-boothook", "30", "c")
        + PART.format("text/x-shellscript-per-instance", "20_b", "#!/bin/sh\nd")
        + PART.format("text/x-shellscript", "../x", "#cloud-config\nhostname: e")
        + "--b--\n"
    )
    assert [(script.name, script.frequency) for script in context.scripts] == [
        ("30", Frequency.BOOT),
        ("10-a", Frequency.BOOT),
        ("20_b", Frequency.ONCE),
        ("20_b-2", Frequency.INSTANCE),
    ]
    assert context.values["hostname"] == "e"
    assert context.problems == ()
