"""How options are read from a context, and how mistakes in them are told."""

from __future__ import annotations

from textwrap import dedent
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, SecretStr

from ucvm_agent.contextualize.options import CommaList, Nested, Options, Reads, model_keys, read_options, unread
from ucvm_agent.sources.base import Found
from ucvm_agent.userdata.context import Context, Problem, freeze
from ucvm_agent.userdata.decode import decode


class Disk(Nested):
    """A mapping within the options."""

    name: str
    size: int = Field(1, ge=1)
    labels: tuple[str, ...] = ()
    mount_point: str = ""
    password: SecretStr | None = None


class CacheOptions(Options):
    """The options of a contextualizer `cache`."""

    size: int = 100
    names: CommaList = ()
    enabled: bool = True
    disks: Annotated[tuple[Disk, ...], Reads("disks")] = ()
    proxy: Annotated[str, Reads("proxy", "[cernvm] proxy")] = ""


class NeedyOptions(Options):
    """Options with one that has to be given."""

    size: int


def context(text: str) -> Context:
    """Return the context of a user-data."""
    return decode(Found("file", "test", dedent(text).lstrip("\n").encode()))


def read(text: str) -> tuple[CacheOptions, list[str]]:
    """Return the options, and the problems as `severity line: message (hint)`."""
    options, problems = read_options("cache", CacheOptions, context(text))
    assert options is not None
    return options, told(problems)


def told(problems: list[Problem]) -> list[str]:
    """Return the problems in the order of the text."""
    found = sorted(problems, key=lambda problem: problem.place)
    return [f"{each.severity} {each.place.line}: {each.message} ({each.hint})" for each in found]


def test_a_misspelt_end_of_the_bootloader_s_block() -> None:
    """It is no section that anybody reads, and yet what was meant."""
    text = "[ucernvm-begin]\ncvmfs_tag=x\n[ucernvm-ends]\n"
    assert told(unread(context(text), ["[ucernvm-begin] cvmfs_tag"])) == [
        "warning 3: nothing here reads the section [ucernvm-ends] (did you mean [ucernvm-end]?)"
    ]


@pytest.mark.parametrize("text", ["#cloud-config\ncache: {size: 7, names: [a, b]}\n", "[cache]\nsize=7\nnames=a, b\n"])
def test_options_come_from_both_dialects(text: str) -> None:
    """A field without keys of its own reads `cache:` and `[cache]`."""
    options, problems = read(text)
    assert (options.size, options.names) == (7, ("a", "b"))
    assert problems == []


def test_the_first_key_wins_and_the_other_is_warned_about() -> None:
    """Unless both say the same."""
    text = "[cernvm]\nproxy=http://b\n\n#cloud-config\nproxy: http://a\n"
    options, problems = read(text)
    assert options.proxy == "http://a"
    assert problems == ["warning 2: [cernvm] proxy: overruled by proxy (write the same value, or only one of them)"]
    assert read(text.replace("//b", "//a"))[1] == []


def test_a_wrong_value_keeps_its_default_and_the_others_count() -> None:
    """The message says what was expected, in words."""
    options, problems = read(
        "#cloud-config\ncache:\n  size: big\n  enabled: perhaps\n  names: {a: 1}\nproxy: http://a\n"
    )
    assert options == CacheOptions(proxy="http://a")
    assert problems == [
        "error 3: cache.size: expected a whole number ()",
        "error 4: cache.enabled: expected true or false ()",
        "error 5: cache.names: expected a list ()",
    ]


def test_a_wrong_item_is_left_out_alone_and_numbers_stay_those_of_the_text() -> None:
    """The innermost list decides how much is left out; what remains knows where it came from."""
    options, problems = read(
        """
        #cloud-config
        disks:
          - {name: a, size: 0}
          - {size: 5}
          - name: b
            labels: [x, [y], z]
          - {name: c, mount-point: /c, sise: 3}
          - no mapping
        """
    )
    assert [(disk.name, disk.labels, disk.mount_point) for disk in options.disks] == [
        ("b", ("x", "z"), ""),
        ("c", (), "/c"),
    ]
    assert [disk.origin for disk in options.disks] == [("disks", 2), ("disks", 3)]
    assert problems == [
        "error 3: disks[1].size: expected at least 1 ()",
        "error 4: disks[2].name: is missing ()",
        "error 6: disks[3].labels[2]: expected text ()",
        "warning 7: disks[4].sise: unknown key (did you mean size?)",
        "error 8: disks[5]: expected a mapping ()",
    ]


def test_an_option_that_has_to_be_given_is_missed() -> None:
    """Without it there are no options."""
    options, problems = read_options("needy", NeedyOptions, context("#cloud-config\n{}\n"))
    assert options is None
    assert [problem.message for problem in problems] == ["needy.size: is missing"]


def test_a_misspelt_secret_is_not_shown() -> None:
    """Neither by the problem nor by the model that holds it."""
    options, problems = read("#cloud-config\ndisks: [{name: a, pasword: geheim, password: geheim}, {name: [geheim]}]\n")
    assert "geheim" not in f"{options!r} {options} {problems}"


def test_keys_that_nobody_reads_are_warned_about() -> None:
    """With the nearest key that somebody reads, of the same section or mapping."""
    text = """
        [cache]
        sise=5
        [cashe]
        size=5
        colour=red
        [amildap]
        url=x
        base=y
        [workqueue]
        [cache]
        k=1

        #cloud-config
        cache: {naems: [a]}
        cashe: {size: 5}
        proxi: x
        packages: [vim]
        whatever: 1
    """
    assert told(unread(context(text), model_keys("cache", CacheOptions))) == [
        "warning 2: unknown key [cache] sise (did you mean [cache] size?)",
        "warning 3: nothing here reads the section [cashe] (did you mean [cache]?)",
        "warning 6: [amildap] is not supported by this agent (it has no effect)",
        "warning 9: [workqueue] is not supported by this agent (it has no effect)",
        "warning 11: unknown key [cache] k (it has no effect)",
        "warning 14: unknown key cache.naems (did you mean cache.names?)",
        "warning 15: unknown key cashe (did you mean cache?)",
        "warning 16: unknown key proxi (did you mean proxy?)",
        "warning 17: packages is not supported by this agent (install what you need in runcmd, or use it from CVMFS)",
        "warning 18: unknown key whatever (it has no effect)",
    ]


def test_a_value_in_place_of_a_mapping_is_told() -> None:
    """Its keys are known, but it has none."""
    problems = told(unread(context("#cloud-config\ncache: 7\n"), model_keys("cache", CacheOptions)))
    assert problems == ["warning 2: cache: expected a mapping (it has no effect)"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["name", "size", "labels", "mount-point", "password", "x"]), inner, max_size=4
        )
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["cache", "disks", "proxy", "[cache]", "[cernvm]"]), JSON))
def test_no_context_makes_it_fail(values: dict[str, Any]) -> None:
    """Whatever the values are: options, and a problem for each that was left out."""
    frozen = {key: freeze(value) for key, value in values.items()}
    options, problems = read_options("cache", CacheOptions, Context("digest", values=frozen))
    assert options is not None
    assert all(problem.message for problem in problems)
