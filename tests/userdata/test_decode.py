"""Decoding as a whole: two documents, and anything at all."""

from __future__ import annotations

import base64
import gzip
import hashlib
import subprocess
import sys
from functools import partial

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.userdata.conftest import Decode, findings, values
from ucvm_agent.errors import UserDataError
from ucvm_agent.sources.base import Found, Metadata
from ucvm_agent.userdata.context import UCERNVM, Context, Severity
from ucvm_agent.userdata.decode import decode
from ucvm_agent.userdata.excerpt import WIDTH, caret, excerpt


@pytest.mark.parametrize("data", [None, b""])
def test_no_user_data_is_an_empty_context(data: bytes | None) -> None:
    """And no problem: the instance was simply not told anything."""
    metadata = Metadata(instance_id="i-1")
    context = decode(Found("ec2", "test", data, metadata=metadata))
    assert context == Context(digest=hashlib.sha256().hexdigest(), metadata=metadata)


def test_the_digest_is_that_of_the_raw_bytes() -> None:
    """With the vendor's after the user's."""
    packed = gzip.compress(b"[a]\n", mtime=0)
    context = decode(Found("ec2", "test", packed, vendor_data=b"[b]\n"))
    assert context.digest == hashlib.sha256(packed + b"[b]\n").hexdigest()


def test_the_user_overrules_the_vendor() -> None:
    """Key by key and option by option; the vendor's scripts come first."""
    vendor = b"#!/bin/sh\nexit 0\n[cernvm]\na=1\nb=1\n[ucernvm-begin]\nc=1\n[ucernvm-end]\n#cloud-config\nx: 1\ny: 1\n"
    user = b"#!/bin/sh\nexit 1\n[cernvm]\nb=2\n[ucernvm-begin]\nd=2\n[ucernvm-end]\n#cloud-config\ny: 2\n"
    context = decode(Found("ec2", "test", user, vendor_data=vendor))
    assert values(context) == {"x": 1, "y": 2, "[cernvm]": {"a": "1", "b": "2"}, UCERNVM: {"c": "1", "d": "2"}}
    assert context.places[("[cernvm]", "a")].part == "vendor-data"
    assert context.places[("[cernvm]", "b")].part == "user-data"
    assert [script.name for script in context.scripts] == ["vendor-data", "user-data"]
    assert context.problems == ()


def test_the_context_that_the_user_data_name_overrules_them_and_costs_nothing_of_the_rest() -> None:
    """Not the vendor's part either; extra user-data overrule it in turn."""
    texts = [b"#cloud-config\n" + b"".join(b"%d: %d\n" % (key, n) for key in range(n, 4)) for n in range(4)]
    vendor, user, overlay, extra = texts
    found = Found("file", "test", base64.b64encode(user), vendor, base64=True, overlay=overlay, extra_data=extra)
    context = decode(found)
    assert values(context) == {str(key): key for key in range(4)}
    assert [part.name for part in context.parts] == ["vendor-data", "user-data", "online-user-data", "extra-user-data"]


@pytest.mark.parametrize("data", [b"\x00\x01\x02\x03", bytes(range(256)), b"\x89PNG\r\n\x1a\n" + b"\xff\xfe\xfd" * 99])
def test_binary_data_are_one_error(read: Decode, data: bytes) -> None:
    """And no exception."""
    context = read(data)
    assert values(context) == {}
    ((severity, _, message),) = findings(context)
    assert severity is Severity.ERROR
    assert "binary data" in message


@pytest.mark.parametrize("text", ["# begin here\n\n", "\n \n", "#cloud-config\n"])
def test_a_context_that_says_nothing_gets_a_note(text: str, read: Decode) -> None:
    """Its writer may think otherwise."""
    assert findings(read(text)) == [(Severity.NOTE, 0, "there is nothing in the user-data")]


def test_utf16_without_its_mark_is_told(read: Decode) -> None:
    """Nobody has to guess why a text is binary data."""
    assert read("#cloud-config\n".encode("utf-16-le")).problems[0].hint == "save it as UTF-8"


@pytest.mark.parametrize("first", ["<!DOCTYPE html>", "<html>", '<?xml version="1.0"?>\n<html>'])
def test_a_web_page_is_an_error(first: str, read: Decode) -> None:
    """Something in between has answered instead of the metadata service."""
    assert [severity for severity, _, _ in findings(read(f"{first}\n</html>\n"))] == [Severity.ERROR]


