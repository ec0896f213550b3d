"""How large a document may be. Beyond a bound nothing of it is used, since what is left of it would be chance."""

from __future__ import annotations

import re

from ucvm_agent.errors import BoundExceeded
from ucvm_agent.sources.base import MAX_BODY

MAX_UNPACKED = MAX_BODY
"""Most bytes of all pieces of a document together."""

MAX_INFLATED = 4 * MAX_UNPACKED
"""Most bytes that all gzip layers of a document yield together; what they yield may be unpacked again."""

MAX_DEPTH = 32
"""Most layers (gzip, base64, multipart, archive) around a piece."""

MAX_PARTS = 1_000
"""Most parts of a document, whatever they hold, and most changes of format in one text."""

MAX_TEMPLATES = 20
"""Most templates, each of which may take some seconds."""

MAX_LINES = 250_000
"""Most lines of all pieces together."""

MAX_VALUES = 100_000
"""Most values in all YAML texts together, aliases counted as often as they are used."""

_HINT = "fetch large files from a server or from CernVM-FS"


class Bounds:
    """What is left of the bounds of one document, and the part names that are taken.

    Each method raises `BoundExceeded` when there is nothing left; `where` names the part, and the line if known.

    Arguments:
        prefix: begins the name of each part that is not the document itself.
    """

    def __init__(self, prefix: str = "") -> None:
        self._left = {"bytes": MAX_UNPACKED, "inflated": MAX_INFLATED, "parts": MAX_PARTS, "containers": MAX_PARTS}
        self._left |= {"lines": MAX_LINES, "values": MAX_VALUES, "templates": MAX_TEMPLATES}
        self._prefix = prefix
        self._named = 0
        self._names: set[str] = set()

    def count_bytes(self, count: int, where: str) -> None:
        """Count the bytes of a piece that is fully unpacked."""
        self._take("bytes", count, f"is larger than {MAX_UNPACKED // 2**20} MiB when it is unpacked", where)

    def count_inflated(self, count: int, where: str) -> None:
        """Count the bytes that gzip yielded."""
        self._take("inflated", count, f"is larger than {MAX_UNPACKED // 2**20} MiB when it is unpacked", where)

    def count_lines(self, count: int, where: str) -> None:
        """Count the lines of a text."""
        self._take("lines", count, f"has more than {MAX_LINES:,} lines", where)

    def count_values(self, count: int, where: str) -> None:
        """Count values of a YAML text."""
        self._take("values", count, f"has more than {MAX_VALUES:,} values", where)

    def count_containers(self, count: int, where: str) -> None:
        """Count multiparts, which are no parts themselves."""
        self._take("containers", count, f"has more than {MAX_PARTS:,} multiparts", where)

    def count_parts(self, count: int, where: str) -> None:
        """Count parts, whatever they hold."""
        self._take("parts", count, f"has more than {MAX_PARTS:,} parts", where)

    def count_templates(self, count: int, where: str) -> None:
        """Count templates that are filled in."""
        self._take("templates", count, f"has more than {MAX_TEMPLATES} templates", where)

    def check_depth(self, depth: int, where: str) -> None:
        """Check the number of layers around a piece."""
        if depth > MAX_DEPTH:
            message = f"the user-data is nested more than {MAX_DEPTH} deep"
            raise BoundExceeded(message, where=where, hint="put the parts beside each other")

    def name_part(self, wanted: str) -> str:
        """Return a unique name for a part; one without a name gets a number, as cloud-init does."""
        self._named += 1
        clean = re.sub(r"[^\w.+@-]", "_", wanted)[:100].lstrip(".")
        return self.make_unique(clean or f"part-{self._named:03d}")

    def make_unique(self, wanted: str) -> str:
        """Return a unique name for a part that is none of a container: it came from a URL or a template."""
        base = name = self._prefix + wanted.removeprefix(self._prefix)
        count = 1
        while name in self._names:
            count += 1
            name = f"{base}-{count}"
        self._names.add(name)
        return name

    def _take(self, what: str, count: int, message: str, where: str) -> None:
        self._left[what] -= count
        if self._left[what] < 0:
            raise BoundExceeded(f"the user-data {message}", where=where, hint=_HINT)
