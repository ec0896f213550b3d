"""Layers around user-data: gzip, base64, MIME; and the bounds on them."""

from __future__ import annotations

import base64
import gzip
import time

import pytest

from tests.userdata.conftest import Decode, findings, values
from ucvm_agent.errors import BoundExceeded
from ucvm_agent.userdata.context import UCERNVM, Frequency, Severity, Stage

SECTIONS = b"[amiconfig]\nplugins=cernvm\n"
EXPECTED = {"[amiconfig]": {"plugins": "cernvm"}}

MESSAGE = """From nobody Tue Nov 24 21:00:00 2026
Content-Type: multipart/mixed; boundary="===1=="
MIME-Version: 1.0

This is a message in several parts.
--===1==
Content-Type: text/amiconfig-user-data; charset="us-ascii"
Content-Disposition: attachment; filename="sections"

[amiconfig]
plugins=cernvm
--===1==
Content-Type: text/cloud-config; charset="utf-8"
Content-Transfer-Encoding: base64
Content-Disposition: attachment; filename="../config yaml"

{config}
--===1==
Content-Type: multipart/mixed; boundary=inner

--inner
Content-Type: text/x-shellscript-per-boot
Content-Transfer-Encoding: quoted-printable

#!/bin/sh
echo a=3Db
--inner
Content-Type: text/ucernvm

cvmfs_tag=HEAD
--inner--
--===1==--
"""


def message(config: bytes) -> str:
    return MESSAGE.format(config=base64.encodebytes(config).decode())


def test_gzip_is_taken_off_by_its_magic_number(read: Decode) -> None:
    """Also twice, and in several members."""
    data = gzip.compress(gzip.compress(SECTIONS[:12], mtime=0) + gzip.compress(SECTIONS[12:], mtime=0))
    context = read(data)
    assert values(context) == EXPECTED
    assert context.places[("[amiconfig]", "plugins")].line == 2


@pytest.mark.parametrize("data", [gzip.compress(SECTIONS, mtime=0)[:-9], b"\x1f\x8b\x08rubbish"])
def test_damaged_gzip_is_an_error_of_its_own(read: Decode, data: bytes) -> None:
    """Half a document is not used."""
    context = read(data)
    assert values(context) == {}
    assert findings(context) == [(Severity.ERROR, 0, "the gzip data are damaged or cut short")]


def test_base64_is_taken_off_where_the_platform_says_so(read: Decode) -> None:
    """Without a word; and what is none is read as it is, with a warning."""
    context = read(base64.encodebytes(SECTIONS), base64=True)
    assert (values(context), findings(context)) == (EXPECTED, [])
    context = read(SECTIONS, base64=True)
    assert values(context) == EXPECTED
    assert [severity for severity, _, _ in findings(context)] == [Severity.WARNING]


@pytest.mark.parametrize(
    "inside", [SECTIONS, b"#!/bin/sh\n", gzip.compress(SECTIONS, mtime=0), b"MIME-Version: 1.0\n\n"]
)
def test_base64_is_guessed_and_reported(read: Decode, inside: bytes) -> None:
    """If it stands for something that begins like user-data."""
    assert [severity for severity, _, _ in findings(read(base64.b64encode(inside)))] == [Severity.NOTE]


@pytest.mark.parametrize("text", [b"hostname", base64.b64encode(b"hello world, this is prose")])
def test_other_words_are_not_taken_for_base64(read: Decode, text: bytes) -> None:
    """They are text that is skipped."""
    assert [message.partition(":")[0] for _, _, message in findings(read(text))] == ["a line skipped"]


def test_amiconfig_mime_is_read(read: Decode) -> None:
    """The mbox line is skipped, encodings are taken off, parts are named, lines count within their part."""
    context = read(message(b"#cloud-config\nhostname: a\n"))
    assert values(context) == {"hostname": "a", **EXPECTED, UCERNVM: {"cvmfs_tag": "HEAD"}}
    assert [part.name for part in context.parts] == ["sections", "_config_yaml", "part-003", "part-004"]
    assert (context.places[("hostname",)].part, context.places[("hostname",)].line) == ("_config_yaml", 2)
    (script,) = context.scripts
    assert (script.name, script.text) == ("part-003", b"#!/bin/sh\necho a=b\n")
    assert (script.stage, script.frequency) == (Stage.AFTER, Frequency.BOOT)
    assert findings(context) == []


def test_parts_may_be_packed_themselves(read: Decode) -> None:
    """Gzip inside base64 inside a part; the part's type still counts."""
    assert values(read(message(gzip.compress(b"hostname: a\n", mtime=0))))["hostname"] == "a"


def test_a_message_with_carriage_returns_is_read(read: Decode) -> None:
    """As mail programs write it."""
    assert values(read(message(b"hostname: a").replace("\n", "\r\n")))[UCERNVM] == {"cvmfs_tag": "HEAD"}


def test_faults_of_one_part_leave_the_others(read: Decode) -> None:
    """A YAML error has its part, line and column."""
    context = read(message(b"#cloud-config\nhostname: [a\n"))
    assert values(context)["[amiconfig]"] == {"plugins": "cernvm"}
    (problem,) = context.problems
    assert problem.severity is Severity.ERROR
    assert (problem.place.part, problem.place.line) == ("_config_yaml", 2)


