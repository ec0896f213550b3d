"""Which contextualizers there are: our own, those of installed packages, and a site's drop-ins.

All but the drop-ins are found by their entry point in the group `ucvm_agent.contextualizers`; our own are
registered like anybody's. Whatever is wrong with one of them is a problem to be shown, and takes no other with it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from ucvm_agent.contextualize.base import Contextualizer
from ucvm_agent.contextualize.redaction import trace
from ucvm_agent.nearest import suggest
from ucvm_agent.userdata.context import Place, Problem, Severity

if TYPE_CHECKING:
    from ucvm_agent.settings import Settings

log = structlog.get_logger()

GROUP = "ucvm_agent.contextualizers"
OURS = "contextualizers"
"""The package whose contextualizers give way to others of the same name."""

Origin = EntryPoint | Path
"""Where a contextualizer was found."""

AT_ONCE = 8
"""Most drop-ins that are asked at the same time what they are."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """The contextualizers of this machine.

    Arguments:
        contextualizers: those that take part, by name.
        disabled: those that the settings leave out; what they read is no mistake in a context.
        problems: what is wrong with the others; `Place.part` names a package, a file or a setting.
    """

    contextualizers: tuple[Contextualizer[Any], ...]
    disabled: tuple[Contextualizer[Any], ...]
    problems: tuple[Problem, ...]


def load(settings: Settings) -> Loaded:
    """Find and load the contextualizers; blocks."""
    problems: list[Problem] = []
    chosen: dict[str, tuple[Contextualizer[Any], Origin]] = {}
    # The nearest to the site wins: its own files, then packages that it installed, then ours.
    found: list[tuple[Contextualizer[Any], Origin]] = [*_drop_ins(Path(settings.contextualize.dropins), problems)]
    found += _packaged(problems)
    for contextualizer, origin in found:
        name = contextualizer.name
        if name in chosen:
            message = f"its contextualizer {name} is left out: {_called(chosen[name][1])} has one of the same name"
            problems.append(_warning(_called(origin), message, "give one of them another name, or uninstall it"))
        else:
            chosen[name] = contextualizer, origin
    unwanted = set(settings.contextualize.disabled)
    problems += _unknown(unwanted, set(chosen))
    return Loaded(
        contextualizers=tuple(chosen[name][0] for name in sorted(chosen) if name not in unwanted),
        disabled=tuple(chosen[name][0] for name in sorted(chosen) if name in unwanted),
        problems=tuple(problems),
    )


def _warning(part: str, message: str, hint: str = "") -> Problem:
    return Problem(Severity.WARNING, Place(part), message, hint)


def _unknown(unwanted: set[str], known: set[str]) -> Iterator[Problem]:
    for name in sorted(unwanted - known):
        hint = suggest(name, known) or f"there are {', '.join(sorted(known))}"
        yield _warning("contextualize.disabled", f"there is no contextualizer {name}", hint)


# Packages


def _packaged(problems: list[Problem]) -> Iterator[tuple[Contextualizer[Any], EntryPoint]]:
    """Yield the contextualizers of installed packages, ours last."""
    points = entry_points(group=GROUP)
    for point in sorted(points, key=lambda point: (point.module.split(".")[0] == OURS, point.name, point.value)):
        try:
            yield _made(point), point
        except Exception as error:  # importing a third party's code may raise anything
            package = _called(point)
            log.debug("contextualizer cannot be loaded", distribution=package, name=point.name, trace=trace(error))
            message = f"its contextualizer {point.name} cannot be loaded: {type(error).__name__}: {error}"
            problems.append(_warning(package, message, f"repair or uninstall the package {package}"))


def _called(origin: Origin) -> str:
    """Return what people call an origin; asked for only when something is wrong, since packages are slow to tell."""
    if isinstance(origin, Path):
        return str(origin)
    return origin.dist.name if origin.dist else "unknown package"


def _made(point: EntryPoint) -> Contextualizer[Any]:
    made = point.load()()
    if not isinstance(made, Contextualizer):
        raise TypeError(f"{point.value} is no Contextualizer")
    for attribute in ("name", "options"):
        if not hasattr(made, attribute):
            raise TypeError(f"{point.value} has no `{attribute}`")
    return made


# Drop-ins


def _drop_ins(folder: Path, problems: list[Problem]) -> Iterator[tuple[Contextualizer[Any], Path]]:
    """Yield the contextualizers that are executables in `folder`, by the names of the files."""
    paths = [path for path in _listed(folder) if _is_usable(path, problems)]
    if not paths:
        return
    from concurrent.futures import ThreadPoolExecutor

    from ucvm_agent.contextualize.dropin import describe

    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = [(path, pool.submit(describe, path)) for path in paths]
    for path, answer in answers:
        try:
            yield answer.result(), path
        except (ValueError, OSError) as error:
            problems.append(_warning(str(path), str(error), f"run `{path} describe` to see what it answers"))


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError:
        return []


def _is_usable(path: Path, problems: list[Problem]) -> bool:
    """Say whether a file may be run: what others could have written would be others' orders to root."""
    try:
        status = path.stat()
    except OSError as error:
        problems.append(_warning(str(path), f"it cannot be used: {error.strerror}"))
        return False
    if not stat.S_ISREG(status.st_mode):
        return False
    if status.st_uid not in (0, os.geteuid()):
        problems.append(_warning(str(path), f"it is left out: it belongs to user {status.st_uid}", "chown it to root"))
        return False
    if status.st_mode & stat.S_IWOTH:
        problems.append(_warning(str(path), "it is left out: everybody may write to it", "chmod o-w it"))
        return False
    if status.st_mode & stat.S_IWGRP and status.st_gid not in (0, os.getegid()):
        message = f"it is left out: group {status.st_gid} may write to it"
        problems.append(_warning(str(path), message, "chmod g-w it"))
        return False
    if not status.st_mode & stat.S_IXUSR:
        message = "it is left out: it is not executable"
        problems.append(Problem(Severity.NOTE, Place(str(path)), message, "chmod +x it, or move it elsewhere"))
        return False
    return True
