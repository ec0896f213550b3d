"""The shape of the program: which room imports which, what is documented, and what is loaded only where it is used."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import contextualizers
import ucvm_agent
from ucvm_agent import errors
from ucvm_agent.cli import main as cli
from ucvm_agent.settings import Section, Settings

PACKAGE = Path(ucvm_agent.__file__).parent
REPOSITORY = PACKAGE.parent
CONTEXTUALIZERS = Path(contextualizers.__file__).parent

SHARED = {"errors", "events", "settings", "store", "files", "public_key", "nearest", "expected", "salted"}
"""What every room may import: data, durable state, and small rules that several rooms keep."""

ROOMS = {
    "settings": set[str](),
    "files": set[str](),
    "store": {"sources"},
    "process": set[str](),
    "network": set[str](),
    "bootloader": {"sources", "userdata"},
    "sources": {"network"},
    "userdata": {"sources"},
    "include": {"sources", "userdata", "network"},
    "contextualize": {"userdata", "network"},
    "copilot": set[str](),
    "jobs": {"copilot", "transfer", "xmpp", "network", "sources"},
    "xmpp": {"network"},
    "controller": {"copilot", "xmpp", "report", "network", "process"},
    "report": {"xmpp", "copilot", "network"},
    "transfer": {"network"},
    "cluster": {"sources", "userdata", "contextualize", "network"},
    "assignment": {"sources", "copilot", "xmpp", "network"},
    "stages": {"sources", "assignment", "include", "userdata", "cluster", "contextualize", "network"},
    "pairing": {"sources", "stages"},
    "monitoring": {"copilot", "xmpp"},
    "operators": {"copilot", "xmpp"},
    "daemon": {
        "assignment",
        "contextualize",
        "copilot",
        "jobs",
        "monitoring",
        "operators",
        "process",
        "report",
        "sources",
        "stages",
        "xmpp",
    },
    "cli": {"contextualize", "daemon", "pairing", "process", "sources", "stages"},
}
"""What each room imports besides: its data come from there. `store` keeps what a source found."""

HEAVY = {
    "aiohttp": {
        "controller/client.py",
        "controller/web/figures.py",
        "controller/web/files.py",
        "controller/web/guard.py",
        "controller/web/jobs.py",
        "controller/web/live.py",
        "controller/web/machines.py",
        "controller/web/operation.py",
        "controller/web/site.py",
        "sources/ec2.py",
        "sources/service.py",
        "sources/online_service.py",
        "cluster/service.py",
        "report/http.py",
        "transfer/schemes/http.py",
        "monitoring/openmetrics.py",
        "network/http.py",
    },
    "slixmpp": {
        "monitoring/room.py",
        "operators/adhoc.py",
        "operators/forms.py",
        "operators/text.py",
        "xmpp/account.py",
        "xmpp/client.py",
        "xmpp/stream.py",
    },
    "psutil": {"monitoring/figures.py"},
    "prometheus_client": {"monitoring/openmetrics.py"},
    "redis": {"controller/ledger/redis_batch.py", "controller/ledger/redis_link.py"},
    "boto3": {"network/aws.py"},
    "s3transfer": {"transfer/schemes/s3.py"},
    "jinja2": {"userdata/jinja.py"},
    "jsonpatch": {"userdata/json_patch.py"},
    "cryptography": {
        "copilot/cipher.py",
        "copilot/public_keys.py",
        "copilot/secure.py",
        "copilot/signing_key.py",
        "copilot/tickets.py",
    },
    "yaml": {"userdata/cloud_config.py"},
    "tenacity": {"network/retry.py", "report/courier.py", "transfer/move.py", "xmpp/client.py"},
    "passlib": set[str](),
    "pycdlib": {"sources/volumes/iso.py"},
    "defusedxml": set[str](),
    "email": {"userdata/mime.py", "network/http.py"},
}
"""Modules that may load a library as soon as they are imported; such a module is imported where it is used."""


def modules(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def imported(path: Path, *, at_once: bool = False) -> Iterator[str]:
    """Yield what a module imports, types included; `at_once` leaves out what is imported later, or never."""
    tree = ast.parse(path.read_text())
    nodes = _at_once(tree.body) if at_once else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _at_once(body: list[ast.stmt]) -> Iterator[ast.AST]:
    for node in body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from ast.walk(node)


def test_every_room_is_known() -> None:
    """A new folder gets its place in the flow before it gets its code."""
    folders = {path.parent.relative_to(PACKAGE).parts[0] for path in PACKAGE.glob("*/__init__.py")}
    assert folders == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_comes_before_it(room: str) -> None:
    """The data go one way, and so do the imports."""
    allowed = SHARED | ROOMS[room] | {room, "__version__"}
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {name}"
        for path in modules(PACKAGE / room)
        for name in imported(path)
        if name.startswith("ucvm_agent.") and name.split(".")[1] not in allowed
    ]
    assert wrong == []


@pytest.mark.parametrize("module", sorted(SHARED - {"store"}))
def test_what_all_rooms_share_knows_no_room(module: str) -> None:
    """`errors`, `events` and `settings` can be imported from anywhere without a circle."""
    paths = modules(PACKAGE / module) or [PACKAGE / f"{module}.py"]
    ours = [name for path in paths for name in imported(path) if name.startswith("ucvm_agent.")]
    assert [name for name in ours if name.split(".")[1] not in SHARED - {"store"}] == []


def test_no_room_comes_before_itself() -> None:
    """What the rooms import of each other has an order."""
    order = list(TopologicalSorter(ROOMS).static_order())
    assert order.index("stages") < order.index("daemon") < order.index("cli")


def test_the_top_level_has_only_what_all_rooms_share() -> None:
    """A new module gets a room."""
    names = {path.stem for path in PACKAGE.glob("*.py")}
    assert names == {"__init__", "__main__", *SHARED - set(ROOMS)}


@pytest.mark.parametrize("path", modules(CONTEXTUALIZERS), ids=lambda path: path.name)
def test_our_contextualizers_use_the_contract_that_everybody_uses(path: Path) -> None:
    """What a first-party contextualizer needs, a site's engineer can have as well."""
    contract = ("ucvm_agent.contextualize.base.", "ucvm_agent.contextualize.actions.")
    ours = [name for name in imported(path) if name.startswith("ucvm_agent")]
    inside = [name for name in ours if not name.startswith(contract) or name.count(".") != 3]
    assert inside == []


