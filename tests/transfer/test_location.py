"""What is a URL of a file, and what somebody only wants to look like one."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucvm_agent.errors import TransferRefused
from ucvm_agent.transfer.location import chirp_url, parse

HEX = "0F" * 32

HOSTILE = st.text(st.sampled_from("ab.-_:/\\@?#%[]0 9\n\r\t\0\x7f\u2028é;$`'\"&|=2eEfF"), max_size=30) | st.text(
    max_size=30
)


def test_a_url_names_scheme_server_and_path() -> None:
    """Decoded, with its checksum apart."""
    location = parse(f"CHIRP://Site.example:9094/job%201/in#sha256={HEX}")
    assert (location.scheme, location.server, location.host) == ("chirp", "Site.example:9094", "site.example")
    assert (location.path, location.sha256) == ("/job 1/in", HEX.lower())


def test_what_is_shown_has_no_query() -> None:
    """It may be a signature."""
    location = parse("https://site.example/file?X-Amz-Signature=hush")
    assert location.url.endswith("hush")
    assert "hush" not in f"{location.shown} {location!r}"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "file",
        "chirp://site.example",
        "chirp://site.example/",
        "chirp://site.example/folder/",
        "chirp://-a/file",
        "chirp://site.example:0/file",
        "chirp://site.example:65536/file",
        "chirp://site.example:9094x/file",
        "chirp://user:hush@site.example/file",
        "chirp://site.example/../file",
        "chirp://site.example/a/%2e%2E/file",
        "chirp://site.example/a%2f..%2ffile",
        "chirp://site.example/a\nfile",
        "chirp://site.example/a%0afile",
        "chirp://site.example/a%00",
        "chirp://site.example/%ff",
        "chirp://site.example/file?query",
        "chirp://site.example\\@evil.example/file",
        "http://site.example/a b",
        "http://[::1/file",
        "file://site.example/file",
        "file:relative",
        "https://site.example/file#part",
        f"https://site.example/file#sha256={HEX}0",
        "https://site.example/" + "a" * 4096,
    ],
)
def test_what_names_no_file_is_refused(url: str) -> None:
    """And not quoted, for it may hold credentials."""
    with pytest.raises(TransferRefused) as caught:
        parse(url)
    assert "hush" not in str(caught.value)


def check(url: str) -> None:
    """Assert what a program that gets server and path can rely on."""
    location = parse(url)
    if location.server:
        assert re.fullmatch(r"([A-Za-z0-9][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])(:[0-9]+)?", location.server)
    assert location.path.isprintable()
    assert location.path == "" or location.path.startswith("/")
    assert not {".", ".."} & set(location.path.split("/"))
    assert parse(location.url).path == location.path


@given(st.sampled_from(["", "chirp://", "http://", "file://", "s3://", "x:"]), HOSTILE, HOSTILE)
def test_any_text_is_a_safe_location_or_refused(scheme: str, server: str, path: str) -> None:
    """Whoever wrote it."""
    with suppress(TransferRefused):
        check(f"{scheme}{server}/{path}")


@given(HOSTILE, HOSTILE, HOSTILE)
def test_any_names_of_a_message_are_a_safe_location_or_refused(server: str, folder: str, file: str) -> None:
    """The file is in the folder that was named, on the server that was named."""
    try:
        url = chirp_url(server, folder, file)
    except TransferRefused:
        return
    check(url)
    location = parse(url)
    assert location.server == server
    assert location.path.startswith(f"/{folder.strip('/')}")
    assert location.path.endswith(f"/{file}")


@pytest.mark.parametrize(
    "names",
    [
        ("-a", "job", "file"),
        ("site.example", "-job", "file"),
        ("site.example", "job", "-file"),
        ("site.example/x", "job", "file"),
        ("site.example?", "job", "file"),
        ("site.example", "job", ""),
        ("site.example", "job", "../file"),
        ("site.example", "..", "file"),
        ("", "job", "file"),
        ("site.example", "job", "\udc80"),
    ],
)
def test_messages_cannot_name_anything_but_a_file(names: tuple[str, str, str]) -> None:
    """See references/copilot-protocol.md, section 6.6."""
    with pytest.raises(TransferRefused):
        chirp_url(*names)
