"""Places in user-data that wait for keys of a cluster."""

from __future__ import annotations

import gzip
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucvm_agent.sources.base import Found
from ucvm_agent.userdata.context import Severity
from ucvm_agent.userdata.decode import decode
from ucvm_agent.userdata.placeholders import fill

TEXT = b"""\
[ucernvm-begin]
cvm_cluster_pin=abcdef123456
cvmfs_http_proxy=http://###MASTER_IP_PLACEHOLDER###:3128
[ucernvm-end]

#cloud-config
hostname: worker
runcmd:
  - join ###MASTER_IP_PLACEHOLDER### ###token_PLACEHOLDER###
"""


def test_values_and_what_is_missing() -> None:
    """Names in capitals stand for keys in small letters, others for themselves; each missing one tells its line."""
    data = b"a ###MASTER_IP_PLACEHOLDER###\n###Token_PLACEHOLDER### ###X_PLACEHOLDER###"
    filled = fill(data, {"master_ip": "10.0.0.1", "Token": "t"})
    assert (filled.data, filled.missing) == (b"a 10.0.0.1\nt x_PLACEHOLDER", (("x", 2),))
    assert fill(data, None).data == data


@given(st.binary(), st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), st.just("v")))
def test_filling_twice_is_filling_once(data: bytes, keys: dict[str, str]) -> None:
    """What was filled waits for nothing that has a value."""
    once = fill(data, keys)
    assert fill(once.data, keys).data == once.data


@pytest.mark.parametrize("pack", [lambda text: text, gzip.compress], ids=["plain", "gzip"])
def test_the_whole_text_is_filled(pack: object) -> None:
    """Inside the bootloader's block, too, and whatever the text is packed in; the digest stays that of the source."""
    assert callable(pack)
    found = Found("file", "x", pack(TEXT))
    waiting, complete = decode(found, {}), decode(found, {"master_ip": "10.0.0.1", "token": "t"})
    assert waiting.missing == {"master_ip", "token"}
    assert complete.missing == frozenset()
    proxy = complete.entry("[ucernvm-begin] cvmfs_http_proxy")
    assert proxy is not None
    assert proxy.value == "http://10.0.0.1:3128"
    assert complete.values["runcmd"] == ("join 10.0.0.1 t",)
    assert waiting.digest == complete.digest


def test_a_part_of_a_message_is_filled() -> None:
    """Base64 inside MIME is no hindrance."""
    part = b64encode(b"#!/bin/sh\necho ###MASTER_IP_PLACEHOLDER###\n")
    head = b"Content-Type: multipart/mixed; boundary=X\nMIME-Version: 1.0\n\n--X\nContent-Type: text/x-shellscript\n"
    message = head + b"Content-Transfer-Encoding: base64\n\n" + part + b"\n--X--\n"
    assert b"echo 10.0.0.1\n" in decode(Found("f", "x", message), {"master_ip": "10.0.0.1"}).scripts[0].text


def test_a_note_tells_what_waits() -> None:
    """With its line; without a cluster, that nothing comes, and the text stays as it is."""
    notes = [problem for problem in decode(Found("f", "x", TEXT), {}).problems if problem.severity is Severity.NOTE]
    assert [(note.place.line, "waits for the key" in note.message) for note in notes] == [(3, True), (9, True)]
    alone = decode(Found("f", "x", b"#!/bin/sh\necho '###MASTER_IP_PLACEHOLDER###'\n"))
    assert b"###MASTER_IP_PLACEHOLDER###" in alone.scripts[0].text
    assert [problem.severity for problem in alone.problems] == [Severity.NOTE]
    assert "cvm_cluster_pin" in alone.problems[0].hint
