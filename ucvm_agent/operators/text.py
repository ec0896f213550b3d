"""Text as it can be sent to a person: any bytes of a job or of user-data may be in it."""

from __future__ import annotations

import re

from slixmpp.xmlstream.tostring import escape  # as it goes over the wire

MAX_BYTES = 40_000
"""Of one answer, as it stands on the wire: a server ends the stream over a larger message (the strictest in use takes
65,536 bytes)."""

LINE_BYTES = 20
"""What a line costs beside its text: in a form each is an element of its own."""

MAX_LINE = 2000
"""Characters of a line that are shown."""

# What XML 1.0 cannot carry; a server ends the stream over one of these.
_UNSENDABLE = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TERMINAL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


def sendable(text: str, *, keep_end: bool = False) -> str:
    """Return a text without what cannot be sent, cut to a size that can.

    Arguments:
        keep_end: cut off the beginning, not the end.
    """
    lines = _UNSENDABLE.sub("\ufffd", _TERMINAL.sub("", text.replace("\r\n", "\n"))).split("\n")
    kept = []
    left = MAX_BYTES
    for line in reversed(lines) if keep_end else lines:
        shown = line if len(line) <= MAX_LINE else f"{line[:MAX_LINE]}…"
        left -= len(escape(shown).encode()) + LINE_BYTES
        if left < 0:
            break
        kept.append(shown)
    missing = len(lines) - len(kept)
    if missing:
        kept.append(f"… ({missing} more lines)")
    return "\n".join(reversed(kept) if keep_end else kept)
