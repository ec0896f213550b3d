"""Files of cloud-config."""

from __future__ import annotations

import gzip
from base64 import b64encode
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contextualizers.write_files import MAX_SIZE, Encoding, WriteFiles, WriteFilesDeferred, decode_content, read_mode
from tests.contextualizers.ask import ask
from ucvm_agent.contextualize.actions import WriteFile
from ucvm_agent.contextualize.system import System

PACKED = b64encode(gzip.compress(b"hello\n", mtime=0)).decode()


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        ('"hello\\n"', "text/plain"),
        ("aGVsbG8K", "b64"),
        ("aGVs bG8K", "base64"),
        (PACKED, "gz+b64"),
        (PACKED, "gzip+base64"),
        (PACKED, "GZ+base64"),
    ],
)
def test_every_spelling_of_an_encoding_works(content: str, encoding: str, system: System) -> None:
    """All of cloud-init's."""
    text = f"#cloud-config\nwrite_files:\n  - {{path: /srv/a, content: {content}, encoding: {encoding}}}\n"
    answer = ask(WriteFiles(), text, system)
    assert answer.actions == [WriteFile(path="/srv/a", content=b"hello\n")]
    assert answer.texts == []


def test_owner_permissions_and_append_are_taken_over(system: System) -> None:
    """An owner without group leaves the group to root; without content the file is empty."""
    answer = ask(
        WriteFiles(),
        """
        #cloud-config
        write_files:
          - {path: /srv/a, content: x, owner: "alice:science", permissions: "0640", append: true}
          - {path: /srv/b, owner: bob, permissions: '2755'}
        """,
        system,
    )
    assert answer.actions == [
        WriteFile(path="/srv/a", content=b"x", owner="alice", group="science", mode=0o640, append=True),
        WriteFile(path="/srv/b", content=b"", owner="bob", mode=0o2755),
    ]


def test_deferred_files_are_written_by_the_later_one(system: System) -> None:
    """Each file is written once."""
    text = "#cloud-config\nwrite_files: [{path: /a}, {path: /b, defer: true}]\n"
    assert ask(WriteFiles(), text, system).actions == [WriteFile(path="/a", content=b"")]
    assert ask(WriteFilesDeferred(), text, system).actions == [WriteFile(path="/b", content=b"")]


@pytest.mark.parametrize(
    "mode", [0o644, 0o600, 0o640, 0o755, 0o750, 0o700, 0o400, 0o440, 0o444, 0o500, 0o555, 0o660, 0o664, 0o775]
)
def test_permissions_as_a_number_mean_what_people_mean(mode: int) -> None:
    """Written 0644 (which YAML reads as octal) or 644 (which it does not)."""
    assert read_mode(mode).bits == mode
    assert read_mode(int(f"{mode:o}")).bits == mode


def test_permissions_as_a_number_are_warned_about(system: System) -> None:
    """The warning says what was understood."""
    answer = ask(WriteFiles(), "#cloud-config\nwrite_files:\n  - path: /a\n    permissions: 600\n", system)
    assert answer.actions == [WriteFile(path="/a", content=b"", mode=0o600)]
    assert answer.texts == ['warning 4: write_files[1].permissions: a number; taken for "0600"']


def test_a_number_that_can_be_two_permissions(system: System) -> None:
    """YAML makes the same of 0777 and of 511: the stricter counts, and the other one is named."""
    (problem,) = ask(WriteFiles(), "#cloud-config\nwrite_files:\n  - {path: /a, permissions: 0777}\n", system).problems
    assert problem.message == 'write_files[1].permissions: a number; taken for "0511"'
    assert problem.hint == 'write "0511", or "0777" if that is meant'


