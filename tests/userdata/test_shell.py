"""Where a line of a shell script begins inside a quotation."""

from __future__ import annotations

import tracemalloc

import pytest

from ucvm_agent.userdata.shell import Quotation


@pytest.mark.parametrize(
    ("line", "inside"),
    [
        (r'"it\"s" \" \'', False),
        ('echo "a\\', True),
        ("'a\\' b", False),
        ("'\\'' '", False),
        ("a # don't", False),
        ("a#'b", True),
        ("cat <<'A B' <<-C", True),
        ("cat <<< x $((1<<2))", False),
        ("'' " * 3000 + "'", True),
        ("\\' " * 3000, False),
        ('"' + '\\"' * 3000 + '"', False),
    ],
)
def test_quotations_and_here_documents_are_noticed(line: str, inside: bool) -> None:
    """Escaped quotes, quotes in quotations and in comments count as the shell counts them, however many they are."""
    quotation = Quotation()
    quotation.read(line)
    assert quotation.inside is inside


@pytest.mark.parametrize("line", ["''", '"\\"', "\\'", '"\\n"', '"' + "\\\\" * 4])
def test_a_long_line_takes_little_memory(line: str) -> None:
    """Nothing is remembered for each quotation or escape."""
    text = line * 100_000
    tracemalloc.start()
    try:
        Quotation().read(text)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