@pytest.mark.parametrize("line", ["#part-handler"])
def test_what_is_not_supported_yet_says_so(read: Decode, line: str) -> None:
    """What stands beside it still counts."""
    context = read(f"{line}\nx\n[cernvm]\na=b\n")
    assert values(context) == {"[cernvm]": {"a": "b"}}
    ((severity, found_line, message),) = findings(context)
    assert (severity, found_line) == (Severity.ERROR, 1)
    assert message.startswith("not supported yet: ")


def test_other_character_sets_are_read_or_named(read: Decode) -> None:
    """UTF-16 by its mark; a stray byte is replaced where it stands."""
    assert values(read("[cernvm]\na=ä\n".encode("utf-16"))) == {"[cernvm]": {"a": "ä"}}
    context = read("[cernvm]\na=ä\n".encode("latin-1"))
    assert values(context) == {"[cernvm]": {"a": "\ufffd"}}
    assert (context.problems[0].place.line, context.problems[0].place.column) == (2, 3)


def test_a_character_set_that_spells_half_a_character(read: Decode) -> None:
    """UTF-7 can; no file and no journal could hold it."""
    header = "MIME-Version: 1.0\nContent-Type: text/x-shellscript; charset=utf-7\n\n"
    (script,) = read(f"{header}#!/bin/sh\necho +2AA-\n").scripts
    assert script.text == b"#!/bin/sh\necho ?\n"


def test_bytes_in_an_archive(read: Decode) -> None:
    """They are what the script has, although they are no text."""
    encoded = base64.b64encode(b"#!/bin/sh\n: \xff\n").decode()
    (script,) = read(f"#cloud-config-archive\n- content: !!binary {encoded}\n").scripts
    assert script.text == b"#!/bin/sh\n: \xff\n"


@pytest.mark.parametrize("mergers", ["[{name: list, settings: 5}]", "[{name: list, settings: append}]"])
def test_settings_of_mergers_that_are_none(mergers: str, read: Decode) -> None:
    """They are told, and the keys replace those before them."""
    context = read(f"#cloud-config\na: 1\nmerge_how: {mergers}\n")
    assert values(context) == {"a": 1}
    assert findings(context) == [(Severity.WARNING, 3, "cannot merge like this: the settings of a merger are a list")]


def test_a_parameter_that_the_email_package_cannot_read(read: Decode) -> None:
    """Its number is longer than Python takes; the part is read without it."""
    header = f"MIME-Version: 1.0\nContent-Type: text/amiconfig; name*{'9' * 5000}=x\n"
    assert values(read(f"{header}\n[cernvm]\na=b\n")) == {"[cernvm]": {"a": "b"}}


def test_cloud_config_without_its_first_line_is_explained(read: Decode) -> None:
    """The hint says what is missing."""
    (problem,) = read("hostname: a\n").problems
    assert "begin it with a line #cloud-config" in problem.hint


