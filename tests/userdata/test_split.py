"""Texts that mix formats without MIME: no region absorbs another."""

from __future__ import annotations

import pytest

from tests.userdata.conftest import Decode, findings, values
from ucvm_agent.userdata.context import UCERNVM, Place, Severity

CONFIG = "#cloud-config\nusers:\n  - name: ada\n"
SECTIONS = "[cernvm]\nusers=bob:bob:x\n"
BLOCK = "[ucernvm-begin]\ncvmfs_tag=HEAD\n[ucernvm-end]\n"
SCRIPT = "#!/bin/sh\necho hello\nexit 0\n"
EXPECTED = {"users": [{"name": "ada"}], "[cernvm]": {"users": "bob:bob:x"}, UCERNVM: {"cvmfs_tag": "HEAD"}}


@pytest.mark.parametrize(
    "pieces",
    [
        (SCRIPT, CONFIG, SECTIONS, BLOCK),
        (SCRIPT, BLOCK, SECTIONS, CONFIG),
        (SCRIPT, SECTIONS, CONFIG, BLOCK),
        (SCRIPT, BLOCK, CONFIG, SECTIONS),
    ],
)
@pytest.mark.parametrize("separator", ["", "\n", "# a comment\n\n"])
def test_each_order_gives_the_same(read: Decode, pieces: tuple[str, ...], separator: str) -> None:
    """The order of the formats does not matter, nor what stands between them."""
    context = read(separator.join(pieces))
    assert values(context) == EXPECTED
    assert [script.text for script in context.scripts] == [SCRIPT.encode()]
    assert findings(context) == []


def test_cloud_config_goes_on_after_sections(read: Decode) -> None:
    """A YAML key after INI options is cloud-config again if the text began with it, and keeps its line."""
    context = read("#cloud-config\nhostname: a\n[cernvm]\nproxy=p\nkey: v\n\ntimezone: UTC\nusers:\n- name: b\n")
    assert values(context) == {
        "hostname": "a",
        "timezone": "UTC",
        "users": [{"name": "b"}],
        "[cernvm]": {"proxy": "p", "key": "v"},
    }
    assert context.places[("users", 0, "name")] == Place("user-data", 9, 3)
    assert [line for _, line, _ in findings(context)] == [7]


def test_forgotten_first_line_does_not_overwrite_options(read: Decode) -> None:
    """A YAML key with a list beneath it is no empty option, as it was in the original."""
    context = read(f"{SECTIONS}users:\n  - name: ada\n")
    assert values(context) == {"[cernvm]": {"users": "bob:bob:x"}}
    (problem,) = context.problems
    assert problem.place.line == 3
    assert "#cloud-config" in problem.hint


def test_cloud_config_goes_on_after_a_block(read: Decode) -> None:
    """The bootloader found its block anywhere."""
    context = read(f"#cloud-config\nhostname: a\n{BLOCK}timezone: UTC\n")
    assert values(context) == {"hostname": "a", "timezone": "UTC", UCERNVM: {"cvmfs_tag": "HEAD"}}


def test_a_script_goes_on_after_a_block(read: Decode) -> None:
    """The block is taken out of its middle; after an exit there is nothing to go on."""
    assert read(f"#!/bin/sh\necho a\n{BLOCK}echo b\n").scripts[0].text == b"#!/bin/sh\necho a\necho b\n"
    assert read(f"{SCRIPT}{BLOCK}echo b\n").scripts[0].text == SCRIPT.encode()


def test_a_block_inside_yaml_text_is_text(read: Decode) -> None:
    """What is indented in YAML stays in its value."""
    context = read("#cloud-config\nwrite_files:\n- path: /x\n  content: |\n    [ucernvm-begin]\n    a=b\n")
    assert values(context) == {"write_files": [{"path": "/x", "content": "[ucernvm-begin]\na=b\n"}]}


