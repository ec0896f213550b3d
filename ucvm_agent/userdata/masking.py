"""Which parts of a line of user-data are secrets, told by the line and by what stands above it.

The line may be in any format, and in a text that could not be parsed, so that nothing but its looks counts.
When in doubt a line is masked.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches

MASK = "***"

_SECRET = re.compile(
    r"pass(?:w|phrase)|secret|token|credential|private|x509|signature|inject"
    r"|(?:^|[_-])(?:pin|cert|pass|pwd?)(?:$|[_-])|key$|(?:api|tsig|host)key|^(?:rsa|dsa|ecdsa|ed25519)_",
    re.IGNORECASE,
)
_SECRET_WORDS = ("password", "passwd", "passphrase", "secret", "token", "credential", "private")
_CLOSENESS = 0.82
"""How alike (from 0 to 1) a word has to be to one of those to be taken for it, misspelt."""

_PUBLIC = re.compile(r"public|pub_?key|authorized|ssh_pwauth|lock[_-]passw|disablesshpasswdauth", re.IGNORECASE)
_KEY = re.compile(r"""[\s\-?{\[,]*(?P<mark>["']?)(?P<key>[A-Za-z_][\w.() -]*?)(?P=mark)\s*[:=]""")
_INNER = re.compile(r"""(?<!\w)(?P<mark>["']?)(?P<key>[A-Za-z_][\w-]*)(?P=mark)\s*(?:[:=]|\s(?=\S))""")
_ACCOUNTS = re.compile(r"\s*users\s*[:=](?=.*:)", re.IGNORECASE)
_SHAPES = (
    (re.compile(r"(?<=://)[^/\s@]*@(?=\S)"), f"{MASK}@"),
    (re.compile(r"(?<=://)([^\s?\"'<>]*\?)[^\s\"'<>]+"), rf"\1{MASK}"),
    (re.compile(r"\$(?:1|2[abxy]|5|6|y|gy|7)\$[^\s,:;'\"]+"), MASK),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}"), MASK),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.?[\w-]*"), MASK),
    (re.compile(r"(?i)\b(bearer|basic)\s+\S+"), rf"\1 {MASK}"),
    (re.compile(r"(?<![\w+/])(?!AAAA)[A-Za-z0-9+/]{60,}={0,2}|[^\s#]{8,}(?=####)"), MASK),
    (re.compile(r"(?<=\s)(-u|--user|-p|--proxy-user)([ =]?)(?:'[^']*'|\"[^\"]*\"|\S+)"), rf"\1\2{MASK}"),
)
_LOOK_BACK = 2_000
"""Lines above that are looked at for the key that a line belongs to."""


def is_secret_key(name: str) -> bool:
    """Tell whether the value of a key or option with this name, even a misspelt one, is a secret or may hold one."""
    if _PUBLIC.search(name) is not None:
        return False
    words = re.split(r"[\W_]+", name.lower())
    return _SECRET.search(name) is not None or any(
        get_close_matches(word, _SECRET_WORDS, 1, _CLOSENESS) for word in words
    )


def mask(lines: Sequence[str], position: int) -> str:
    """Return a line of a text with the secrets in it masked.

    Arguments:
        lines: the text.
        position: which line, from 0.
    """
    line = lines[position]
    if not line.strip():
        return line
    if _in_armor(lines, position) or re.search(r"chpasswd|--stdin", line):
        return _indentation(line) + MASK
    if _belongs_to_secret(lines, position):
        return _indentation(line) + MASK
    if (accounts := _ACCOUNTS.match(line)) is not None:
        return accounts.group() + _mask_accounts(line[accounts.end() :])
    for match in (*filter(None, [_KEY.match(line)]), *_INNER.finditer(line)):
        value = line[match.end() :]
        if value.strip() and is_secret_key(match["key"]):
            line = f"{line[: match.end()]}{_indentation(value)}{MASK}"
            break
    for shape, replacement in _SHAPES:
        line = shape.sub(replacement, line)
    return line


def mask_text(text: str) -> str:
    """Return a text with the secrets in all of its lines masked."""
    lines = text.split("\n")
    return "\n".join(mask(lines, position) for position in range(len(lines)))


def _indentation(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _mask_accounts(value: str) -> str:
    """Mask the third field in each account of `user:group:password, …`, and what is no such account."""
    accounts = []
    for account in value.split(","):
        fields = account.split(":", 2)
        accounts.append(":".join([*fields[:2], MASK]) if len(fields) == 3 else MASK)
    return ",".join(accounts)


def _in_armor(lines: Sequence[str], position: int) -> bool:
    """Tell whether a line is inside a PEM block, or may be; certificates are masked as well as keys."""
    for line in reversed(lines[max(0, position - _LOOK_BACK) : position + 1]):
        if "-----BEGIN" in line:
            return True
        if "-----END" in line and line is not lines[position]:
            return False
    return "-----END" in lines[position]


def _belongs_to_secret(lines: Sequence[str], position: int) -> bool:
    """Tell whether one of the keys above, that this line is indented under, is that of a secret."""
    depth = _depth(lines[position])
    for line in reversed(lines[max(0, position - _LOOK_BACK) : position]):
        if depth == 0:
            return False
        if not line.strip() or _depth(line) >= depth:
            continue
        depth = _depth(line)
        if (match := _KEY.match(line)) is not None and is_secret_key(match["key"]):
            return True
    return depth > 0 and position > _LOOK_BACK


def _depth(line: str) -> int:
    """Return the indentation in columns; a list's dash counts as the half of one, since it may stand unindented."""
    blanks = len(_indentation(line))
    return 2 * blanks + (1 if line.lstrip().startswith("- ") else 0)
