"""`#cloud-config-archive`: a YAML list of parts (references/clouds.md, section 5.2)."""

from __future__ import annotations

from collections.abc import Iterator

from ucvm_agent.userdata.bounds import Bounds
from ucvm_agent.userdata.cloud_config import parse_yaml
from ucvm_agent.userdata.context import Place
from ucvm_agent.userdata.formats import Format, first_line_format
from ucvm_agent.userdata.piece import Piece
from ucvm_agent.userdata.problems import Problems
from ucvm_agent.userdata.written import Written, plain

_HINT = "write a list of texts, or of mappings with type and content"


def read_archive(container: Piece, text: str, first_line: int, bounds: Bounds, problems: Problems) -> Iterator[Piece]:
    """Yield the pieces of an archive: texts, or mappings of `type`, `content`, `filename` and other headers.

    Arguments:
        text: the archive's YAML, which begins at `first_line` of the container.
    """
    root = parse_yaml(text, container.name, first_line, bounds, problems)
    if root is None:
        return
    if not isinstance(root.value, list):
        problems.error(Place(container.name, first_line, 1), "an archive must be a list", _HINT)
        return
    for item in root.value:
        bounds.count_parts(1, container.name)
        if (piece := _read_item(item, container.depth + 1, bounds)) is not None:
            yield piece
        else:
            problems.error(item.place, "an item of the archive has no content", _HINT)


def _read_item(item: Written, depth: int, bounds: Bounds) -> Piece | None:
    fields = plain(item)
    if isinstance(fields, str):
        fields = {"content": fields}
    if not isinstance(fields, dict) or not isinstance(fields.get("content"), str):
        return None
    headers = {str(key).lower(): str(value) for key, value in fields.items() if key != "content"}
    content = fields["content"]
    declared = headers.get("type", "").lower()
    if not declared and first_line_format(content.lstrip().partition("\n")[0]) is None:
        declared = str(Format.CLOUD_CONFIG)
    name = bounds.name_part(headers.get("filename", ""))
    return Piece(name, content.encode(errors="surrogateescape"), declared, headers=tuple(headers.items()), depth=depth)
