"""The bootloader's block: the reference's vectors, and what was meant where the shell did something else."""

from __future__ import annotations

import pytest

from tests.userdata.conftest import Decode, findings, lines_of, values
from ucvm_agent.userdata.context import UCERNVM


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("resize_rootfs=Off", "resize_rootfs", "0"),
        ("useglideinWMS=FALSE", "useglideinwms", "0"),
        ("cvmfs_tag=on", "cvmfs_tag", "1"),
        ("cernvm_inject=H4sI==", "cernvm_inject", "H4sI=="),
        ('cvmfs_http_proxy="http://a:3128;DIRECT"', "cvmfs_http_proxy", "http://a:3128;DIRECT"),
        ("cvmfs_http_proxy='http://a:3128|$x'", "cvmfs_http_proxy", "http://a:3128|$x"),
    ],
)
def test_values_are_read_like_the_original(read: Decode, line: str, key: str, value: str) -> None:
    """Words for yes and no become digits, one pair of quotes is taken off."""
    context = read(f"[ucernvm-begin]\n{line}\n[ucernvm-end]\n")
    assert values(context) == {UCERNVM: {key: value}}
    assert findings(context) == []


@pytest.mark.parametrize(
    ("text", "expected", "line", "message"),
    [
        ("resize_rootfs=off \n[ucernvm-end]\n", {"resize_rootfs": "0"}, 2, "more around it"),
        ("p=http://a:3128;DIRECT\n[ucernvm-end]\n", {"p": "http://a:3128;DIRECT"}, 2, "the shell read it"),
        ('p="$(reboot)"\n[ucernvm-end]\n', {"p": "$(reboot)"}, 2, "the shell read it"),
        ("key = v\n[ucernvm-end]\n", {"key": "v"}, 2, "blanks around the = of key"),
        ("cvmfs_path=cvm4\n[ucernvm-end]\n", {"cernvm_path": "cvm4"}, 2, "taken for cernvm_path"),
        ("cvmfs_path=a\ncernvm_path=b\n[ucernvm-end]\n", {"cernvm_path": "b"}, 2, "has no effect beside"),
        ("a=1\na=2\n[ucernvm-end]\n", {"a": "2"}, 3, "line 2 has no effect"),
        ("alone\n[ucernvm-end]\n", {}, 2, "expected key=value"),
        ("a=1\n", {"a": "1"}, 1, "has no [ucernvm-end]"),
    ],
)
def test_defects_are_understood_with_a_warning(
    read: Decode, text: str, expected: dict[str, str], line: int, message: str
) -> None:
    """Nothing is evaluated; what was meant is taken."""
    context = read(f"[ucernvm-begin]\n{text}")
    assert values(context) == {UCERNVM: expected}
    ((_, found_line, found),) = findings(context)
    assert found_line == line
    assert message in found


def test_carriage_returns_do_not_hide_the_block(read: Decode) -> None:
    """The original did not find such a block at all."""
    context = read("[ucernvm-begin]\r\ncvmfs_tag=HEAD\r\n[ucernvm-end]\r\n")
    assert values(context) == {UCERNVM: {"cvmfs_tag": "HEAD"}}
    assert [line for _, line, _ in findings(context)] == [1, 3]


def test_the_second_block_is_ignored(read: Decode) -> None:
    """As in the original, with a warning where it begins."""
    context = read("[ucernvm-begin]\na=1\n[ucernvm-end]\n\n[ucernvm-begin]\na=2\n[ucernvm-end]\n")
    assert values(context) == {UCERNVM: {"a": "1"}}
    assert [line for _, line, _ in findings(context)] == [5]


def test_a_section_ends_an_open_block(read: Decode) -> None:
    """Without an end marker the block does not take what follows with it."""
    context = read("[ucernvm-begin]\na=1\n[cernvm]\nb=2")
    assert values(context) == {UCERNVM: {"a": "1"}, "[cernvm]": {"b": "2"}}
    assert lines_of(context, "[cernvm]") == {"b": 4}


def test_the_last_line_may_lack_its_line_feed(read: Decode) -> None:
    """The original lost it."""
    context = read("[ucernvm-begin]\na=1")
    assert values(context) == {UCERNVM: {"a": "1"}}
    assert "without a line feed" in findings(context)[1][2]
