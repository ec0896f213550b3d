"""Which contextualizers there are; with real entry points and real executables."""

from __future__ import annotations

import base64
import os
import select
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contextualize.stand_ins import written
from ucvm_agent.contextualize.action_json import make_action
from ucvm_agent.contextualize.actions import Action, AuthorizeKeys, EnsureUser, RunCommand, WriteFile
from ucvm_agent.contextualize.base import Frequency
from ucvm_agent.contextualize.call import MAX_OUTPUT, call
from ucvm_agent.contextualize.plan import Plan, make_plan
from ucvm_agent.contextualize.registry import Loaded, load
from ucvm_agent.contextualize.system import System
from ucvm_agent.settings import Contextualize, Settings
from ucvm_agent.userdata.context import Severity

Write = Callable[..., Path]

MODULE = """\
from ucvm_agent.contextualize.base import Contextualizer, Options

class Mine(Contextualizer[Options]):
    name = "{name}"
    options = Options

    def plan(self, options, context, system):
        return ()

class Nameless(Contextualizer[Options]):
    options = Options

    def plan(self, options, context, system):
        return ()
"""


def distribution(folder: Path, name: str, entry_points: Mapping[str, str]) -> None:
    """Lay out the metadata of an installed package, as pip does."""
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [f"{key} = {value}" for key, value in entry_points.items()]
    (info / "entry_points.txt").write_text("\n".join(["[ucvm_agent.contextualizers]", *lines, ""]))


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that installs a package with one module and these entry points."""
    installed = 0

    def install(package: str, contextualizer: str, **entry_points: str) -> None:
        nonlocal installed
        installed += 1
        module = f"{package.replace('-', '_')}_{tmp_path.name.replace('-', '_')}"
        folder = tmp_path / f"site{installed}"
        points = {name: value.replace("MODULE", module) for name, value in entry_points.items()}
        distribution(folder, package, points)
        (folder / f"{module}.py").write_text(MODULE.format(name=contextualizer))
        monkeypatch.syspath_prepend(folder)

    return install


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "contextualizers.d"
    made.mkdir()
    return made


@pytest.fixture
def drop_in(folder: Path) -> Write:
    """Return a function that writes an executable which describes itself and plans as given."""

    def write(name: str, describe: str = "", plan: str = "", mode: int = 0o755) -> Path:
        path = folder / name
        describe = describe or f'{{"name": "{name}", "reads": ["motd"]}}'
        script = f"#!{sys.executable}\nimport json, os, sys, time\n"
        script += f"if sys.argv[1] == 'describe':\n    print({describe!r})\nelse:\n"
        script += "    question = json.load(sys.stdin)\n" + "".join(
            f"    {line}\n" for line in dedent(plan or "pass").splitlines()
        )
        path.write_text(script)
        path.chmod(mode)
        return path

    return write


def found(folder: Path, *disabled: str) -> Loaded:
    return load(Settings(contextualize=Contextualize(dropins=str(folder), disabled=disabled)))


def names(loaded: Loaded) -> list[str]:
    return [contextualizer.name for contextualizer in loaded.contextualizers]


def messages(loaded: Loaded, part: str) -> list[str]:
    return [problem.message for problem in loaded.problems if problem.place.part == part]


# Packages


def test_packages_are_found_by_their_entry_points(package: Callable[..., None], folder: Path) -> None:
    package("site-mine", "mine", mine="MODULE:Mine")
    assert "mine" in names(found(folder))


def test_a_broken_package_is_a_warning_and_takes_no_other_with_it(package: Callable[..., None], folder: Path) -> None:
    package("site-mine", "mine", mine="MODULE:Mine", gone="MODULE:Gone", nameless="MODULE:Nameless", path="os:getcwd")
    loaded = found(folder)
    assert "mine" in names(loaded)
    warnings = [problem for problem in loaded.problems if problem.place.part == "site-mine"]
    assert [problem.severity for problem in warnings] == [Severity.WARNING] * 3
    assert [problem.message.split(":")[0] for problem in warnings] == [
        f"its contextualizer {name} cannot be loaded" for name in ("gone", "nameless", "path")
    ]


def test_a_sites_own_contextualizer_replaces_ours(package: Callable[..., None], drop_in: Write, folder: Path) -> None:
    """A package replaces what we bring, and a file of the site replaces both; each is told."""
    package("site-mine", "users", users="MODULE:Mine")
    path = drop_in("x", '{"name": "users", "reads": []}')
    loaded = found(folder)
    assert names(loaded).count("users") == 1
    assert type(loaded.contextualizers[names(loaded).index("users")]).__doc__ == f"The drop-in {path}."
    reason = f"its contextualizer users is left out: {path} has one of the same name"
    assert messages(loaded, "site-mine") == [reason]
    assert reason in messages(loaded, "ucvm-agent")


def test_settings_leave_contextualizers_out(drop_in: Write, folder: Path) -> None:
    """What they read is still known; a name that does not exist is told with the nearest that does."""
    drop_in("motd")
    loaded = found(folder, "motd", "mots")
    assert "motd" not in names(loaded)
    assert [contextualizer.name for contextualizer in loaded.disabled] == ["motd"]
    assert messages(loaded, "contextualize.disabled") == ["there is no contextualizer mots"]
    assert loaded.problems[-1].hint == "did you mean motd?"


# Drop-ins


def planned(folder: Path, root: Path, **values: object) -> Plan:
    ours = [each for each in found(folder).contextualizers if str(folder) in str(type(each).__doc__)]
    return make_plan(written(values), System(root), ours)


def test_a_drop_in_says_what_it_is_and_what_it_wants(drop_in: Write, folder: Path, tmp_path: Path) -> None:
    drop_in(
        "site",
        '{"name": "site", "reads": ["motd", "[site] who"], "after": ["users"], "frequency": "boot"}',
        """
        assert sorted(question) == ["facts", "metadata", "options", "root"]
        content = json.dumps([question["options"], question["root"], os.getcwd()])
        print(json.dumps({"actions": [{"kind": "file", "path": "/etc/motd", "content": content}]}))
        """,
    )
    plan = planned(folder, tmp_path, motd={"a": [1, None]}, hostname="ignored")
    (step,) = plan.steps
    assert step.contextualizer == "site"
    assert step.frequency is Frequency.BOOT
    content = f'[{{"motd": {{"a": [1, null]}}}}, "{tmp_path}", "/"]'
    assert step.action == WriteFile(path="/etc/motd", content=content.encode())
    assert [problem.message for problem in plan.problems] == ["unknown key hostname"]


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ("sys.exit(3)", "it ended with exit status 3"),
        ("print('hello')", "its answer cannot be used"),
        ("print('{}')", "actions: Field required"),
        ("os.kill(os.getpid(), 9)", "it ended with exit status -9"),
        ('print(json.dumps({"actions": [{"kind": "format", "disk": "/dev/sda"}]}))', "action 1: no kind of action"),
    ],
)
def test_a_failing_drop_in_is_an_error_of_its_own(
    drop_in: Write, folder: Path, tmp_path: Path, plan: str, message: str
) -> None:
    drop_in("site", plan=plan)
    drop_in("sound", plan='print(json.dumps({"actions": [{"kind": "directory", "path": "/sound"}]}))')
    made = planned(folder, tmp_path, motd="secret of the context")
    assert [step.action.target for step in made.steps] == ["/sound"]
    (problem,) = made.problems
    assert problem.severity is Severity.ERROR
    assert message in problem.message
    assert "secret of the context" not in problem.message


def test_what_is_right_in_an_answer_counts(drop_in: Write, folder: Path, tmp_path: Path) -> None:
    drop_in(
        "site",
        plan="""
        print(json.dumps({"actions": [
            {"kind": "file", "path": "/one", "content": "", "mod": "0644"},
            {"kind": "file", "path": "/two", "content": ""}]}))
        """,
    )
    made = planned(folder, tmp_path)
    assert [step.action.target for step in made.steps] == ["/two"]
    assert made.problems[0].message == "site: action 1: file: mod: Extra inputs are not permitted"


@pytest.mark.parametrize(
    "describe", ["no JSON", '{"name": "Not Good"}', '{"name": "x", "raeds": []}', '{"name": "x", "frequency": "daily"}']
)
def test_what_does_not_describe_itself_is_left_out(drop_in: Write, folder: Path, describe: str) -> None:
    path = drop_in("site", describe)
    loaded = found(folder)
    assert len(messages(loaded, str(path))) == 1
    assert not loaded.disabled


def test_only_files_that_nobody_else_could_have_written_are_run(drop_in: Write, folder: Path) -> None:
    """Hidden files and folders are passed over; what looks like a mistake is told."""
    everybody, plain = drop_in("everybody", mode=0o777), drop_in("plain", mode=0o644)
    drop_in(".hidden")
    (folder / "folder").mkdir()
    (folder / "dangling").symlink_to("nowhere")
    loaded = found(folder)
    assert messages(loaded, str(everybody)) == ["it is left out: everybody may write to it"]
    assert messages(loaded, str(plain)) == ["it is left out: it is not executable"]
    assert messages(loaded, str(folder / "dangling")) == ["it cannot be used: No such file or directory"]
    assert not {"everybody", "plain", ".hidden"} & set(names(loaded))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_that_a_group_may_write_to_is_not_run(drop_in: Write, folder: Path) -> None:
    """Unless the group is root's."""
    ours, others = drop_in("ours", mode=0o775), drop_in("others", mode=0o775)
    os.chown(others, 0, 1000)
    loaded = found(folder)
    assert messages(loaded, str(others)) == ["it is left out: group 1000 may write to it"]
    assert messages(loaded, str(ours)) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_another_user_is_not_run(drop_in: Write, folder: Path) -> None:
    path = drop_in("stranger")
    os.chown(path, 65534, 65534)
    assert messages(found(folder), str(path)) == ["it is left out: it belongs to user 65534"]