@pytest.mark.parametrize("library", HEAVY)
def test_a_heavy_library_is_loaded_where_it_is_used(library: str) -> None:
    """A dry run has to start fast, and an idle daemon to stay small."""
    users = {
        str(path.relative_to(PACKAGE))
        for path in modules(PACKAGE)
        if any(name.split(".")[0] == library for name in imported(path, at_once=True))
    }
    assert users == HEAVY[library]


def test_every_error_is_in_the_tree_of_errors() -> None:
    """Its docstring draws each class beneath its base, with the exit code of the branch."""
    drawn: list[tuple[int, str]] = []
    bases: dict[str, str] = {}
    for match in re.finditer(r"^ {4}([│├└─ ]*)(\w+)", errors.__doc__ or "", re.MULTILINE):
        depth = len(match[1])
        while drawn and drawn[-1][0] >= depth:
            drawn.pop()
        bases[match[2]] = drawn[-1][1] if drawn else "Exception"
        drawn.append((depth, match[2]))
    classes = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.UcvmError)]
    assert bases == {kind.__name__: kind.__base__.__name__ for kind in classes if kind.__base__}


def test_every_exit_code_is_explained() -> None:
    """In the README for people, and in the command line's own text."""
    codes = {kind.exit_code for kind in vars(errors).values() if inspect.isclass(kind) and hasattr(kind, "exit_code")}
    table = {int(code) for code in re.findall(r"^\| (\d) \|", (REPOSITORY / "README.md").read_text(), re.MULTILINE)}
    text = {int(code) for code in re.findall(r"^ {4}(\d) ", cli.__doc__ or "", re.MULTILINE)}
    assert table == text == codes | {0}


def test_every_setting_says_what_it_means() -> None:
    """By a description, unless its name and its section say all."""
    plain = {"log.level", "xmpp.jid", "xmpp.password", "xmpp.port", "http.url", "http.token"}
    silent = {path for path, described in _described(Settings) if not described}
    assert silent == plain


def _described(section: type[Section], above: str = "") -> Iterator[tuple[str, bool]]:
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            yield from _described(kind, f"{above}{name}.")
        else:
            yield f"{above}{name}", bool(field.description)


@pytest.mark.parametrize("page", [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md")], ids=lambda page: page.name)
def test_links_of_the_documentation_lead_somewhere(page: Path) -> None:
    """Relative links name files of the repository."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("path", [*modules(PACKAGE), *modules(CONTEXTUALIZERS)], ids=lambda path: path.name)
def test_a_suppressed_warning_gives_its_reason(path: Path) -> None:
    """`noqa` and `type: ignore` say why on the same line."""
    marks = re.findall(r"# (?:noqa|type: ignore)[^\n]*", path.read_text())
    assert [mark for mark in marks if not re.search(r"( - |  # )\S", mark)] == []
