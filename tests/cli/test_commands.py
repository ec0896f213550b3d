"""The command line as a person meets it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.sources.images import make_image
from ucvm_agent.store.lock import hold
from ucvm_agent.store.store import Store

AGENT = [sys.executable, "-m", "ucvm_agent"]
CONTEXTS = Path(__file__).parents[1] / "data" / "contexts"

MISTAKES = """\
#cloud-config
hostnam: worker-1
users:
  - name: ada
    sudu: ALL=(ALL) NOPASSWD:ALL
write_files:
  - path: etc/motd
    content: hello
"""


def run(*arguments: object, given: bytes = b"", **environment: str) -> subprocess.CompletedProcess[str]:
    words = [*AGENT, *map(str, arguments)]
    result = subprocess.run(words, input=given, capture_output=True, env=environment, timeout=60, check=False)
    return subprocess.CompletedProcess(words, result.returncode, result.stdout.decode(), result.stderr.decode())


def test_a_dry_run_needs_no_network_library(tmp_path: Path) -> None:
    """Start-up is paid for what is used: a local file needs neither HTTP, XMPP nor AWS."""
    script = (
        "import sys\nfrom ucvm_agent.cli import commands\nfrom ucvm_agent.cli.parser import parser\n"
        f"words = ['--dry-run', '--root', {str(tmp_path)!r}, '--user-data', {str(CONTEXTS / 'atlas.context')!r}]\n"
        "assert commands.dry_run(parser().parse_args(words)) == 0\n"
        "loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "heavy = {'aiohttp', 'slixmpp', 'boto3', 'botocore', 'passlib', 'tenacity', 'pycdlib', 'defusedxml'}\n"
        "assert not loaded & heavy, loaded & heavy\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_three_mistakes_are_shown_with_their_lines(tmp_path: Path) -> None:
    """Each mistake has its line, a caret and the right name; the rest of the plan is shown all the same."""
    result = run("--dry-run", "--root", tmp_path, "--user-data", "-", given=MISTAKES.encode())
    assert result.returncode == 3
    for expected in ("user-data:2:1", "did you mean hostname?", "user-data:5:5", "did you mean", "user-data:7:"):
        assert expected in result.stdout
    assert "    hostnam: worker-1\n    ^" in result.stdout
    assert "user ada" in result.stdout
    assert result.stderr == ""


def test_what_cannot_be_included_is_told_once(tmp_path: Path) -> None:
    """As a problem with its line, and not in the log as well."""
    context = tmp_path / "context"
    context.write_text("#include\nfile:///nowhere/context\n")
    for words in (["--dry-run"], ["apply"]):
        result = run(*words, "--root", tmp_path, "--user-data", context)
        assert "user-data:2:1: error: file:///nowhere/context cannot be included" in result.stdout
        assert (result.returncode, result.stderr) == (3, "")


def test_a_terminal_that_does_not_know_a_character(tmp_path: Path) -> None:
    """The plan is shown nevertheless."""
    text = "#cloud-config\nhostname: “x”\n".encode()
    result = run("--dry-run", "--root", tmp_path, "--user-data", "-", given=text, PYTHONIOENCODING="latin-1")
    assert "hostname: \\u201cx\\u201d" in result.stdout
    assert (result.returncode, result.stderr) == (3, "")


def test_json_is_for_programs(tmp_path: Path) -> None:
    """The JSON form has the documented keys, and the problems their lines."""
    result = run("--dry-run", "--format", "json", "--root", tmp_path, "--user-data", "-", given=MISTAKES.encode())
    document = json.loads(result.stdout)
    assert set(document) == {"source", "context", "problems", "actions", "summary"}
    assert {problem["line"] for problem in document["problems"]} == {2, 5, 7}
    assert set(document["problems"][0]) == {"severity", "part", "line", "message", "hint"}
    assert set(document["actions"][0]) == {"contextualizer", "kind", "target", "change", "diff"}
    assert document["summary"]["errors"] == 1


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    """Not even the folder of the state is made."""
    assert run("--dry-run", "--root", tmp_path, "--user-data", CONTEXTS / "atlas.context").returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_apply_and_again(tmp_path: Path) -> None:
    """`apply` does it; a second time, and a dry run after it, find nothing to do."""
    first = run("apply", "--root", tmp_path, "--user-data", "-", given=b"#cloud-config\nhostname: w\n")
    assert first.returncode == 0, first.stderr
    assert (tmp_path / "etc/hostname").read_text() == "w\n"
    again = run(
        "apply", "--format", "json", "--root", tmp_path, "--user-data", "-", given=b"#cloud-config\nhostname: w\n"
    )
    applied = json.loads(again.stdout)["applied"]
    assert (applied["changed"], applied["failed"]) == (0, 0)
    shown = run(
        "--dry-run", "--format", "json", "--root", tmp_path, "--user-data", "-", given=b"#cloud-config\nhostname: w\n"
    )
    assert {action["change"] for action in json.loads(shown.stdout)["actions"]} == {"none"}


def test_a_failed_action_has_its_exit_code(tmp_path: Path) -> None:
    """What failed is named with its reason on the terminal, once, and again by `status`."""
    result = run("apply", "--root", tmp_path, "--user-data", "-", given=b"#!/bin/absent\n")
    assert result.returncode == 5
    assert "/bin/absent" in result.stdout
    assert result.stderr == ""
    status = run("status", "--root", tmp_path)
    assert status.returncode == 0
    assert status.stdout.startswith("degraded since")
    assert "/bin/absent" in status.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--dry-run", "--user-data", "/nonexistent/context"), 4, "/nonexistent/context"),
        (("--dry-run", "--source", "ec3"), 2, "did you mean ec2?"),
        (("--dry-run", "--root", "/nonexistent", "--user-data", "-"), 2, "root"),
        (("--config", "/nonexistent/agent.toml", "config"), 2, "/nonexistent/agent.toml"),
        (("--dry-run", "--user-data", "-", "--source", "ec2"), 2, "not allowed with"),
        (("--dry-run", "--device", "x.iso"), 2, "--source configdrive"),
        (("--dry-run", "--source", "ec2", "--device", "x.iso"), 2, "unknown setting sources.ec2.device"),
        (("--dry-run", "--source", "configdrive", "--device", "/nonexistent/x.iso"), 4, "no such image"),
        (("--bogus",), 2, "--bogus"),
    ],
)
def test_wrong_use_says_what_to_do(arguments: tuple[str, ...], code: int, said: str) -> None:
    """The exit codes of the README, one line on standard error, never a traceback."""
    result = run(*arguments)
    assert result.returncode == code
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_whoever_waits_for_a_source_is_told_why() -> None:
    """Once, while it is still looked for: two minutes without a word look like a program that hangs."""
    nowhere = "http://127.0.0.1:1"
    result = run("--dry-run", "--source", "ec2", UCVM_SOURCES__EC2__ENDPOINTS=nowhere, UCVM_SOURCES__DEADLINE="2")
    assert result.returncode == 4
    waiting, end = result.stderr.splitlines()
    assert waiting.startswith("ucvm-agent: no user-data yet (ec2: ")
    assert "--user-data FILE" in waiting
    assert "within 2 s" in end


def test_state_that_cannot_be_used(tmp_path: Path) -> None:
    """A damaged state file is refused and kept; one that another agent holds is left to it."""
    folder = tmp_path / "var/lib/ucvm-agent"
    assert run("status", "--root", tmp_path).returncode == 6
    Store(folder / "state.db", "boot").close()
    with hold(folder):
        result = run("apply", "--root", tmp_path, "--user-data", "-", given=b"#cloud-config\n{}\n")
        assert result.returncode == 6
        assert "another ucvm-agent" in result.stderr
    (folder / "state.db").write_bytes(b"x" * 10_000)
    result = run("apply", "--root", tmp_path, "--user-data", "-", given=b"#cloud-config\n{}\n")
    assert result.returncode == 6
    assert (folder / "state.db").read_bytes() == b"x" * 10_000


def test_config_tells_values_and_origins(tmp_path: Path) -> None:
    """Every setting with where it was set; a secret only as stars."""
    file = tmp_path / "agent.toml"
    file.write_text('[xmpp]\njid = "vm@example.org"\npassword = "hunter2"\n')
    result = run("config", "--config", file, UCVM_LOG__LEVEL="debug")
    jid = next(line for line in result.stdout.splitlines() if line.startswith("jid ="))
    assert jid.split(maxsplit=3) == ["jid", "=", '"vm@example.org"', f"# {file} line 2"]
    assert "# UCVM_LOG__LEVEL" in result.stdout
    assert 'password = "***"' in result.stdout
    assert "hunter2" not in result.stdout
    document = json.loads(run("config", "--json", "--config", file).stdout)
    assert document["xmpp.port"] == {"value": 5222, "origin": "default"}


def test_config_is_a_settings_file(tmp_path: Path) -> None:
    """What it prints can be edited and read again."""
    file = tmp_path / "agent.toml"
    file.write_text(run("config").stdout)
    again = run("config", "--config", file)
    assert again.returncode == 0, again.stderr
    assert f"deadline = 120.0                         # {file} line" in again.stdout


def test_status_warns_of_what_can_be_forged(tmp_path: Path) -> None:
    """Whatever weakens what this machine trusts stays visible."""
    assert run("apply", "--root", tmp_path, "--user-data", "-", given=b"#cloud-config\n{}\n").returncode == 0
    shown = run(
        "status",
        "--root",
        tmp_path,
        UCVM_HTTP__URL="https://hooks.example/",
        UCVM_HTTP__VERIFY="false",
        UCVM_CLUSTER__INSECURE="true",
    ).stdout
    warnings = [line for line in shown.splitlines() if line.startswith("warning")]
    assert [line.split(":")[1] for line in warnings] == [" http.verify = false", " cluster.insecure = true"]


def test_a_reader_that_goes_away_is_no_error() -> None:
    """`ucvm-agent config | head -n 1` ends quietly."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as gone:
        result = subprocess.run([*AGENT, "config"], stdout=gone, stderr=subprocess.PIPE, check=False)
    assert result.stderr == b""


