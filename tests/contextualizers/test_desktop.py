"""The desktop of `[cernvm]`."""

from __future__ import annotations

from pathlib import Path

import pytest

from contextualizers.desktop import UNITS, Desktop
from tests.contextualizers.ask import ask, furnish
from ucvm_agent.contextualize.actions import MakeLink, WriteFile
from ucvm_agent.contextualize.system import System

SAMPLES = Path(__file__).parent.parent / "data" / "contexts"


@pytest.fixture
def desktop(tmp_path: Path) -> System:
    """Return a system with a desktop."""
    targets = {f"{UNITS}/{name}.target": "" for name in ("graphical", "multi-user")}
    return furnish(
        tmp_path, targets | {"/usr/sbin/lightdm": "", "/etc/default/keyboard": 'XKBLAYOUT="de"\nXKBMODEL="pc"\n'}
    )


def test_a_real_context_gets_its_desktop(desktop: System) -> None:
    """Icons for new homes, keyboard, automatic login and the graphical target."""
    answer = ask(Desktop(), (SAMPLES / "cms-opendata.context").read_text(), desktop)
    readme, shell, *others = answer.actions
    assert isinstance(readme, WriteFile)
    assert readme.content.startswith(b"[Desktop Entry]\n")
    assert (readme.target, readme.mode) == ("/etc/skel/Desktop/CMS OpenData.desktop", 0o755)
    assert shell.target == "/etc/skel/Desktop/CMS Shell.desktop"
    assert others == [
        WriteFile(path="/etc/vconsole.conf", content=b'KEYMAP="us"\n'),
        WriteFile(path="/etc/default/keyboard", content=b'XKBLAYOUT="us"\nXKBMODEL="pc"\nXKBVARIANT=""\n'),
        WriteFile(path="/etc/lightdm/lightdm.conf.d/50-ucvm.conf", content=b"[Seat:*]\nautologin-user=cms-opendata\n"),
        MakeLink(path="/etc/systemd/system/default.target", to=f"{UNITS}/graphical.target"),
    ]
    assert answer.texts == []
    assert "users" in Desktop.before


@pytest.mark.parametrize(
    ("lines", "target"),
    [
        ("edition=Desktop", "graphical"),
        ("edition=Desktop\nstartXDM=off", "multi-user"),
        ("edition=Basic", "multi-user"),
        ("startXDM=off", "multi-user"),
    ],
)
def test_the_system_starts_into_what_is_asked(lines: str, target: str, desktop: System) -> None:
    """`startXDM=off` overrules the edition."""
    (link,) = ask(Desktop(), f"[cernvm]\n{lines}\n", desktop).actions
    assert link == MakeLink(path="/etc/systemd/system/default.target", to=f"{UNITS}/{target}.target")


def test_a_system_without_a_desktop_says_so(system: System) -> None:
    """And is not made to start into something that is not there."""
    answer = ask(Desktop(), "[cernvm]\nedition=Desktop\nusers=a:a:x\nauto_login=on\n", system)
    assert answer.actions == []
    assert answer.texts == [
        "note 2: [cernvm] edition: this system has no desktop to start",
        "note 4: [cernvm] auto_login: has no effect: there is neither LightDM nor SDDM",
    ]


def test_an_edition_that_there_never_was_is_told(system: System) -> None:
    """Only Desktop means a desktop."""
    answer = ask(Desktop(), "[cernvm]\nedition=Dekstop\n", system)
    assert answer.texts == ["warning 2: [cernvm] edition: expected Basic or Desktop; taken for Basic"]


def test_mistakes_are_told(system: System) -> None:
    """An icon cannot be written elsewhere."""
    answer = ask(Desktop(), "[cernvm]\nstartXDM=maybe\nkeyboard=us;reboot\ndesktop_icons=../a,YQ==\n", system)
    assert answer.actions == []
    assert answer.texts == [
        "error 2: [cernvm] startxdm: expected on or off",
        "error 3: [cernvm] keyboard: expected the name of a keyboard such as us or us-acentos",
        "error 4: [cernvm] desktop_icons: expected NAME,base64 between the %, with a name that can be a file's",
    ]
