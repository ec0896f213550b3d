"""`## template: jinja`: a text that is filled in with what the platform says (references/clouds.md, section 5.2).

The data hold no secrets, and the template reaches nothing but them: it runs in jinja2's sandbox, without attributes
that begin with `_`, in a process with limits (`jinja.py`).
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import structlog
from pydantic import BaseModel

from ucvm_agent.errors import BoundExceeded
from ucvm_agent.nearest import suggest
from ucvm_agent.sources.base import Found
from ucvm_agent.userdata.context import Place
from ucvm_agent.userdata.problems import Problems

log = structlog.get_logger()

STANDARD = (
    "availability_zone",
    "cloud_name",
    "instance_id",
    "local_hostname",
    "platform",
    "public_ssh_keys",
    "region",
    "subplatform",
)
"""Names beneath `v1` that some platforms say."""

PATIENCE = 30.0
"""Seconds for a template on a busy machine, start of the process included; its computing has a limit of its own."""

_PROGRAM = Path(__file__).with_name("jinja.py")


class Answer(BaseModel):
    """What the program says of a template; `jinja.Filled` has the meaning of the fields."""

    text: str | None = None
    missing: tuple[str, ...] = ()
    failure: str = ""
    line: int = 0


def render(text: str, found: Found, place: Place, problems: Problems) -> str | None:
    """Return a template filled in; None if it cannot be. Blocks as long as `PATIENCE`.

    Arguments:
        text: the template, of which the first line is `place`.

    Raises:
        BoundExceeded: it takes too much time or memory.
    """
    answer = _ask(json.dumps({"text": text, "data": _data(found)}), place)
    if answer.text is None:
        where = Place(place.part, place.line + answer.line - 1, 1) if answer.line else place
        problems.error(where, f"the template cannot be filled in: {answer.failure}", "see jinja's documentation")
    for name in answer.missing:
        last = name.rpartition(".")[2]
        hint = (last not in STANDARD and suggest(last, STANDARD)) or "test it with {% if %}"
        message = f"the template names {name}, which this platform does not say"
        problems.warning(_find(name, text, place), message, hint)
    return answer.text


def _find(name: str, text: str, place: Place) -> Place:
    """Return where the template first names something; its beginning, if that is not told by the text."""
    if match := re.search(rf"\{{[{{%][^\n]*?(?<!\w)({re.escape(name.partition('.')[0])})(?!\w)", text):
        line_start = text.rfind("\n", 0, match.start(1)) + 1
        return Place(place.part, place.line + text.count("\n", 0, line_start), match.start(1) - line_start + 1)
    return place


def _ask(request: str, place: Place) -> Answer:
    """Run the program, and return what it answers."""
    try:
        # -P: what lies in the working directory is nobody's library.
        done = subprocess.run(
            [sys.executable, "-P", str(_PROGRAM)],
            input=request,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _too_much(place) from None
    if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        raise _too_much(place)
    if done.returncode:
        log.error("a template ended its process", code=done.returncode)
        return Answer(failure="its process crashed")
    return Answer.model_validate_json(done.stdout)


def _too_much(place: Place) -> BoundExceeded:
    where = f"{place.part}:{place.line}"
    return BoundExceeded("a template takes too much time or memory", where=where, hint="take out its loops")


def _data(found: Found) -> dict[str, Any]:
    """Return the names that cloud-init defines, as far as we know their values; each with `-` also as `_`."""
    metadata = found.metadata
    standard = {
        "cloud_name": found.source,
        "platform": found.source,
        "subplatform": found.origin,
        "region": metadata.region,
        "availability_zone": metadata.zone,
        "instance_id": metadata.instance_id,
        "local_hostname": metadata.hostname,
        "public_ssh_keys": list(metadata.public_keys),
    }
    known = {name: value for name, value in standard.items() if value}
    meta_data = {
        name: value for name, value in asdict(metadata).items() if value and name not in ("derived", "sequence")
    }
    meta_data |= {name: known[name] for name in ("local_hostname", "availability_zone") if name in known}
    meta_data |= {name.replace("_", "-"): value for name, value in meta_data.items()}
    both = known | {name.replace("_", "-"): value for name, value in known.items()}
    return {**known, "v1": both, "ds": {"meta_data": meta_data}}
