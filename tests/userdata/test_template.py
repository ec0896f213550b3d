"""Templates are filled in with what the platform says, and reach nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.userdata.conftest import findings, values
from ucvm_agent.errors import BoundExceeded
from ucvm_agent.sources.base import Found, Metadata
from ucvm_agent.userdata.bounds import MAX_TEMPLATES
from ucvm_agent.userdata.context import Context, Severity
from ucvm_agent.userdata.decode import decode
from ucvm_agent.userdata.jinja import fill

METADATA = Metadata(instance_id="i-1", hostname="worker-1", region="eu-1", zone="eu-1a", public_keys=("ssh-rsa A",))


def read(text: str) -> Context:
    return decode(Found("ec2", "http://169.254.169.254", f"## template: jinja\n{text}".encode(), metadata=METADATA))


def test_a_template_knows_its_instance() -> None:
    """By cloud-init's names, with `-` as well as with `_`."""
    names = [
        "v1.instance_id",
        "instance_id",
        "v1['instance-id']",
        "ds.meta_data.instance_id",
        "ds.meta_data['instance-id']",
    ]
    lines = [f"k{number}: '{{{{ {name} }}}}'" for number, name in enumerate(names)]
    context = read("#cloud-config\n{% if v1.region == 'eu-1' %}\n" + "\n".join(lines) + "\n{% endif %}\n")
    assert values(context) == {f"k{number}": "i-1" for number in range(len(names))}
    assert context.problems == ()


def test_scripts_can_be_templates() -> None:
    """Byte by byte, but for what is filled in."""
    (script,) = read("#!/bin/sh\necho {{ v1.local_hostname }} {{ v1.availability_zone }}\n").scripts
    assert script.text == b"#!/bin/sh\necho worker-1 eu-1a\n"


@pytest.mark.parametrize("line", ["## template:jinja", "##template: jinja", "## template : Jinja2 "])
def test_the_first_line_is_understood_in_other_spellings(line: str) -> None:
    """With a warning, since cloud-init would have taken it for a comment."""
    context = decode(Found("ec2", "", f"{line}\n#cloud-config\na: {{{{ v1.region }}}}\n".encode(), metadata=METADATA))
    assert values(context) == {"a": "eu-1"}
    assert [(severity, line) for severity, line, _ in findings(context)] == [(Severity.WARNING, 1)]


def test_a_template_without_its_first_line_is_told_what_it_lacks() -> None:
    """YAML takes the braces for a mapping in a mapping."""
    context = decode(Found("ec2", "", b"#cloud-config\na: {{ v1.region }}\n"))
    (problem,) = context.problems
    assert problem.hint == "put quotes around it; a template begins with a line ## template: jinja"


def test_a_name_without_a_value_is_told() -> None:
    """It stands there as cloud-init has it; in a condition it is false."""
    text = "#cloud-config\na: {{ v1.nothing }}\nb: {{ ds.x.y.z }}\nc: {{ 1 if v1.nothing else 2 }}\n"
    context = read(text)
    assert values(context) == {"a": "CI_MISSING_JINJA_VAR/nothing", "b": "CI_MISSING_JINJA_VAR/x.y.z", "c": 2}
    assert [(severity, line) for severity, line, _ in findings(context)] == [
        (Severity.WARNING, 3),
        (Severity.WARNING, 4),
    ]


def test_a_misspelt_name_is_told_with_what_was_meant() -> None:
    """Where it stands."""
    context = read("#cloud-config\ntext: {{ v1.local_hostnam }}\n")
    found = next(problem for problem in context.problems if "local_hostnam" in problem.message)
    assert (found.place.line, found.place.column, found.hint) == (3, 13, "did you mean local_hostname?")
    bare = decode(Found("file", "x", b"## template: jinja\n#cloud-config\na: {{ v1.regio }}{{ v1.region }}\n"))
    assert [problem.hint for problem in bare.problems] == ["did you mean region?", "test it with {% if %}"]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: {{ v1.\n", 4, "expected name or number"),
        ("a: {{ v1.region hunter2 }}\n", 3, "expected token 'end of print statement'"),
        ("a: 1\nb: {{ v1.region | uper }}\n", 4, "No filter named 'uper'"),
        ("{% for x in [1] %}\na: {{ x }}\n", 4, "Jinja was looking for the following tags: 'endfor'"),
        ("a: 1\nb: {{ 1 / 0 }}\n", 4, "ZeroDivisionError"),
        ("a: 1\nb: {{ 'hunter2' | int('x') * 'y' }}\n", 4, "texts and lists are not multiplied here"),
    ],
)
def test_a_mistake_in_a_template_has_its_line_and_its_reason(text: str, line: int, words: str) -> None:
    """And what is not filled in is not used; what may be a secret is not repeated."""
    context = read(f"#cloud-config\n{text}")
    assert values(context) == {}
    (problem,) = context.problems
    assert (problem.severity, problem.place.line) == (Severity.ERROR, line)
    assert words in problem.message
    assert "hunter2" not in problem.message


def test_a_mistake_in_what_comes_of_a_template_has_its_line_there() -> None:
    """Since that is what was read."""
    (problem,) = read("#cloud-config\n{# nothing\n#}a: 1\nb: [\n").problems
    assert (problem.place.part, problem.place.line) == ("user-data filled in", 3)


@pytest.mark.parametrize(
    "expression",
    [
        "v1.__class__.__mro__",
        "''.__class__",
        "v1['__class__']",
        "v1 | attr('_x')",
        "v1.region.format.__globals__",
        "'%s' * 9**9",
        "[1] * 999999999",
        "2 ** 99999999",
        "1 / 0",
        "nothing()",
        "v1.keys.x.y()",
        "range(999999999)",
    ],
)
def test_a_template_reaches_nothing_but_its_data(expression: str) -> None:
    """Neither Python's insides nor all of the memory."""
    context = read(f'#cloud-config\na: "{{{{ {expression} }}}}"\n')
    assert len(findings(context)) == 1
    assert "class '" not in str(values(context))


@pytest.mark.parametrize(
    "loop",
    [
        "{% set x = namespace(t='xxxxxxxx') %}{% for a in range(99) %}{% set x.t = x.t ~ x.t %}{% endfor %}",
        "{{ 'x' | center(99999999999) }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    ],
)
def test_a_template_that_wants_all_memory_is_an_error(loop: str) -> None:
    """It takes none of the agent's."""
    assert [severity for severity, _, _ in findings(read(f"#cloud-config\n{loop}\n"))] == [Severity.ERROR]


def test_a_template_that_computes_for_ever_is_ended() -> None:
    """Though it never yields anything that could be counted."""
    with pytest.raises(BoundExceeded, match="too much time") as caught:
        read("#cloud-config\n{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}\n")
    assert caught.value.where == "user-data:1"


def test_number_of_templates_is_bounded() -> None:
    """Each may take its time."""
    text = "#cloud-config-archive\n" + "- '## template: jinja'\n" * (MAX_TEMPLATES + 1)
    with pytest.raises(BoundExceeded, match="templates"):
        decode(Found("ec2", "test", text.encode()))


def test_only_some_formats_can_be_templates() -> None:
    """As in cloud-init."""
    context = read("[cernvm]\na=b\n")
    assert [severity for severity, _, _ in findings(context)] == [Severity.ERROR]


@given(st.text(alphabet="{}%#v1.ab|'\"\n -"))
def test_any_template_is_read(text: str) -> None:
    """Without any exception."""
    filled = fill(text, {"v1": {"a": "b"}})
    assert (filled.text is None) == bool(filled.failure)