def test_a_call_takes_no_longer_than_it_may_and_leaves_nothing_behind(drop_in: Write, tmp_path: Path) -> None:
    """Neither the drop-in nor what it started in the background."""
    pid = tmp_path / "pid"
    path = drop_in(
        "slow", plan=f"if not os.fork():\n    open({str(pid)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)"
    )
    begun = time.monotonic()
    with pytest.raises(ValueError, match="it took more than 1 seconds"):
        call(path, "plan", b"{}", seconds=1)
    assert time.monotonic() - begun < 30
    assert ends(int(pid.read_text()))


def ends(pid: int) -> bool:
    """Wait until a process that has been killed is gone."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    ready, _, _ = select.select([descriptor], [], [], 30)
    os.close(descriptor)
    return bool(ready)


def test_a_call_prints_no_more_than_it_may(drop_in: Write) -> None:
    path = drop_in("talker", plan=f"sys.stdout.write('x' * {MAX_OUTPUT + 1}); sys.stdout.flush()")
    with pytest.raises(ValueError, match="it printed more than 4194304 bytes"):
        call(path, "plan", b"{}")


def test_what_cannot_be_started_says_so(folder: Path) -> None:
    path = folder / "text"
    path.write_text("#!/no/such/interpreter\n")
    path.chmod(0o755)
    with pytest.raises(ValueError, match="it cannot be started: No such file"):
        call(path, "describe")


# Actions as JSON

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIH3Jf5b6hOQxvzrmC1Z7a1vN1mGxCzPfVYwHn0P0Cw1k"


@pytest.mark.parametrize(
    ("item", "action"),
    [
        (
            {"kind": "file", "path": "/x", "content_base64": "AAE=", "mode": "0600", "frequency": "once"},
            WriteFile(path="/x", content=b"\0\1", mode=0o600, frequency=Frequency.ONCE),
        ),
        (
            {"kind": "user", "name": "atlas", "groups": ["wheel"], "uid": 1234},
            EnsureUser(name="atlas", groups=("wheel",), uid=1234),
        ),
        ({"kind": "authorized_keys", "user": "root", "keys": [KEY]}, AuthorizeKeys(user="root", keys=(KEY,))),
        (
            {"kind": "command", "argv": ["/bin/true"], "environment": {"A": "1"}},
            RunCommand(argv=("/bin/true",), environment=(("A", "1"),)),
        ),
    ],
)
def test_actions_can_be_written_as_json(item: dict[str, object], action: Action) -> None:
    assert make_action(item) == action


@given(st.binary())
def test_any_bytes_can_be_given_in_base64(content: bytes) -> None:
    item = {"kind": "file", "path": "/x", "content_base64": base64.b64encode(content).decode()}
    assert make_action(item) == WriteFile(path="/x", content=content)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
KINDS = st.sampled_from(["file", "directory", "user", "group", "archive", "command", "script", "link", "unit", "x"])
FIELDS = st.sampled_from(["path", "content", "content_base64", "mode", "name", "argv", "environment", "text", "to"])


@given(KINDS, st.dictionaries(FIELDS, JSON))
def test_whatever_is_no_action_is_a_value_error(kind: str, fields: dict[str, object]) -> None:
    try:
        made = make_action({"kind": kind, **fields})
    except ValueError:
        return
    assert made.kind == kind
