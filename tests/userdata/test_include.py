"""What a user-data wants from elsewhere: said while it is missing, and read once it is there."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.userdata.conftest import findings, values
from ucvm_agent.sources.base import Fetched, Found
from ucvm_agent.userdata.context import Context, Include, Place, Severity
from ucvm_agent.userdata.decode import decode
from ucvm_agent.userdata.excerpt import excerpt
from ucvm_agent.userdata.include import MAX_DEPTH, MAX_URLS, shown_url

A, B, C = "https://example.org/a", "https://example.org/b?token=hush", "s3://bucket/c"


def read(text: str, included: Mapping[str, str] | None = None, source: str = "ec2") -> Context:
    fetched = {url: Fetched(data.encode()) for url, data in (included or {}).items()}
    return decode(Found(source, "test", text.encode(), included=fetched))


def test_what_is_missing_is_said_with_its_place() -> None:
    """Comments are none; a URL may follow the marker; a later #include ends the #include-once."""
    text = f"#include {A}\n# {C}\n\n#include-once\n  {B} \n#Include\n{C}\n"
    assert read(text).includes == (
        Include(A, once=False, local=False, place=Place("user-data", 1, 10)),
        Include(B, once=True, local=False, place=Place("user-data", 5, 3)),
        Include(C, once=False, local=False, place=Place("user-data", 7, 1)),
    )


def test_what_is_included_is_user_data_again() -> None:
    """In any format, packed or not, and with includes of its own; each is a part named by its URL."""
    packed = gzip.compress(b"[cernvm]\nusers=a:b:\n")
    fetched = {
        A: Fetched(f"#include\n{B}\n".encode()),
        B: Fetched(packed),
        C: Fetched(b"#cloud-config\nhostname: c\n"),
    }
    context = decode(Found("ec2", "test", f"#include\n{A}\n{C}\n".encode(), included=fetched))
    assert values(context) == {"hostname": "c", "[cernvm]": {"users": "a:b:"}}
    assert [part.name for part in context.parts] == ["user-data", A, "https://example.org/b", C]
    assert context.place(("hostname",)) == Place(C, 2, 1)
    assert (context.problems, context.includes) == ((), ())


def test_scripts_run_in_the_order_of_their_urls() -> None:
    """As cloud-init runs them, which numbers what it fetches."""
    context = read(f"#include\n{C}\n{A}\n", {A: "#!/bin/sh\n", C: "#!/bin/sh\n"})
    assert [script.place.part for script in context.scripts] == [C, A]


def test_the_digest_tells_another_text_at_the_same_url() -> None:
    """So that the plan is another one."""
    first, second = (read(f"#include {A}\n", {A: text}) for text in ("#!/bin/sh\n", "#!/bin/bash\n"))
    assert first.digest != second.digest


def test_what_cannot_be_had_is_an_error_without_its_query() -> None:
    """Nor does the line that is shown with it hold the query, which may be a token."""
    fetched = {B: Fetched(None, "the server answered 403", "ask for another token")}
    context = decode(Found("ec2", "test", f"#include\n{B}\n".encode(), included=fetched))
    (problem,) = context.problems
    assert problem.severity is Severity.ERROR
    assert problem.message == "https://example.org/b cannot be included: the server answered 403"
    assert excerpt(context, problem.place) == "https://example.org/b?***"


def test_an_earlier_copy_is_used_with_a_warning() -> None:
    """It may be old."""
    context = decode(
        Found("ec2", "test", f"#include {A}\n".encode(), included={A: Fetched(b"#cloud-config\na: 1\n", "dark")})
    )
    assert values(context) == {"a": 1}
    assert findings(context) == [(Severity.WARNING, 1, f"an earlier copy of {A} is used: dark")]


def test_a_loop_ends() -> None:
    """And the line that closes it is named."""
    context = read(f"#include {A}\n", {A: f"#include {C}\n", C: f"#cloud-config\nx: 1\n#include {A}\n"})
    assert values(context) == {"x": 1}
    context = read(f"#include {A}\n", {A: f"#include {C}\n", C: f"#include {A}\n"})
    assert findings(context) == [(Severity.ERROR, 1, f"{A} is not included: it includes itself")]


def test_depth_is_bounded() -> None:
    """Three inside each other are enough."""
    urls = [f"https://example.org/{number}" for number in range(MAX_DEPTH + 2)]
    included = {url: f"#include {inner}\n" for url, inner in pairwise(urls)}
    context = read(f"#include {urls[0]}\n", included)
    assert context.includes == ()
    assert [message for _, _, message in findings(context)] == [
        f"{urls[MAX_DEPTH]} is not included: includes are nested more than {MAX_DEPTH} deep"
    ]


def test_number_is_bounded() -> None:
    """Whatever comes after it is named, and the rest is read."""
    urls = [f"https://example.org/{number}" for number in range(MAX_URLS + 1)]
    text = "#include\n" + "\n".join(urls)
    context = read(text)
    assert len(context.includes) == MAX_URLS
    context = read(text, dict.fromkeys(urls[:MAX_URLS], ""))
    assert context.includes == ()
    assert f"{urls[-1]} is not included: there are more than {MAX_URLS} URLs" in [m for _, _, m in findings(context)]


def test_only_a_local_file_leads_to_local_files() -> None:
    """A web page that names a file of this machine is not local."""
    text = f"#include\nfile:///etc/a\n{A}\n"
    included = {"file:///etc/a": "#include file:///etc/b\n", A: "#include file:///etc/c\n"}
    context = read(text, included, source="file")
    assert {include.url: include.local for include in context.includes} == {
        "file:///etc/b": True,
        "file:///etc/c": False,
    }
    assert [include.local for include in read(text).includes] == [False, False]


def test_what_the_local_file_names_elsewhere_is_not_local() -> None:
    """A context of CernVM Online over it reaches no file of this machine."""
    found = Found("file", "test", b"#include file:///a\n", overlay=b"#include file:///b\n")
    assert [(include.url, include.local) for include in decode(found).includes] == [
        ("file:///a", True),
        ("file:///b", False),
    ]


@given(st.text())
def test_any_text_after_the_marker_is_read(text: str) -> None:
    """Without any exception."""
    context = read(f"#include\n{text}")
    fetched = {each.url: Fetched(None, "no") for each in context.includes}
    decode(Found("ec2", "test", f"#include\n{text}".encode(), included=fetched))


@pytest.mark.parametrize("url", ["https://u:hush@example.org/x?hush#hush", "https://[hush"])
def test_a_shown_url_holds_no_secret(url: str) -> None:
    """Neither credentials nor query nor fragment."""
    assert "hush" not in shown_url(url)
