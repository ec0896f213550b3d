r"""Contextualizers that are executables in any language, for what a site adds without a Python package.

An executable in `/etc/ucvm-agent/contextualizers.d` is called in two ways, as the user that runs the agent, with `/`
as its working directory and little more than PATH in its environment.

`EXE describe` prints one JSON object that says what it is:

    {"name": "site-motd",                   unique; lower-case letters, digits, - and _
     "reads": ["motd", "[site] motd"],      keys of the context, as people write them, optional
     "after": ["users"], "before": [],      names of contextualizers, optional
     "frequency": "instance"}               or "boot" or "once", optional

`EXE plan` reads one JSON object from its standard input:

    {"options": {"motd": "Welcome"},        those of its keys that the context holds, with their values
     "metadata": {"instance_id": "i-1", "hostname": "", "region": "", "zone": "",
                  "public_keys": [], "addresses": []},
     "facts": {"hostname": "node", "machine": "x86_64", "kernel": "6.1.0", "cpus": 4, "memory": 8589934592,
               "os_id": "debian", "os_version": "12", "has_systemd": true},
     "root": "/"}                           the directory that is treated as /: read there, change nothing

and prints one JSON object with the actions that it wants done, one after another:

    {"actions": [{"kind": "file", "path": "/etc/motd", "content": "Welcome\n", "mode": "0644"},
                 {"kind": "restart", "unit": "ssh.service", "because": ["/etc/motd"]}]}

An action has the fields of its class in `ucvm_agent.contextualize.actions`, which also names the kinds: `file`,
`directory`, `link`, `archive`, `group`, `user`, `authorized_keys`, `hostname`, `unit`, `restart`, `command`, `script`.
Modes are octal text. Bytes are text, or base64 in a field with `_base64` at the end of its name (`content_base64`).
`environment` is an object. A field that does not exist is a mistake, and the whole action is left out.

`plan` must change nothing and answer the same to the same input: it is called for the dry run, too, and whatever
the context holds. Each call has 10 seconds and may print 4 MiB. Exit status 0 is success; with any other nothing is
done, and the context gets a problem.
What it writes to standard error goes to the debug log, so it must hold no secret.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from ucvm_agent.contextualize.action_json import make_action
from ucvm_agent.contextualize.base import Action, Context, Contextualizer, Frequency, Options, Reads, System
from ucvm_agent.contextualize.call import call
from ucvm_agent.contextualize.redaction import explain


class Description(BaseModel):
    """What `EXE describe` prints."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")
    reads: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    frequency: Frequency = Frequency.INSTANCE


M = TypeVar("M", bound=BaseModel)


class Answer(BaseModel):
    """What `EXE plan` prints."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    actions: tuple[dict[str, Any], ...]


class DropIn(Contextualizer[Options]):
    """A contextualizer that asks an executable; `describe` makes a subclass for each."""

    path: ClassVar[Path]

    def plan(self, options: Options, context: Context, system: System) -> Iterable[Action]:
        """Yield the actions that the executable answers.

        Raises:
            ValueError: it failed, or asked for something that is no action; what is right has been yielded.
        """
        given = {_key(type(options), name): getattr(options, name) for name in options.model_fields_set}
        question = {
            "options": given,
            "metadata": asdict(context.metadata),
            "facts": asdict(system.facts),
            "root": str(system.root),
        }
        answer = _parsed(Answer, call(self.path, "plan", json.dumps(question).encode()))
        mistakes = []
        for number, item in enumerate(answer.actions, start=1):
            try:
                yield make_action(item)
            except ValueError as error:
                mistakes.append(f"action {number}: {error}")
        if mistakes:
            raise ValueError("; ".join(mistakes))


def describe(path: Path) -> DropIn:
    """Ask the executable `path` what it is.

    Raises:
        ValueError: it failed, or its answer is not a description.
    """
    description = _parsed(Description, call(path, "describe"))
    options: dict[str, Any] = {
        f"option_{number}": (Annotated[Any, Reads(key)], None) for number, key in enumerate(description.reads)
    }
    attributes = {
        "__doc__": f"The drop-in {path}.",
        "path": path,
        "name": description.name,
        "options": create_model(f"Options of {description.name}", __base__=Options, **options),
        "after": description.after,
        "before": description.before,
        "frequency": description.frequency,
    }
    made: DropIn = type(f"DropIn {description.name}", (DropIn,), attributes)()
    return made


def _key(options: type[Options], name: str) -> str:
    notes = options.model_fields[name].metadata
    return next(note.keys[0] for note in notes if isinstance(note, Reads))


def _parsed(model: type[M], output: bytes) -> M:
    try:
        return model.model_validate_json(output)
    except ValidationError as error:
        raise ValueError(f"its answer cannot be used: {explain(error)}") from None
