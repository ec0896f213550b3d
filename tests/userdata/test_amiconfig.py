"""amiconfig sections: the original's rules, and what was meant where it had defects."""

from __future__ import annotations

import pytest

from tests.userdata.conftest import Decode, findings, values
from ucvm_agent.userdata.context import Severity


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("screenRes=1", {"screenres": "1"}),
        ("proxy : x", {"proxy": "x"}),
        ("http://x", {"http": "//x"}),
        ("key = a = b", {"key": "a = b"}),
        ('key=""', {"key": ""}),
        ('key="a b"', {"key": '"a b"'}),
        ("key=", {"key": ""}),
        ("proxy=http://a:3128;DIRECT", {"proxy": "http://a:3128;DIRECT"}),
        ("icons=a,b64%c,b64 %(x)s", {"icons": "a,b64%c,b64 %(x)s"}),
        ("key=a # b", {"key": "a # b"}),
        ("key=a\r", {"key": "a"}),
        ("# a = b", {}),
        ("; a: b", {}),
        ("REM a=b", {}),
        ("remark=b", {"remark": "b"}),
        ("    ", {}),
    ],
)
def test_lines_mean_what_they_meant(read: Decode, line: str, expected: dict[str, str]) -> None:
    """Each line that the original understood is understood alike, without a word."""
    context = read(f"[cernvm]\n{line}\n")
    assert values(context) == {"[cernvm]": expected}
    assert findings(context) == []


@pytest.mark.parametrize(
    ("text", "expected", "line", "message"),
    [
        ("[CernVM]\na=b", {"[cernvm]": {"a": "b"}}, 1, "the original failed on the section"),
        ("[AmiConfig]\na=b", {"[amiconfig]": {"a": "b"}}, 1, "the original stopped altogether"),
        ("[cernvm] x\na=b", {"[cernvm]": {"a": "b"}}, 1, "what follows [cernvm] on its line is ignored"),
        ("[ cernvm ]\na=b", {"[cernvm]": {"a": "b"}}, 1, "blanks inside the brackets"),
        ("[a]\nx=1 ;2", {"[a]": {"x": "1 ;2"}}, 2, "[a] x is kept whole"),
        ("[amiconfig]\nplugins=a, b", {"[amiconfig]": {"plugins": "a b"}}, 2, "the original knew no commas"),
        ("[a]\nx=1\n y=2\n z=3", {"[a]": {"x": "1"}}, 3, "an indented line has no effect"),
        ("[a]\nalone", {"[a]": {}}, 2, "a line that is no option has no effect"),
        ("[a]\n[ -f x ] && y=1\nb=c", {"[a]": {"b": "c"}}, 2, "begins like a section"),
        ("[a]\nx=1\nX=2", {"[a]": {"x": "2"}}, 3, "line 2 has no effect"),
        ("[a]\n[DEFAULT]\nx=1", {"[a]": {}}, 2, "[DEFAULT] has no effect"),
    ],
)
def test_defects_are_understood_with_a_warning(
    read: Decode, text: str, expected: dict[str, dict[str, str]], line: int, message: str
) -> None:
    """What was meant is taken, and the warning names the line and what the original did."""
    context = read(f"{text}\n")
    assert values(context) == expected
    ((severity, found_line, found),) = findings(context)
    assert (severity, found_line) == (Severity.WARNING, line)
    assert message in found


def test_sections_that_come_again_are_united(read: Decode) -> None:
    """The last value of an option wins."""
    assert values(read("[a]\nx=1\ny=1\n[b]\nz=1\n[a]\nx=2\n")) == {"[a]": {"x": "2", "y": "1"}, "[b]": {"z": "1"}}