def test_color_only_on_a_terminal_or_on_request(tmp_path: Path) -> None:
    """Escape sequences never reach a pipe by themselves."""
    arguments = ("--dry-run", "--root", tmp_path, "--user-data", CONTEXTS / "default.context")
    assert "\x1b" not in run(*arguments).stdout
    assert "\x1b[" in run(*arguments, "--color", "always").stdout


def test_includes_count_in_a_dry_run_and_are_kept_by_apply(tmp_path: Path) -> None:
    """A boot without what was included has the copy; a dry run keeps none."""
    (tmp_path / "included").write_text("#cloud-config\nwrite_files: [{path: /etc/a, content: a}]\n")
    (tmp_path / "user-data").write_text(f"#include file://{tmp_path}/included\n")
    (tmp_path / "root").mkdir()
    words = ("--root", tmp_path / "root", "--user-data", tmp_path / "user-data")
    assert "file /etc/a: new file" in run("--dry-run", *words).stdout
    assert list((tmp_path / "root").iterdir()) == []
    assert run("apply", *words).returncode == 0
    (tmp_path / "included").unlink()
    again = run("--dry-run", *words)
    assert again.returncode == 0
    assert "1:10: warning: an earlier copy of" in again.stdout
    assert "1 unchanged" in again.stdout


def test_a_volume_is_read_without_privilege() -> None:
    """`--source NAME --device FILE` needs nothing but the right to read the image."""
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to others
        folder = Path(name)
        folder.chmod(0o755)
        image = make_image(folder / "drive.iso", {"openstack/latest/user_data": b"#cloud-config\nhostname: from-iso\n"})
        (folder / "root").mkdir()
        words = ["--dry-run", "--source", "configdrive", "--device", str(image), "--root", str(folder / "root")]
        # The first run loads what may lie in root's home, the second one has no privilege.
        script = (
            "import os, sys\nfrom ucvm_agent.cli import commands\nfrom ucvm_agent.cli.parser import parser\n"
            f"arguments = parser().parse_args({words!r})\n"
            "commands.dry_run(arguments)\n"
            "print('unprivileged')\n"
            "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
            "sys.exit(commands.dry_run(arguments))\n"
        )
        result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "from-iso" in result.stdout.partition("unprivileged")[2]
    assert result.stderr == ""
