"""cloud-config: values, places, and errors that say where."""

from __future__ import annotations

from typing import Any

import pytest

from tests.userdata.conftest import Decode, findings, values
from ucvm_agent.userdata.context import Place, Severity


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1", 1),
        ("a: 1.5", 1.5),
        ("a: yes", True),
        ("a: null", None),
        ("a:", None),
        ("a: 0644", 0o644),
        ("a: '0644'", "0644"),
        ("a: 22:30", "22:30"),
        ("a: 2026-01-02", "2026-01-02"),
        ("a: .nan", ".nan"),
        ("a: !!binary aGVsbG8=", "hello"),
        ("a: !!binary f0X/", "\x7fE\udcff"),
        ("a: {on: 1, 2: b, true: c}", {"on": 1, "2": "b", "true": "c"}),
        ("x: &x {b: 1, c: 2}\na: {<<: *x, c: 3}", {"b": 1, "c": 3}),
        ("x: &x [1]\na: [*x, *x]", [[1], [1]]),
        ("a: |\n  b\n   c\n", "b\n c\n"),
        ('a: "\\ud800"', None),
    ],
)
def test_values_are_what_was_meant(read: Decode, text: str, expected: Any) -> None:
    """YAML 1.1, but for what it never means well."""
    context = read(f"#cloud-config\n{text}\n")
    assert values(context).get("a") == expected


def test_each_value_has_its_place(read: Decode) -> None:
    """That of its key, or its own in a list."""
    context = read("#cloud-config\n\nusers:\n  - default\n  - name: ada\n    sudo: [a, b]\n")
    assert {path: (place.line, place.column) for path, place in context.places.items()} == {
        ("users",): (3, 1),
        ("users", 0): (4, 5),
        ("users", 1): (5, 5),
        ("users", 1, "name"): (5, 5),
        ("users", 1, "sudo"): (6, 5),
        ("users", 1, "sudo", 0): (6, 12),
        ("users", 1, "sudo", 1): (6, 15),
    }


def test_lines_are_counted_by_line_feeds(read: Decode) -> None:
    """Also where YAML sees more line breaks than an editor does."""
    context = read("#cloud-config\na: 'x\u2028y'\nb: 1\r\nc: 2\r\n")
    assert context.places[("b",)].line == 3
    assert context.places[("c",)] == Place("user-data", 4, 1)


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("a: [b\nc: d\n", 3, 2, "not valid YAML"),
        ("a: 'b\n", 2, 4, "not valid YAML"),
        ("a: b\n\tc: d\n", 3, 1, "not valid YAML"),
        ("a: b\n c: d\n", 3, 3, "not valid YAML"),
        ("a: *b\n", 2, 4, "not valid YAML"),
        ("a: \x07\n", 2, 4, "control character"),
        ("- a\n", 2, 1, "must be a mapping"),
        ("a: !x b\n", 2, 1, "tag"),
        ("a: !!python/object:os.system b\n", 2, 1, "tag"),
        ("[a]: b\n", 2, 1, "cannot be a key"),
        ("? [a]\n: b\n", 2, 3, "cannot be a key"),
        ("a: &a [*a]\n", 2, 4, "an alias stands inside"),
        ("a: {<<: 1}\n", 2, 5, "<< must stand for a mapping"),
        ("a: 1\n---\nb: 2\n", 3, 1, "not valid YAML"),
    ],
)
def test_errors_say_where(read: Decode, text: str, line: int, column: int, words: str) -> None:
    """One error with line and column, and never a traceback."""
    (problem,) = read(f"#cloud-config\n{text}").problems
    assert problem.severity is Severity.ERROR
    assert words in problem.message
    assert (problem.place.line, problem.place.column) == (line, column)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("a:\n- *b\n", "put quotes around a value that begins with *"),
        ("a: *.txt\n", "put quotes around a value that begins with *"),
        ("a: @b\n", "put quotes around a value that begins with @"),
        ("a: %b\n", "put quotes around a value that begins with %"),
        ("a: b: c\n", "put quotes around a value with a colon and a blank in it"),
        ("a:b\nc: d\n", "write a blank after the colon of the line before"),
        ("a:\u00a0b\nc: d\n", "line 2 has a blank that is none for YAML (U+00A0): write it again"),
        ("a:\n\t- b\n", "indent with blanks, not with tabs"),
        ("a: [b\nc: d\n", "look at the indentation and the quotes of this line and the one before"),
    ],
)
def test_common_mistakes_have_a_hint_of_their_own(read: Decode, text: str, hint: str) -> None:
    """What YAML's own words do not tell somebody who seldom writes it."""
    (problem,) = read(f"#cloud-config\n{text}").problems
    assert problem.hint == hint


