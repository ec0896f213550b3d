"""`#cloud-config-jsonp`: a JSON Patch (RFC 6902) of the cloud-config before it (references/clouds.md, section 5.2).

Importing it loads jsonpatch, so import it where there is a patch.
"""

from __future__ import annotations

import json

from jsonpatch import JsonPatch, JsonPatchException
from jsonpointer import JsonPointerException

from ucvm_agent.userdata.bounds import Bounds
from ucvm_agent.userdata.context import Place
from ucvm_agent.userdata.problems import Problems
from ucvm_agent.userdata.written import Tree, Written, plain

_HINT = 'write a list such as [{"op": "replace", "path": "/hostname", "value": "worker-1"}]'


def apply_patch(tree: Tree, text: str, place: Place, bounds: Bounds, problems: Problems) -> Tree:
    """Return the tree with a patch applied, as a whole or not at all; what it changes is written at `place`.

    Raises:
        BoundExceeded: it makes more values than the bounds allow.
    """
    document: object = plain(Written(tree, place))
    try:
        for operation in json.loads(text):
            document = JsonPatch([operation]).apply(document)
            # Copies of copies grow faster than any text.
            bounds.count_values(_count(document), place.part)
    except (JsonPatchException, JsonPointerException, ValueError, TypeError, RecursionError) as error:
        problems.error(place, f"the JSON Patch cannot be applied: {type(error).__name__}", _HINT)
        return tree
    patched = _written(document, Written(tree, place), place)
    if isinstance(patched.value, dict):
        return patched.value
    problems.error(place, "the JSON Patch leaves no mapping behind", _HINT)
    return tree


def _count(value: object) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(_count(item) for item in inner)


def _written(value: object, before: Written | None, place: Place) -> Written:
    """Return a value with its places: those of before, where it is still the same."""
    if before is not None and plain(before) == value:
        return before
    if isinstance(value, dict):
        old = before.value if before is not None and isinstance(before.value, dict) else {}
        return Written({str(key): _written(item, old.get(key), place) for key, item in value.items()}, place)
    if isinstance(value, list):
        return Written([_written(item, None, place) for item in value], place)
    return Written(value if isinstance(value, str | int | float | bool) else None, place)
