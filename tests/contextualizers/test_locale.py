"""Time zone and language."""

from __future__ import annotations

from pathlib import Path

import pytest

from contextualizers.locale import Locale
from tests.contextualizers.ask import ask, furnish
from ucvm_agent.contextualize.actions import MakeLink, WriteFile
from ucvm_agent.contextualize.base import Refusal
from ucvm_agent.contextualize.system import System

TEXT = "#cloud-config\ntimezone: Europe/Zurich\nlocale: de_CH.UTF-8\n"
LINK = MakeLink(path="/etc/localtime", to="/usr/share/zoneinfo/Europe/Zurich", replace_file=True)


def test_debian_gets_its_own_files(system: System) -> None:
    """/etc/default/locale and /etc/timezone."""
    assert ask(Locale(), TEXT, system).actions == [
        WriteFile(path="/etc/default/locale", content=b'LANG="de_CH.UTF-8"\n'),
        LINK,
        WriteFile(path="/etc/timezone", content=b"Europe/Zurich\n"),
    ]


def test_others_keep_the_rest_of_their_file(tmp_path: Path) -> None:
    """Only LANG is replaced in /etc/locale.conf."""
    system = furnish(tmp_path, {"/etc/locale.conf": "LANG=C\nLC_TIME=C\n"})
    assert ask(Locale(), TEXT, system).actions == [
        WriteFile(path="/etc/locale.conf", content=b'LANG="de_CH.UTF-8"\nLC_TIME=C\n'),
        LINK,
    ]


def test_an_unknown_time_zone_is_refused(tmp_path: Path) -> None:
    """If the system tells which there are."""
    system = furnish(tmp_path, {"/usr/share/zoneinfo/UTC": ""})
    with pytest.raises(Refusal, match="no time zone Europe/Zurich"):
        ask(Locale(), TEXT, system)


def test_a_path_is_no_time_zone(system: System) -> None:
    """Nothing outside the folder of time zones can be named."""
    answer = ask(Locale(), "#cloud-config\ntimezone: ../../../etc/shadow\nlocale: a b\n", system)
    assert answer.actions == []
    assert [text.partition(" such")[0] for text in answer.texts] == [
        "error 2: timezone: expected the name of a time zone",
        "error 3: locale: expected the name of a locale",
    ]
