"""cloud-config: YAML, read so that every value knows its line and column (references/clouds.md, section 5).

Scalars follow YAML 1.1 as cloud-init reads it, except where its result is never what was meant: dates and
numbers with colons (`22:30`) stay text, and a key that looks like a truth value (`on:`) stays the word.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from dataclasses import dataclass

import yaml

from ucvm_agent.errors import BoundExceeded
from ucvm_agent.userdata.bounds import MAX_VALUES, Bounds
from ucvm_agent.userdata.context import Place, Scalar
from ucvm_agent.userdata.problems import Problems
from ucvm_agent.userdata.written import Tree, Written

MAX_YAML = 2**20
"""Most characters of one YAML text."""

MAX_NESTING = 64
"""Most lists and mappings inside each other."""

_LOADER: type[yaml.SafeLoader] | type[yaml.CSafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_NOT_PRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TWO_COLONS = re.compile(r"[^:]*: .*:( |$)")
_NO_BLANK = re.compile(r"[ -]*[\w-]+:\S")
_SIGN = re.compile(r"[ \[{,]?([*&@%`])")
_TREE_TAGS = {f"{_TAG}{name}" for name in ("map", "seq", "set", "omap", "pairs")}
_SCALARS = yaml.constructor.SafeConstructor()


@dataclass(frozen=True, slots=True)
class _Document:
    """A YAML text inside a part, for turning the parser's marks into places."""

    part: str
    first_line: int
    starts: list[int]

    def place(self, index: int) -> Place:
        """Return the place of a character, by line feeds only, since YAML knows more line breaks than editors do."""
        line = bisect_right(self.starts, index)
        return Place(self.part, self.first_line + line - 1, index - self.starts[line - 1] + 1)


def parse_yaml(text: str, part: str, first_line: int, bounds: Bounds, problems: Problems) -> Written | None:
    """Return the one document in a YAML text; None if it is empty or cannot be read.

    Arguments:
        part: the part that the text is in.
        first_line: number of the text's first line in that part.

    Raises:
        BoundExceeded: larger, deeper or with more values than the bounds allow.
    """
    if len(text) > MAX_YAML:
        message = f"a cloud-config is larger than {MAX_YAML // 2**20} MiB"
        raise BoundExceeded(message, where=part, hint="fetch large files from a server or from CernVM-FS")
    starts = [0, *(match.end() for match in re.finditer("\n", text))]
    document = _Document(part, first_line, starts)
    try:
        _check_bounds(text, document, bounds)
        node = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        if "maximum nesting" in f"{error.problem}":
            raise _too_deep(part) from None
        place = _locate(error, text, document)
        problems.error(place, f"this is not valid YAML: {_explain(error)}", _hint(text, place, document))
        return None
    except yaml.YAMLError:
        match = _NOT_PRINTABLE.search(text)
        place = document.place(match.start() if match else 0)
        problems.error(place, "this is not valid YAML: there is a control character", "remove it")
        return None
    return _Reader(document, bounds, problems).read(node) if node is not None else None


def parse_cloud_config(text: str, part: str, first_line: int, bounds: Bounds, problems: Problems) -> Tree | None:
    """Return the keys of a cloud-config, as `parse_yaml` does; None if there are none."""
    root = parse_yaml(text, part, first_line, bounds, problems)
    if root is None or root.value is None:
        return None
    if not isinstance(root.value, dict):
        problems.error(root.place, "a cloud-config must be a mapping of keys to values", "write key: value")
        return None
    for key in [key for key in root.value if key.startswith("[")]:
        place = root.value.pop(key).place
        problems.warning(place, f"{key} has no effect inside cloud-config", "write it as a section outside the YAML")
    return root.value


def _check_bounds(text: str, document: _Document, bounds: Bounds) -> None:
    """Look at the parser's events alone, before anything is built by recursion from them."""
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=_LOADER)):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_NESTING:
            raise _too_deep(document.part)
        if count > 2 * MAX_VALUES:
            bounds.count_values(count, document.part)


def _too_deep(part: str) -> BoundExceeded:
    return BoundExceeded(f"a cloud-config is nested more than {MAX_NESTING} deep", where=part)


def _locate(error: yaml.MarkedYAMLError, text: str, document: _Document) -> Place:
    """Return where the error is: what was never closed begins somewhere, and ends nowhere."""
    mark = error.problem_mark
    if mark is None or (mark.index >= len(text.rstrip()) and error.context_mark is not None):
        mark = error.context_mark
    return document.place(min(mark.index, len(text.rstrip())) if mark is not None else 0)


def _explain(error: yaml.MarkedYAMLError) -> str:
    """Return the parser's words, without the one name that they hold: an alias may be a password that begins with *."""
    context = f"{error.context}, " if error.context else ""
    return re.sub(r"alias '.*", "alias", f"{context}{error.problem or ''}")