def test_a_key_that_comes_again_is_a_warning(read: Decode) -> None:
    """The last one wins."""
    context = read("#cloud-config\na: 1\nb: 2\na: 3\n")
    assert values(context) == {"a": 3, "b": 2}
    assert findings(context) == [(Severity.WARNING, 4, "a is written again; line 2 has no effect")]


@pytest.mark.parametrize("line", ["# cloud-config", " #cloud-config", "#Cloud-Config "])
def test_the_first_line_is_understood_in_other_spellings(read: Decode, line: str) -> None:
    """With a warning, since cloud-init would have skipped the text."""
    context = read(f"{line}\nhostname: a\n")
    assert values(context) == {"hostname": "a"}
    assert [(severity, found) for severity, found, _ in findings(context)] == [(Severity.WARNING, 1)]


def test_errors_never_show_a_value(read: Decode) -> None:
    """A password that YAML cannot read stays secret."""
    for value in (
        "*hunter2",
        "%hunter2",
        "'hunter2",
        "@hunter2",
        "!hunter2 x",
        "[hunter2",
        "a: hunter2",
        "&hunter2 *b",
    ):
        for problem in read(f"#cloud-config\npassword: {value}\n").problems:
            assert "hunter2" not in problem.message + problem.hint


def archive(*parts: str) -> str:
    indented = ("".join(f"    {line}\n" for line in part.splitlines()) for part in parts)
    return "#cloud-config-archive\n" + "".join(f"- content: |\n{part}" for part in indented)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("", {"l": [2], "d": {"y": 2}, "s": "b"}),
        (
            "merge_how: list(append)+dict(recurse_list,recurse_dict)+str()",
            {"l": [1, 2], "d": {"x": 1, "y": 2}, "s": "a"},
        ),
        ("merge_type: list(prepend)+dict(recurse_list)+str()", {"l": [2, 1], "d": {"x": 1}, "s": "a"}),
        ("merge_how: dict(recurse_str)+str(append)", {"l": [1], "d": {"x": 1}, "s": "ab"}),
        (
            "merge_how: [{name: list, settings: [append]}, {name: dict, settings: [recurse_list]}]",
            {"l": [1, 2], "d": {"x": 1}, "s": "a"},
        ),
    ],
)
def test_parts_are_merged_as_the_later_one_says(read: Decode, how: str, expected: Any) -> None:
    """By default a later key replaces an earlier one."""
    context = read(archive("l: [1]\nd: {x: 1}\ns: a", f"l: [2]\nd: {{y: 2}}\ns: b\n{how}"))
    assert values(context) == expected
    assert findings(context) == []


def test_an_unknown_way_to_merge_is_a_warning(read: Decode) -> None:
    """And the default is used."""
    context = read(archive("l: [1]", "l: [2]\nmerge_how: lists(append)"))
    assert values(context) == {"l": [2]}
    assert [severity for severity, _, _ in findings(context)] == [Severity.WARNING]


def test_an_archive_holds_any_format(read: Decode) -> None:
    """By the type that is said, else by the first line."""
    text = (
        "#cloud-config-archive\n- '#!/bin/sh'\n- {type: text/ucernvm, content: 'a=b', filename: block}\n- 'c: d'\n- 3\n"
    )
    context = read(text)
    assert values(context) == {"c": "d", "[ucernvm-begin]": {"a": "b"}}
    assert [script.text for script in context.scripts] == [b"#!/bin/sh\n"]
    assert [part.name for part in context.parts] == ["user-data", "part-001", "block", "part-003"]
    assert findings(context) == [(Severity.ERROR, 5, "an item of the archive has no content")]
