"""Scratch space on the worker nodes of a site: a complete contextualizer in a package of its own.

Install it beside the agent (`pip install examples/contextualizer`): the entry point in its pyproject.toml is all
that the agent needs to find it. Then a context may say, in cloud-config,

    scratch:
      path: /data/scratch
      owner: atlas
      environment: true

or, in the manner of amiconfig,

    [scratch]
    path = /data/scratch
    owner = atlas

See what it would do, without root and without a VM: `ucvm-agent --dry-run --user-data my.context`.
Its test, `pytest examples/contextualizer`, needs neither.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import field_validator

from ucvm_agent.contextualize.actions import Action, MakeDirectory, WriteFile
from ucvm_agent.contextualize.base import Context, Contextualizer, Options, Problem, Refusal, System, remark


class ScratchOptions(Options):
    """What it reads: the keys of `scratch:`, or the options of `[scratch]`.

    Arguments:
        path: the directory; without one nothing is done.
        owner: the user whose it is.
        environment: tell every login shell where it is, as $SCRATCH.
    """

    path: str = ""
    owner: str = "root"
    environment: bool = False

    @field_validator("path")
    @classmethod
    def _is_absolute(cls, path: str) -> str:
        if path and not path.startswith("/"):
            raise ValueError("expected an absolute path")
        return path


class Scratch(Contextualizer[ScratchOptions]):
    """Makes the directory, and tells the shells."""

    name = "scratch"
    options = ScratchOptions
    after = ("users",)

    def plan(self, options: ScratchOptions, context: Context, system: System) -> Iterable[Action]:
        """Yield the directory, and the file with the variable.

        Raises:
            Refusal: something else than a directory is in the way.
        """
        if not options.path:
            return
        there = system.status(options.path)
        if there and there.kind != "directory":
            raise Refusal("scratch.path", f"there is a {there.kind} at {options.path}", "choose another path")
        yield MakeDirectory(path=options.path, mode=0o1777 if options.owner == "root" else 0o755, owner=options.owner)
        if options.environment:
            yield WriteFile(path="/etc/profile.d/scratch.sh", content=f"export SCRATCH='{options.path}'\n".encode())

    def remarks(self, options: ScratchOptions, context: Context, system: System) -> Iterable[Problem]:
        """Tell the writer of a context what has no effect."""
        if options.environment and not options.path:
            yield remark(context, "scratch.environment", "there is no scratch space", "write scratch.path as well")
