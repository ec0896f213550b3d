"""The forms of commands (XEP-0004): to fill in, to agree to, and with what came of it."""

from __future__ import annotations

from typing import Any

from slixmpp.plugins import xep_0004

from ucvm_agent.operators.base import Machine
from ucvm_agent.operators.commands import Command

_Form: Any = xep_0004.Form  # slixmpp leaves it untyped


def question(command: Command, machine: Machine) -> Any:
    """Return the form that asks for the fields of a command."""
    form = _Form(title=command.title)
    for field in command.fields:
        if field.choices is None:
            form.add_field(var=field.name, ftype="text-single", label=field.label)
        else:
            choices = field.choices(machine)
            options = [{"label": choice, "value": choice} for choice in choices]
            usual = next(iter(choices), None)
            form.add_field(var=field.name, ftype="list-single", label=field.label, value=usual, options=options)
    return form


def preview(command: Command, text: str) -> Any:
    """Return the form that shows what will happen, to be agreed to."""
    form = _Form(title=command.title)
    form["instructions"] = "This is what will happen. Go on to have it done."
    form.add_field(var="preview", ftype="text-multi", label="What will happen", value=text.split("\n"))
    return form


def answer(command: Command, text: str) -> Any:
    """Return the form that tells what came of a command."""
    form = _Form(title=command.title)
    form["type"] = "result"
    form.add_field(var="text", ftype="text-multi", label=command.title, value=text.split("\n"))
    return form


def filled_in(payload: object) -> dict[str, str]:
    """Return what an operator has filled in."""
    if not isinstance(payload, xep_0004.Form):
        return {}
    values = payload["values"]
    return {name: value for name, value in values.items() if isinstance(value, str)}