@pytest.mark.parametrize(
    "body",
    [
        "cat > /etc/x <<EOF\n[main]\nx=1\nEOF\n",
        "cat > /etc/x <<-'END'\n\t[main]\n[amiconfig]\n\tEND\n",
        "echo '\n[main]\nx=1\n' > /etc/x\n",
        'echo "it\\"s\n[main]\n" # don\'t\n',
        "[ -f x ] && y\n",
        "x=$#; a=b#c; test 1 '<' 2\n# it's\n#!/bin/bash\n",
        "cat <<EOF > /usr/bin/x\n#!/bin/sh\nexit 0\n[cernvm]\nEOF\n",
    ],
)
def test_a_script_keeps_what_looks_like_sections(read: Decode, body: str) -> None:
    """Here-documents, quotations, tests and comments are the script's own."""
    script = f"#!/bin/bash\n{body}exit 0\n"
    context = read(f"{script}\n{SECTIONS}")
    assert [found.text.decode() for found in context.scripts] == [script]
    assert values(context) == {"[cernvm]": {"users": "bob:bob:x"}}
    assert findings(context) == []


def test_a_script_without_exit_ends_at_a_section(read: Decode) -> None:
    """The original ran the options as commands."""
    context = read(f"#!/bin/sh\necho hello\n\n{SECTIONS}")
    assert [script.text for script in context.scripts] == [b"#!/bin/sh\necho hello\n"]
    ((severity, line, message),) = findings(context)
    assert (severity, line) == (Severity.WARNING, 2)
    assert "no exit" in message


def test_unbalanced_quotes_do_not_swallow_known_sections(read: Decode) -> None:
    """A script that the shell itself could not read still ends where amiconfig's sections begin."""
    context = read(f"#!/bin/sh\necho don't\nexit 0\n{SECTIONS}")
    assert values(context) == {"[cernvm]": {"users": "bob:bob:x"}}


def test_a_python_script_ends_at_known_sections_only(read: Decode) -> None:
    """A word in brackets means something else there."""
    script = "#!/usr/bin/env python3\nx = 1\n[x]\n[y for y in []]\nraise SystemExit\n"
    context = read(f"{script}{SECTIONS}")
    assert [found.text.decode() for found in context.scripts] == [script]


def test_a_script_in_the_middle_is_run_with_a_warning(read: Decode) -> None:
    """The original looked for a script at the very beginning only."""
    context = read(f"{SECTIONS}{SCRIPT}")
    assert [script.text for script in context.scripts] == [SCRIPT.encode()]
    assert [line for _, line, _ in findings(context)] == [3]


@pytest.mark.parametrize(
    ("text", "line", "hint"),
    [
        ("#cloud-confg\nhostname: x\n", 1, "did you mean #cloud-config?"),
        ("# Mine.\n#Cloud_Config\nhostname: x\n", 2, "did you mean #cloud-config?"),
        ("hostname: x\n", 1, "if this is cloud-config, begin it with a line #cloud-config"),
        ("#/bin/bash\necho hello\n", 1, "did you mean #!/bin/bash?"),
        (" #!/bin/sh -e\necho hello\n", 1, "did you mean #!/bin/sh -e?"),
        ("# ! /usr/bin/env python3\nprint()\n", 1, "did you mean #!/usr/bin/env python3?"),
        ("# /etc/motd is mine\necho hello\n", 2, "begin with one of these"),
        (
            "ENCRYPTED:U2FsdGVkX1/w3mf7\n",
            1,
            "a context of CernVM Online that is encrypted is taken by `ucvm-agent pair`",
        ),
        ("echo hello\n", 1, "begin with one of these; a script with the line of its interpreter, such as #!/bin/sh"),
        ("I2Nsb3VkLWNvbmZpZwpob3N0bmFtZTo=gd29\n", 1, "begin with one of these"),
        ("I2Nsb3VkLWNvbmZpZwpob3N0bmFtZTogd29\n", 1, "if this is base64, it is damaged"),
    ],
)
def test_what_begins_wrongly_is_told_how_it_has_to(read: Decode, text: str, line: int, hint: str) -> None:
    """By what it looks like."""
    (problem,) = read(text).problems
    assert problem.place.line == line
    assert problem.hint.startswith(hint)


def test_prose_is_skipped_with_one_warning(read: Decode) -> None:
    """Comments need no mention, other text does, with what was expected."""
    context = read(f"# my context\nhello\nworld\n{SECTIONS}")
    assert values(context) == {"[cernvm]": {"users": "bob:bob:x"}}
    ((severity, line, message),) = findings(context)
    assert (severity, line) == (Severity.WARNING, 2)
    assert message.startswith("2 lines skipped: expected #cloud-config")
