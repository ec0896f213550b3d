"""User-data of a glideinWMS pilot (references/ucernvm-boot.md, section 4).

    BASE64#### -cluster 17 -subcluster 0####

Its proxy and PAC settings become what the keys of the bootloader's block would be. In the original the shell cut
them at the first `;` and lost those with a `|`; here they stay whole.
"""

from __future__ import annotations

import re
from itertools import pairwise

from ucvm_agent.userdata.context import UCERNVM, Place
from ucvm_agent.userdata.problems import Problems
from ucvm_agent.userdata.unpack import decode_base64
from ucvm_agent.userdata.written import Tree, Written

GLIDEIN = "[glideinwms]"
"""First step of the path of what only pilots know: `cms_site`, and the `user_data` themselves."""

_LETTER = re.compile(r"([^#]*)#### -cluster [0-9]+ -subcluster [0-9]+####")
_OPTIONS = {
    "-param_CERNVM_CMS_PROXY": (UCERNVM, "cvmfs_http_proxy"),
    "-param_CERNVM_CMS_PAC_URLS": (UCERNVM, "cvmfs_pac_urls"),
    "-param_CERNVM_CMS_SITE": (GLIDEIN, "cms_site"),
}
_WORDS = (
    (re.compile(r".semicolon,"), ";"),
    (re.compile(r"\.colon,"), ":"),
    (re.compile(r".pipe,"), "|"),
    (re.compile(r".minus,"), "-"),
    (re.compile(r".dot,"), "."),
)
"""What stands for characters that glideinWMS cannot pass on, in the original's order and with its wildcards."""


def is_pilot(text: str) -> bool:
    """Tell whether a text is user-data of a pilot, by the letter of the original."""
    return text.count("\n") <= 1 and _LETTER.match(text) is not None


def read_pilot(text: str, part: str, problems: Problems) -> Tree:
    """Return the sections that the user-data of a pilot stand for."""
    place = Place(part, 1, 1)
    sections: Tree = {GLIDEIN: Written({"user_data": Written(text, place)}, place)}
    match = _LETTER.match(text)
    data = decode_base64(match[1].encode(errors="replace")) if match else None
    if data is None:
        problems.error(place, "the text before #### is not base64", "use what the glideinWMS factory has made")
        return sections
    lines = data.decode(errors="replace").splitlines()
    words = next((line for line in lines if line.startswith("args")), "").split()
    for option, word in pairwise(words):
        if option in _OPTIONS:
            section, key = _OPTIONS[option]
            options = sections.setdefault(section, Written({}, place)).value
            if isinstance(options, dict):
                options[key] = Written(_unescape(word), place)
    return sections


def add_pilot(tree: Tree, pilot: Tree, problems: Problems) -> None:
    """Add a pilot's sections to a tree in which a block of its own counts more, and may switch them off."""
    block = tree.get(UCERNVM)
    own = block.value if block is not None and isinstance(block.value, dict) else {}
    if (switch := own.get("useglideinwms")) is not None and switch.value == "0":
        place = pilot[GLIDEIN].place
        problems.note(place, "these user-data of a glideinWMS pilot have no effect", "useglideinWMS=0 says so")
        return
    for name, section in pilot.items():
        if isinstance(section.value, dict):
            keys = {**section.value, **own} if name == UCERNVM else section.value
            tree[name] = Written(keys, section.place)


def _unescape(word: str) -> str:
    for written, meant in _WORDS:
        word = written.sub(meant, word)
    return word
