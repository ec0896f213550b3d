"""`## template: jinja`: a text that is filled in with what the platform says (references/clouds.md, section 5.2).

Importing it loads jinja2, so import it where there is a template. The data hold no secrets, and the template
reaches nothing but them: it runs in jinja2's sandbox, without attributes that begin with `_`.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from jinja2 import TemplateError, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ucvm_agent.sources.base import Found
from ucvm_agent.userdata.context import Place
from ucvm_agent.userdata.problems import Problems

MARKER = "## template: jinja"
MISSING = "CI_MISSING_JINJA_VAR/"
"""What stands in the place of a name that there is nothing for, before the name."""

MAX_RENDERED = 2**20
"""Most characters that a template yields, and that a text in it is multiplied to."""


def render(text: str, found: Found, place: Place, problems: Problems) -> str | None:
    """Return a template filled in; None if it cannot be.

    Arguments:
        text: the template, of which the first line is `place`.
    """
    missing: dict[str, None] = {}

    class Missing(Undefined):
        """A name without a value: it stands for a text that says so, and is false in a condition."""

        def __str__(self) -> str:
            missing[str(self._undefined_name)] = None
            return f"{MISSING}{self._undefined_name}"

        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            return Missing(name=f"{self._undefined_name}.{name}")

        def __getitem__(self, name: object) -> Any:
            return Missing(name=f"{self._undefined_name}.{name}")

    environment = _Sandbox(undefined=Missing, keep_trailing_newline=True, trim_blocks=True)
    try:
        rendered = _bounded(environment.from_string(text).generate(_data(found)))
    except TemplateError as error:
        line = getattr(error, "lineno", None)
        where = Place(place.part, place.line + line - 1, 1) if line else place
        problems.error(where, f"the template cannot be filled in: {type(error).__name__}", "see jinja's documentation")
        return None
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        problems.error(place, f"the template cannot be filled in: {type(error).__name__}", "see jinja's documentation")
        return None
    for name in missing:
        problems.warning(place, f"the template names {name}, which this platform does not say", "test it with {% if %}")
    return rendered


class _Sandbox(ImmutableSandboxedEnvironment):
    """jinja2's sandbox with one bound and one lock more."""

    intercepted_binops = frozenset({"*", "**"})

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return not attr.startswith("_") and super().is_safe_attribute(obj, attr, value)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        numbers = isinstance(left, int | float) and isinstance(right, int | float)
        if not numbers or (operator == "**" and abs(right) > 64):
            raise ValueError("texts and lists are not multiplied here, and powers are small")
        return super().call_binop(context, operator, left, right)


def _bounded(pieces: Any) -> str:
    rendered: list[str] = []
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > MAX_RENDERED:
            raise ValueError("the result is too large")
        rendered.append(piece)
    return "".join(rendered)


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