def test_a_wrong_file_is_left_out_and_the_others_are_written(system: System) -> None:
    """Better no file than one with the wrong content, owner or permissions."""
    answer = ask(
        WriteFiles(),
        """
        #cloud-config
        write_files:
          - {path: relative}
          - {path: /a/../b}
          - {path: /c, content: "***", encoding: b64}
          - {path: /d, permissions: rw-r--r--}
          - {path: /e, owner: "a:b:c"}
          - {path: /f, encoding: rot13}
          - {path: /g, source: {uri: "https://example.org/g"}}
          - {content: x}
          - {path: /good, contents: typo}
        """,
        system,
    )
    assert answer.actions == [WriteFile(path="/good", content=b"")]
    assert answer.texts == [
        "error 3: write_files[1].path: expected the absolute path of a file, without `..`",
        "error 4: write_files[2].path: expected the absolute path of a file, without `..`",
        "error 5: write_files[3].content: expected base64, and this is none",
        'error 6: write_files[4].permissions: expected permissions in octal digits, such as "0644"',
        "error 7: write_files[5].owner: expected user or user:group",
        "error 8: write_files[6].encoding: expected text/plain, b64, gz or gz+b64, not rot13",
        "warning 9: write_files[7].source: is not fetched; the file is left out",
        "error 10: write_files[8].path: is missing",
        "warning 11: write_files[9].contents: unknown key",
    ]


def test_files_that_are_in_each_other_s_way(system: System) -> None:
    """One beneath another cannot be written; of two at one path the later counts, unless it is appended."""
    answer = ask(
        WriteFiles(),
        """
        #cloud-config
        write_files:
          - {path: /a, content: x}
          - {path: /a/b/c, content: x}
          - {path: /d, content: x}
          - {path: /d, content: y, append: true}
          - {path: /d, content: z}
          - {path: /e/f, content: x}
          - {path: /e, content: x}
        """,
        system,
    )
    assert [action.target for action in answer.actions] == ["/a", "/d", "/d", "/d", "/e/f"]
    assert answer.texts == [
        "error 4: write_files[2].path: /a is a file, by line 3",
        "warning 7: write_files[5].path: is written again; line 6 has no effect",
        "error 9: write_files[7].path: /e/f is beneath it, by line 8",
    ]


def test_a_bomb_is_refused_before_it_bursts() -> None:
    """No more than the bound is ever unpacked."""
    bomb = b64encode(gzip.compress(bytes(4 * MAX_SIZE), mtime=0)).decode()
    with pytest.raises(ValueError, match="larger than 16 MiB"):
        decode_content(bomb, Encoding.GZIP_BASE64)


@given(st.text(), st.sampled_from(Encoding))
def test_decoding_any_text_gives_bytes_or_a_value_error(text: str, encoding: Encoding) -> None:
    """Whatever is pasted there."""
    with suppress(ValueError):
        assert isinstance(decode_content(text, encoding), bytes)


@pytest.mark.parametrize("content", [b"\x7fELF\xff\x00", "Zürich\n".encode(), gzip.compress(b"hello", mtime=0)])
def test_binary_of_yaml_is_written_as_it_is(content: bytes, system: System) -> None:
    """As in cloud-init's own examples, packed or not."""
    text = f"""
        #cloud-config
        write_files:
          - path: /bin/arch
            content: !!binary |
              {b64encode(content).decode()}
            {"encoding: gzip" if content[0] == 0x1F else ""}
    """
    answer = ask(WriteFiles(), text, system)
    assert answer.texts == []
    assert answer.actions == [WriteFile(path="/bin/arch", content=b"hello" if content[0] == 0x1F else content)]


def test_damaged_binary_of_yaml_makes_no_empty_file(system: System) -> None:
    """Rather none at all."""
    answer = ask(WriteFiles(), "#cloud-config\nwrite_files: [{path: /bin/arch, content: !!binary abcde}]\n", system)
    assert answer.actions == []


@given(st.binary(max_size=2000))
def test_what_is_packed_comes_out_again(data: bytes) -> None:
    """Base64 with and without gzip."""
    assert decode_content(b64encode(data).decode(), Encoding.BASE64) == data
    assert decode_content(b64encode(gzip.compress(data, mtime=0)).decode(), Encoding.GZIP_BASE64) == data
