"""Where settings come from: five layers, of which a later one wins.

agent.toml                the file, `/etc/ucvm-agent/agent.toml` unless another is named
context.toml              what the user-data said, `/etc/ucvm-agent/context.toml` beneath the root
UCVM_XMPP__JID=…          the environment
ucvm.xmpp.jid=…           the kernel command line
--root DIR                the options of the command line

An image is the same for many machines and its user-data is for one, so user-data overrule the image's file; whoever
starts the machine or the agent has the last word. Only some tables can be set by user-data (`CONTEXT_TABLES`).

The controller's come the same way, but neither from user-data nor from the kernel command line: controller.toml,
UCVM_CONTROLLER_XMPP__JID=….
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from pydantic import ValidationError, create_model

from ucvm_agent.errors import ActionError, SettingsError
from ucvm_agent.settings import CONTEXT_FILE, CONTEXT_TABLES, CREDENTIALS, Section, Settings, leaves
from ucvm_agent.settings.mistakes import SettingPath, explain_toml, line_of, nearest, refused, united, unknown

KERNEL = "ucvm."

MAX_CONTEXT_FILE = 2**20
"""Bytes of the file with the settings of the user-data."""

S = TypeVar("S", bound=Section)

Tree = Mapping[str, Any]

_KERNEL_WORD = re.compile(r'(?:"[^"]*"?|[^\s"])+')
"""A parameter of the kernel: blanks between double quotes do not end it, and a quote may be left open."""


@dataclass(frozen=True, slots=True)
class Program(Generic[S]):
    """Whose settings are read.

    Arguments:
        model: declares them.
        file: where they are unless another file is named; it need not exist.
        prefix: of its variables in the environment.
        others: prefixes of other programs, whose variables are none of its business.
        listing: the command that lists all settings.
    """

    model: type[S]
    file: Path
    prefix: str
    others: tuple[str, ...] = ()
    listing: str = "ucvm-agent config"


AGENT = Program(Settings, Path("/etc/ucvm-agent/agent.toml"), "UCVM_", ("UCVM_CONTROLLER_",))


@dataclass(frozen=True, slots=True)
class Effective(Generic[S]):
    """The settings in force, and for each that is not a default where it was set.

    Arguments:
        refused: why those of the user-data do not count, if they do not: a wrong one must not keep the agent away.
    """

    settings: S
    origins: Mapping[SettingPath, str]
    refused: SettingsError | None = None


@dataclass(frozen=True, slots=True)
class Layer:
    """What one place says: its values, and how it names where it sets one (`agent.toml line 3`, `UCVM_XMPP__JID`)."""

    values: Mapping[SettingPath, object]
    where: Callable[[SettingPath], str]


def load(
    file: Path | None,
    environment: Mapping[str, str],
    kernel_command_line: str,
    options: Tree,
    *,
    with_context: bool = True,
) -> Effective[Settings]:
    """Read all layers of the agent into one.

    Arguments:
        file: the settings file; None = the default one, which need not exist.
        environment: of the process.
        kernel_command_line: `/proc/cmdline`.
        options: of the command line, nested as the settings are; what was not given is absent.
        with_context: False leaves out what the user-data said.

    Raises:
        SettingsError: unreadable file, unknown setting (with the nearest right name), impossible value; what is
            wrong in the file of the user-data only leaves that file out.
    """
    layers = _layers(AGENT, file, environment, options, kernel_command_line)
    effective = _merge(AGENT, layers)
    text = read_context_file(effective.settings.root) if with_context else None
    if not text:
        return effective
    path = effective.settings.root / CONTEXT_FILE.lstrip("/")
    try:
        context = _context_layer(text, path)
        return _merge(AGENT, (_beneath(layers[0], context), context, *layers[1:]))
    except SettingsError as error:
        return replace(effective, refused=error)


def load_for(program: Program[S], file: Path | None, environment: Mapping[str, str], options: Tree) -> Effective[S]:
    """Read all layers of a program into one; see `load`.

    Raises:
        SettingsError: as `load` does.
    """
    return _merge(program, _layers(program, file, environment, options))


def read_context_file(root: Path) -> bytes | None:
    """Return the file with the settings of the user-data as it is; None if there is none, or it may not be read."""
    from ucvm_agent.files.rootfs import RootFS

    try:
        return RootFS(root).read(CONTEXT_FILE, MAX_CONTEXT_FILE)
    except ActionError:  # an unprivileged dry run goes without
        return None


def _layers(
    program: Program[S],
    file: Path | None,
    environment: Mapping[str, str],
    options: Tree,
    kernel_command_line: str = "",
) -> tuple[Layer, ...]:
    return (
        _file_layer(program, file),
        _environment_layer(program, environment),
        _kernel_layer(program, kernel_command_line),
        Layer(dict(_values(options)), lambda _: "command line"),
    )


def _merge(program: Program[S], layers: Iterable[Layer]) -> Effective[S]:
    merged: dict[str, Any] = {}
    origins: dict[SettingPath, str] = {}
    mistakes: list[SettingsError] = []
    known = {path for path, _ in leaves(program.model)}
    for layer in layers:
        for path, value in layer.values.items():
            origins[path] = layer.where(path)
            if path in known:
                _put(merged, path, value)
            else:
                mistakes.append(unknown(path, known, origins[path], program.listing))
    try:
        settings = program.model.model_validate(merged)
    except ValidationError as error:
        mistakes += refused(error, origins)
    if mistakes:
        raise united(mistakes)
    return Effective(settings, origins)


def _file_layer(program: Program[S], file: Path | None) -> Layer:
    path = file or program.file
    if file is None and not path.exists():
        return Layer({}, lambda _: str(path))
    try:
        return _toml_layer(path.read_bytes(), path)
    except OSError as error:
        raise SettingsError(f"cannot be read: {error.strerror}", where=str(path)) from error


def _context_layer(content: bytes, path: Path) -> Layer:
    layer = _toml_layer(content, path)
    for setting in layer.values:
        if setting[0] not in CONTEXT_TABLES:
            raise SettingsError(f"user-data cannot set {'.'.join(setting)}", where=layer.where(setting))
    return layer


def _beneath(file: Layer, context: Layer) -> Layer:
    """Return what of the settings file counts beneath the user-data: its secrets are for its own addresses only."""
    secrets = {
        (table, secret)
        for table, (address, *secrets) in CREDENTIALS.items()
        if any((table, each) in context.values for each in (address, *secrets))
        for secret in secrets
    }
    return replace(file, values={path: value for path, value in file.values.items() if path not in secrets})


def _toml_layer(content: bytes, path: Path) -> Layer:
    import tomllib

    try:
        text = content.decode()
        values = dict(_values(tomllib.loads(text)))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        reason, hint = explain_toml(error, content)
        raise SettingsError(reason, where=str(path), hint=hint) from None

    def where(setting: SettingPath) -> str:
        line = line_of(text, setting)
        return f"{path} line {line}" if line else str(path)

    return Layer(values, where)


def _environment_layer(program: Program[S], environment: Mapping[str, str]) -> Layer:
    given = {
        name: value
        for name, value in environment.items()
        if name.startswith(program.prefix) and not name.startswith(program.others)
    }
    return _spelled_layer(program, given, "", program.prefix, "__", str.upper)


def _kernel_layer(program: Program[S], command_line: str) -> Layer:
    words = (word.replace('"', "") for word in _KERNEL_WORD.findall(command_line))
    pairs = (word.partition("=") for word in words if word.startswith(KERNEL))
    # The kernel itself takes `-` and `_` in names for the same.
    given = {name.lower().replace("-", "_"): value for name, _, value in pairs}
    return _spelled_layer(program, given, "kernel command line ", KERNEL, ".", str.lower)


def _spelled_layer(
    program: Program[S],
    given: Mapping[str, str],
    place: str,
    prefix: str,
    delimiter: str,
    case: Callable[[str], str],
) -> Layer:
    """Return the layer of a place that writes a setting as one name: prefix and steps, in upper or lower case."""

    def spell(path: SettingPath) -> str:
        return prefix + case(delimiter.join(path))

    if given:
        known = {spell(path) for path, _ in leaves(program.model)}
        mistakes = [
            SettingsError("unknown setting", where=f"{place}{name}", hint=nearest(name, known, program.listing))
            for name in given
            if name not in known
        ]
        if mistakes:
            raise united(mistakes)
    nested = _nested(program, given, prefix, delimiter)
    return Layer(dict(_values(nested)), lambda path: f"{place}{spell(path)}")


def _nested(program: Program[S], given: Mapping[str, str], prefix: str, delimiter: str) -> Tree:
    if not given:
        return {}
    # Loaded for those who use these layers: a dry run has to start fast.
    from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

    class Raw(BaseSettings):
        model_config = SettingsConfigDict(enable_decoding=False)

    bases: Any = (program.model, Raw)
    written = cast("type[Raw]", create_model("Written", __base__=bases))
    source = EnvSettingsSource(written, env_prefix=prefix, env_nested_delimiter=delimiter)
    source.env_vars = {name.lower(): value for name, value in given.items()}
    return source()


def _values(tree: Tree, above: SettingPath = ()) -> Iterator[tuple[SettingPath, object]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _values(value, (*above, name))
        else:
            yield (*above, name), value


def _put(tree: dict[str, Any], path: SettingPath, value: object) -> None:
    for step in path[:-1]:
        tree = tree.setdefault(step, {})
    tree[path[-1]] = value