def _hint(text: str, place: Place, document: _Document) -> str:
    """Return what to write instead, as far as the lines around tell which of the common mistakes it is."""
    number = place.line - document.first_line
    before, line = ["", *text.split("\n")][number : number + 2]
    first = line[place.column - 1 : place.column]
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return "indent with blanks, not with tabs"
    for offset, each in ((0, line), (-1, before)):
        if "\N{NO-BREAK SPACE}" in each:
            return f"line {place.line + offset} has a blank that is none for YAML (U+00A0): write it again"
    if (sign := _SIGN.match(line, max(place.column - 2, 0))) is not None:
        return f"put quotes around a value that begins with {sign[1]}"
    if first == ":" and _TWO_COLONS.match(line):
        return "put quotes around a value with a colon and a blank in it"
    if first == ":" and _NO_BLANK.match(before):
        return "write a blank after the colon of the line before"
    return "look at the indentation and the quotes of this line and the one before"


class _Reader:
    """Turns composed nodes into written values, counting them so that aliases cannot multiply without end."""

    def __init__(self, document: _Document, bounds: Bounds, problems: Problems) -> None:
        self._document = document
        self._bounds = bounds
        self._problems = problems
        self._open: set[int] = set()

    def read(self, node: yaml.Node, place: Place | None = None) -> Written:
        """Return the value of a node, written at `place` or where the node begins."""
        place = place or self._document.place(node.start_mark.index)
        self._bounds.count_values(1, f"{place.part}:{place.line}")
        if isinstance(node, yaml.ScalarNode):
            is_binary = node.tag == f"{_TAG}binary"
            return Written(self._read_binary(node, place) if is_binary else self._read_scalar(node, place), place)
        if id(node) in self._open:
            self._problems.error(place, "an alias stands inside what it stands for", "write the values out")
            return Written(None, place)
        if node.tag not in _TREE_TAGS:
            self._refuse_tag(node, place)
        self._open.add(id(node))
        value = self._read_mapping(node) if isinstance(node, yaml.MappingNode) else [self.read(n) for n in node.value]
        self._open.discard(id(node))
        return Written(value, place)

    def _read_mapping(self, node: yaml.MappingNode) -> Tree:
        """Return a mapping; keys merged in by `<<` give way to its own."""
        merged: Tree = {}
        own: Tree = {}
        for key, value in node.value:
            place = self._document.place(key.start_mark.index)
            if not isinstance(key, yaml.ScalarNode):
                template = "; a template begins with a line ## template: jinja" if key.flow_style else ""
                self._problems.error(place, "a list or mapping cannot be a key", f"put quotes around it{template}")
            elif key.tag == f"{_TAG}merge":
                merged = {**self._read_merged(value, place), **merged}
            else:
                name = _encodable(key.value)
                if name in own:
                    message = f"{_shorten(name)} is written again; line {own[name].place.line} has no effect"
                    self._problems.warning(place, message, "write it once")
                own[name] = self.read(value, place)
        return {**merged, **own}

    def _read_merged(self, node: yaml.Node, place: Place) -> Tree:
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        merged: Tree = {}
        for source in sources:
            value = self.read(source).value
            if isinstance(value, dict):
                merged = {**value, **merged}
            else:
                self._problems.error(place, "<< must stand for a mapping or a list of mappings", "use an alias of one")
        return merged

    def _read_scalar(self, node: yaml.ScalarNode, place: Place) -> Scalar:
        text = _encodable(node.value)
        match node.tag.removeprefix(_TAG):
            case "null":
                return None
            case "bool":
                return yaml.SafeLoader.bool_values.get(text.lower(), text)
            case "int" | "float" if ":" not in text:
                return _number(node, text)
            case "str" | "int" | "float" | "timestamp" | "value" | "merge":
                return text
            case _:
                self._refuse_tag(node, place)
                return text

    def _read_binary(self, node: yaml.ScalarNode, place: Place) -> str | list[Written]:
        """Return bytes as text, those that are none as surrogate escapes; `write_files` makes bytes of it again."""
        try:
            data: bytes = _SCALARS.construct_yaml_binary(node)
        except yaml.YAMLError:
            self._problems.error(place, "the value after !!binary is not base64", "encode it again with base64")
            # Whoever wants text refuses a list, where an empty text might become an empty file.
            return []
        return data.decode(errors="surrogateescape")

    def _refuse_tag(self, node: yaml.Node, place: Place) -> None:
        self._problems.error(place, "a tag that is not YAML's own has no effect", "remove the word after the !")


def _number(node: yaml.ScalarNode, text: str) -> int | float | str:
    """Return a number; text if Python has no such number, or if it is none (`.nan`)."""
    try:
        is_int = node.tag == f"{_TAG}int"
        number: int | float = _SCALARS.construct_yaml_int(node) if is_int else _SCALARS.construct_yaml_float(node)
    except (ValueError, IndexError, OverflowError):
        return text
    return text if isinstance(number, float) and not math.isfinite(number) else number


def _encodable(text: str) -> str:
    """Replace halves of surrogate pairs, which YAML can spell and no file can hold."""
    return text.encode("utf-8", "replace").decode() if not text.isascii() else text


def _shorten(name: str) -> str:
    return name if len(name) <= 60 else f"{name[:59]}…"
