"""What was expected instead of a wrong value, in the words of those who wrote it; pydantic's are for programmers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_KINDS = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "bytes_type": "text",
    "dict_type": "a mapping",
    "float_parsing": "a number",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "list_type": "a list",
    "mapping_type": "a mapping",
    "model_attributes_type": "a mapping",
    "model_type": "a mapping",
    "path_not_directory": "a folder that exists",
    "path_type": "a path",
    "string_type": "text",
    "tuple_type": "a list",
}

_LIMITS = {
    "greater_than": "more than",
    "greater_than_equal": "at least",
    "less_than": "less than",
    "less_than_equal": "at most",
}


def complaint(detail: ErrorDetails) -> str:
    """Return what is wrong with a value, without the value: it may be a secret.

    Arguments:
        detail: one of `ValidationError.errors`; the limits of numbers are in its context.
    """
    kind = detail["type"]
    if kind == "missing":
        return "is missing"
    if kind in _KINDS:
        return f"expected {_KINDS[kind]}"
    if kind in _LIMITS:
        limit = next(iter(detail["ctx"].values()))
        return f"expected {_LIMITS[kind]} {f'{limit:g}' if isinstance(limit, float) else limit}"
    return detail["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
