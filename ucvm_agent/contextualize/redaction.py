"""Keeps secrets out of sentences that were not written by us: the messages of other people's exceptions."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass

from pydantic import BaseModel, SecretBytes, SecretStr, ValidationError

HIDDEN = "(not shown: it holds a secret)"


def describe(error: Exception, holder: object) -> str:
    """Return the message of an exception; hidden if it holds one of the secrets in `holder`.

    Arguments:
        holder: what the code that failed was given: a model, a dataclass, or a mapping or list of them.
    """
    text = explain(error) if isinstance(error, ValidationError) else " ".join(str(error).split())
    return HIDDEN if any(secret in text for secret in _secrets(holder)) else text


def explain(error: ValidationError) -> str:
    """Return what is wrong in one line, without the values that are."""
    lines = []
    for detail in error.errors(include_url=False, include_context=False, include_input=False):
        message = detail["msg"].removeprefix("Value error, ")
        lines.append(": ".join(filter(None, [".".join(map(str, detail["loc"])), message])))
    return "; ".join(lines)


def trace(error: BaseException) -> str:
    """Return where an exception came from: the lines of source without any value or message."""
    return "".join(traceback.format_tb(error.__traceback__))


def _secrets(holder: object) -> Iterator[str]:
    """Yield the secrets in a model, a dataclass, a mapping or a list, however deep; none is empty."""
    if isinstance(holder, SecretStr):
        yield from filter(None, [holder.get_secret_value()])
    elif isinstance(holder, SecretBytes):
        yield from filter(None, [holder.get_secret_value().decode(errors="replace")])
    elif isinstance(holder, BaseModel):
        yield from _secrets([*holder.__dict__.values(), *(holder.model_extra or {}).values()])
    elif is_dataclass(holder):
        yield from _secrets([getattr(holder, item.name) for item in fields(holder)])
    elif isinstance(holder, Mapping):
        yield from _secrets(list(holder.values()))
    elif isinstance(holder, list | tuple | set | frozenset):
        for each in holder:
            yield from _secrets(each)
