"""What a machine is for the pilot that it was started by."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

from contextualizers.cvmfs import CVMFS
from contextualizers.glideinwms import LINK, USER_DATA, GlideinWMS
from tests.contextualizers.ask import ask, furnish
from ucvm_agent.contextualize.actions import EnsureUser, MakeLink, WriteFile

ARGUMENTS = "args = -param_CERNVM_CMS_PROXY http.colon,//squid.colon,3128.semicolon,DIRECT -param_CERNVM_CMS_SITE T2_XX"
TEXT = f"{b64encode(ARGUMENTS.encode()).decode()}#### -cluster 1 -subcluster 0####\n"


def test_a_pilot_finds_its_user_data_where_it_looks(tmp_path: Path) -> None:
    """Behind a link, since nobody else may read them, and its account has a shell."""
    system = furnish(tmp_path, {"etc/passwd": "glidein_pilot:x:500:500::/home/glidein_pilot:/sbin/nologin\n"})
    answer = ask(GlideinWMS(), TEXT, system)
    assert answer.actions == [
        WriteFile(path=USER_DATA, content=TEXT.encode(), mode=0o600, sensitive=True),
        MakeLink(path=LINK, to=USER_DATA),
        EnsureUser(name="glidein_pilot", shell="/bin/bash", create_home=False),
    ]
    assert answer.problems == []


def test_without_a_pilot_there_is_nothing_to_do(tmp_path: Path) -> None:
    """On most machines."""
    assert ask(GlideinWMS(), "[cernvm]\na=b\n", furnish(tmp_path, {})).actions == []


def test_the_site_and_the_proxy_of_a_pilot_are_settings_of_cvmfs(tmp_path: Path) -> None:
    """With the `;` that the original lost."""
    (file,) = ask(CVMFS(), TEXT, furnish(tmp_path, {})).actions
    assert isinstance(file, WriteFile)
    assert b"http://squid:3128;DIRECT" in file.content
    assert b"CMS_LOCAL_SITE=" in file.content