def test_yaml_is_loaded_only_when_it_is_there() -> None:
    """A dry run of a context without cloud-config starts faster without it."""
    program = """
import sys
from functools import partial
from ucvm_agent.sources.base import Found
from ucvm_agent.userdata.decode import decode
decode(Found("file", "test", b"#!/bin/sh\\nexit 0\\n[cernvm]\\na=b\\n"))
print(sorted({"yaml", "email.parser", "pydantic"} & set(sys.modules)))
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout.strip() == "[]"


def test_problems_are_bounded(read: Decode) -> None:
    """A damaged document does not make a report of its own size."""
    context = read("[a]\n" + "x=1\nalone\n" * 1_000)
    assert len(context.problems) < 250
    assert context.problems[-1].message.endswith("problems of severity warning are not listed")


LINES = st.sampled_from(
    [
        *[
            "#!/bin/sh",
            "#!/bin/sh.before",
            "exit 0",
            "cat <<EOF",
            "EOF",
            "[ -f x ] && y",
            "echo 'a",
            "\"'",
            "\\",
            "x=$#",
        ],
        *["[cernvm]", "[CernVM] x", "[ a ]", "[DEFAULT]", "users=a:b:c,d", "a : b ;c", "plugins=a,b", " c", "rem a=b"],
        *["[ucernvm-begin]", "[ucernvm-end]", "[ucernvm-begin] \r", "key = v", "a='b'", "resize_rootfs=off"],
        *[
            "#cloud-config",
            "users:",
            "- name: b",
            "  - &a {x: *a}",
            "k: |",
            "  text",
            "a: [",
            "b: !x 1",
            "<<: *a",
            "\t- x",
        ],
        *[
            "#cloud-config-archive",
            "- content: 'a: 1'",
            "#include",
            "#cloud-boothook",
            "merge_how: list(append)",
            "merge_how: [{name: list, settings: 5}]",
            "- {content: !!binary /+A=, filename: !!binary /+A=}",
            "k: 1",
        ],
        *["MIME-Version: 1.0", "Content-Type: multipart/mixed; boundary=b", "--b", "--b--", "From nobody", "====", ""],
        *[
            "Content-Type: text/x-shellscript; charset=utf-7",
            f"Content-Disposition: x; filename*{'9' * 5000}=a",
            "+2AA-",
        ],
        *["Content-Type: text/x-shellscript", "Content-Transfer-Encoding: base64", "I2Nsb3VkLWNvbmZpZwph", "é\ud800\0"],
    ]
)
TEXTS = st.tuples(st.lists(LINES, max_size=30), st.sampled_from(["\n", "\r\n"])).map(
    lambda drawn: drawn[1].join(drawn[0]).encode("utf-8", "surrogatepass")
)


def multipart(parts: list[bytes]) -> bytes:
    head = b"From nobody\nContent-Type: multipart/mixed; boundary=o\nMIME-Version: 1.0\n\n"
    return head + b"".join(b"--o\nContent-Transfer-Encoding: base64\n\n" + base64.b64encode(p) + b"\n" for p in parts)


DOCUMENTS = st.recursive(
    TEXTS | st.binary(max_size=200),
    lambda inner: st.one_of(
        inner.map(partial(gzip.compress, mtime=0)),
        inner.map(base64.b64encode),
        st.lists(inner, max_size=3).map(multipart),
        st.tuples(inner, st.integers(0, 99)).map(lambda drawn: gzip.compress(drawn[0], mtime=0)[: -1 - drawn[1]]),
    ),
    max_leaves=6,
)


@settings(max_examples=400)
@given(user=DOCUMENTS, vendor=st.none() | TEXTS, said=st.booleans())
@example(user=b"Content-Type: text/x-shellscript\n  - x\nMIME-Version: 1.0", vendor=None, said=False)
def test_nothing_makes_it_fail_otherwise(user: bytes, vendor: bytes | None, said: bool) -> None:
    """Any input yields a context whose findings can be shown, or an error of the user-data."""
    try:
        context = decode(Found("file", "test", user, vendor_data=vendor, base64=said))
    except UserDataError:
        return
    for problem in context.problems:
        assert problem.message.isprintable()
        assert len(excerpt(context, problem.place)) <= WIDTH
        assert 0 <= caret(context, problem.place) <= WIDTH + 1
    for key in context.values:
        assert (key,) in context.places
    assert len({script.name for script in context.scripts}) == len(context.scripts)
    for script in context.scripts:
        assert script.text.startswith(b"#!")
        assert "/" not in script.name
    repr(values(context)).encode()


def test_extra_user_data_overrules_the_users_keys(read: Decode) -> None:
    """It is read last, has a name of its own in problems, and its scripts run last."""
    context = read(
        "#cloud-config\nhostname: user\nlocale: C\n",
        vendor_data=b"#cloud-config\nhostname: vendor\ntimezone: UTC\n",
        extra_data=b"[cernvm]\nproxy=extra\n[ucernvm-begin]\nresize_rootfs=off\n[ucernvm-end]\n",
    )
    assert values(context)["hostname"] == "user"
    assert values(context)["[cernvm]"] == {"proxy": "extra"}
    assert context.place(("[cernvm]", "proxy")).part == "extra-user-data"
    mixed = read("[cernvm]\nproxy=user\nusers=a:b:\n", extra_data=b"[cernvm]\nproxy=extra\n")
    assert values(mixed)["[cernvm]"] == {"proxy": "extra", "users": "a:b:"}
    both = read("#cloud-config\nhostname: user\n", extra_data=b"#cloud-config\nhostname: extra\n")
    assert values(both)["hostname"] == "extra"
    scripts = read("#!/bin/sh\n: user\n", extra_data=b"#!/bin/sh\n: extra\n").scripts
    assert [b"extra" in script.text for script in scripts] == [False, True]
    assert both.digest != read("#cloud-config\nhostname: user\n").digest
