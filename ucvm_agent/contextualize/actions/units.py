"""Unit files of systemd beneath a root: which links enable a unit (systemd.unit(5), section [Install])."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ucvm_agent.contextualize.system import ENVIRONMENT
from ucvm_agent.errors import ActionError
from ucvm_agent.files.rootfs import Kind, RootFS

if TYPE_CHECKING:
    from ucvm_agent.contextualize.system import System

LINKS = "/etc/systemd/system"
FOLDERS = (
    LINKS,
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)

_LIMIT = 1024 * 1024
_NAME = re.compile(r"[A-Za-z0-9:_.\\][A-Za-z0-9:_.\\@-]{0,254}")
_TYPES = (".service", ".socket", ".target", ".timer", ".path", ".mount", ".automount", ".swap", ".slice")
_IS_ACTIVE_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class Install:
    """What enables a unit.

    Arguments:
        path: the unit file.
        links: the symbolic links that have to exist.
        also: units that are to be enabled with it.
    """

    path: str
    links: tuple[str, ...] = ()
    also: tuple[str, ...] = ()


def demand_unit_name(name: str) -> None:
    """Raise ValueError unless this can be the name of a unit."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name[:60]!r} is no name of a unit, such as sshd.service")


def full_name(name: str) -> str:
    """Return the name with its type: a service, if it does not say."""
    return name if name.endswith(tuple(_TYPES)) else f"{name}.service"


def find_install(files: RootFS, unit: str) -> Install | None:
    """Return what enables a unit; None if there is no such unit.

    Raises:
        ActionError: it is masked, or a template without an instance.
    """
    prefix, at, rest = unit.partition("@")
    instance, _, suffix = rest.rpartition(".")
    names = (unit, f"{prefix}@.{suffix}") if at else (unit,)
    paths = (f"{folder}/{name}" for name in names for folder in FOLDERS)
    found = next((path for path in paths if files.status(path, follow=False)), None)
    if found is None:
        return None
    keys = _read_install(_unmasked(files, found, unit))
    if at and not instance:
        instance = "".join(keys.get("DefaultInstance", [])[-1:])
        if not instance:
            raise ActionError(f"{unit} is a template", hint=f"name an instance, as in {prefix}@name.{suffix}")
        unit = f"{prefix}@{instance}.{suffix}"
    meanings = {"%i": instance, "%p": prefix if at else unit.rpartition(".")[0], "%n": unit, "%%": "%"}

    def units(key: str) -> Iterator[str]:
        for word in keys.get(key, []):
            name = re.sub("%.", lambda match: meanings.get(match[0], match[0]), word)
            if _NAME.fullmatch(name):
                yield name

    links = [f"{LINKS}/{name}.wants/{unit}" for name in units("WantedBy")]
    links += [f"{LINKS}/{name}.requires/{unit}" for name in units("RequiredBy")]
    links += [f"{LINKS}/{name}" for name in units("Alias") if name != unit]
    return Install(found, tuple(links), tuple(units("Also")))


def _unmasked(files: RootFS, path: str, unit: str) -> str:
    there = files.status(path, follow=False)
    content = files.read(path, _LIMIT)
    if content == b"" or (there and there.kind is Kind.LINK and there.link == "/dev/null"):
        raise ActionError(f"{unit} is masked", where=path, hint="unmask it, if it is to run")
    return (content or b"").decode(errors="replace")


def enable_by_hand(files: RootFS, unit: str) -> None:
    """Make the links that `systemctl enable` would make, where there is no systemctl."""
    waiting, seen = [unit], set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen or (install := find_install(files, name)) is None:
            continue
        seen.add(name)
        waiting += install.also
        for link in install.links:
            if files.status(link, follow=False) is None:
                files.make_link(link, install.path)


def is_active(system: System, unit: str) -> bool:
    """Whether a unit runs, as systemd says."""
    systemctl = system.program("systemctl")
    if systemctl is None:
        return False
    try:
        answer = subprocess.run(
            [systemctl, "is-active", "--quiet", "--", unit],
            timeout=_IS_ACTIVE_TIMEOUT,
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return answer.returncode == 0


def _read_install(text: str) -> Mapping[str, list[str]]:
    """Return the words of each key of [Install]; an empty value forgets those before it."""
    keys: dict[str, list[str]] = {}
    section = ""
    for line in text.replace("\\\n", " ").splitlines():
        line = line.strip()
        if line.startswith("[") and line.endswith("]"):
            section = line
        key, equals, value = line.partition("=")
        if section == "[Install]" and equals and line[0] not in "#;":
            key = key.strip()
            keys[key] = keys.get(key, []) + value.split() if value.strip() else []
    return keys