@pytest.mark.parametrize(
    ("part", "severity", "words"),
    [
        ("Content-Type: image/png\n\nx", Severity.WARNING, "image/png skipped"),
        ("Content-Type: text/plain\nContent-Transfer-Encoding: x-other\n\nx", Severity.ERROR, "unknown transfer"),
        ("Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\nabcde", Severity.ERROR, "base64 of a part"),
        (
            'Content-Disposition: attachment; filename="cc.yaml"\nContent-Transfer-Encoding: base64\n\nabcde',
            Severity.ERROR,
            "base64 of part 'cc.yaml'",
        ),
        ("Content-Type: multipart/mixed\n\nx", Severity.ERROR, "no boundary"),
        ("Content-Type: text/jinja2\n\nx", Severity.ERROR, "can be templates"),
        ("Content-Type: text/upstart-job\n\nx", Severity.WARNING, "upstart"),
    ],
)
def test_what_cannot_be_used_is_named(read: Decode, part: str, severity: Severity, words: str) -> None:
    """With the severity of what is missed."""
    text = f'Content-Type: multipart/mixed; boundary="b"\nMIME-Version: 1.0\n\n--b\n{part}\n--b--\n'
    ((found, _, message),) = findings(read(text))
    assert found is severity
    assert words in message


def test_the_block_is_found_outside_the_parts(read: Decode) -> None:
    """The bootloader looked at the raw text only."""
    text = 'Content-Type: multipart/mixed; boundary="b"\nMIME-Version: 1.0\n\n--b\n\n#cloud-config\nx: 1\n--b--\n'
    context = read(f"{text}[ucernvm-begin]\ncvmfs_tag=a\n[ucernvm-end]\n")
    assert values(context) == {"x": 1, UCERNVM: {"cvmfs_tag": "a"}}


def nest_gzip(data: bytes, times: int) -> bytes:
    for _ in range(times):
        data = gzip.compress(data, mtime=0)
    return data


def nest_mime(times: int) -> bytes:
    level = 'Content-Type: multipart/mixed; boundary="b{0}"\nMIME-Version: 1.0\n\n--b{0}\n'
    return "".join(level.format(number) for number in range(times)).encode()


def multiply_aliases(form: str) -> bytes:
    lines = ["#cloud-config", "a0: &a0 {x: [1, 2]}"]
    lines += [f"a{n}: &a{n} " + form.format(", ".join([f"*a{n - 1}"] * 10)) for n in range(1, 12)]
    return "\n".join(lines).encode()


@pytest.mark.parametrize(
    ("count", "accepted"),
    [(1_000, True), (1_001, False)],
)
def test_a_thousand_parts_are_accepted(read: Decode, count: int, accepted: bool) -> None:
    """And not one more."""
    data = nest_mime(1) + b"\n[a]\nx=y\n--b0\n" * (count - 1) + b"\n[a]\nx=y\n--b0--\n"
    if accepted:
        assert len(read(data).parts) == count
    else:
        with pytest.raises(BoundExceeded):
            read(data)


@pytest.mark.parametrize(("depth", "accepted"), [(32, True), (33, False)])
def test_thirty_two_multiparts_inside_each_other_are_accepted(read: Decode, depth: int, accepted: bool) -> None:
    """And not one more."""
    data = nest_mime(depth) + b"\n" + SECTIONS
    if accepted:
        assert values(read(data)) == EXPECTED
    else:
        with pytest.raises(BoundExceeded):
            read(data)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(gzip.compress(b"\0" * 2**26, 1, mtime=0), id="gzip"),
        pytest.param(nest_gzip(b"\0" * 2**26, 3), id="gzip in gzip"),
        pytest.param(nest_gzip(b"#", 40), id="gzip too deep"),
        pytest.param(multiply_aliases("[{}]"), id="aliases"),
        pytest.param(multiply_aliases("{{<<: [{}]}}"), id="merge keys"),
        pytest.param(b"#cloud-config\na: " + b"[" * 100_000, id="lists in lists"),
        pytest.param(b"#cloud-config\na: " + b"[" * 100 + b"]" * 100, id="lists a little too deep"),
        pytest.param(b"#cloud-config\n" + b"- a\n" * 150_000, id="too many values"),
        pytest.param(b"#cloud-config\na: " + b"x" * 2**20, id="too much YAML"),
        pytest.param(nest_mime(10_000), id="MIME too deep"),
        pytest.param(nest_mime(1) + b"\n\n--b0\n" * 2_000, id="MIME in too many parts"),
        pytest.param(b"[a]\nx=y\n#cloud-config\n" * 2_000, id="too many changes of format"),
        pytest.param(b"#!/bin/sh\ncat <<A\n[amiconfig]\n" * 80_000, id="too many scripts that never end"),
        pytest.param(b"#cloud-config\nk: v\n[x]\na=b\n\n" * 50_000, id="too many interruptions"),
        pytest.param(b"[a]\n" + b"x=y\n" * 300_000, id="too many lines"),
        pytest.param(b"x" * (2**24 + 1), id="too large"),
    ],
)
def test_bombs_are_answered_quickly(read: Decode, data: bytes) -> None:
    """Whatever is beyond the bounds is one clear error."""
    begin = time.process_time()
    with pytest.raises(BoundExceeded) as caught:
        read(data)
    assert time.process_time() - begin < 5
    assert caught.value.where.startswith("user-data") or caught.value.where.startswith("part-")


@pytest.mark.parametrize(
    "line", ["#!/bin/sh\n''", "[a]\nx=", '#!/bin/sh\n"\\', '[ucernvm-begin]\n"$', "<<a\t", "#!/bin/sh\ncat <<A '\""]
)
def test_sixteen_mebibytes_take_seconds(read: Decode, line: str) -> None:
    """No rule looks at the same text again and again."""
    begin = time.process_time()
    read(line + line[-2:] * (2**23 - len(line)))
    assert time.process_time() - begin < 20
