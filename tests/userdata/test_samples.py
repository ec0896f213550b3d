"""The real contexts: what the physicists who wrote them meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.userdata.conftest import Decode, findings, lines_of, values
from ucvm_agent.userdata.context import UCERNVM, Frequency, Place, Severity, Stage

CONTEXTS = Path(__file__).parent.parent / "data" / "contexts"


def sample(name: str) -> str:
    return (CONTEXTS / f"{name}.context").read_text()


def test_atlas_has_a_script_after_and_its_sections(read: Decode) -> None:
    """Script, sections and block stay apart; `cvmfs_path` is understood."""
    context = read(sample("atlas"))
    assert values(context)["[amiconfig]"] == {"plugins": "cernvm"}
    cernvm = values(context)["[cernvm]"]
    assert cernvm["users"] == "atlas:atlas:atlas"
    assert cernvm["repositories"] == "atlas,atlas-condb,atlas-nightlies,grid,sft"
    assert cernvm["environment"] == "ATLAS_LOCAL_ROOT_BASE=/cvmfs/atlas.cern.ch/repo/ATLASLocalRootBase"
    assert cernvm["screenres"] == "1280x700"
    assert values(context)[UCERNVM] == {
        "cvmfs_branch": "cernvm-sl7.cern.ch",
        "cvmfs_server": "hepvm.cern.ch",
        "cernvm_path": "cvm4",
    }
    assert lines_of(context, UCERNVM) == {"cvmfs_branch": 30, "cvmfs_server": 31, "cernvm_path": 32}
    assert findings(context) == [(Severity.WARNING, 32, "cvmfs_path is taken for cernvm_path; the original ignored it")]
    (script,) = context.scripts
    assert (script.stage, script.frequency, script.place) == (Stage.AFTER, Frequency.INSTANCE, Place("user-data", 1, 1))
    assert script.text == "".join(sample("atlas").splitlines(keepends=True)[:11]).replace(".after", "", 1).encode()


def test_cms_keeps_its_here_documents_whole(read: Decode) -> None:
    """Blank lines, a second interpreter line and an early exit are part of the one script; the line is rewritten."""
    context = read(sample("cms-opendata"))
    (script,) = context.scripts
    assert script.stage is Stage.BEFORE
    assert script.text.startswith(b"#!/bin/sh\nparents=")
    assert script.text.endswith(b"site-local-config.xml\n\nexit 0\n")
    assert (
        script.text
        == "".join(sample("cms-opendata").splitlines(keepends=True)[:113]).replace(".before", "", 1).encode()
    )
    cernvm = values(context)["[cernvm]"]
    assert cernvm["repositories"] == "cms.cern.ch,cms-opendata-conddb.cern.ch"
    assert cernvm["desktop_icons"].startswith("CMS~OpenData,W0Rlc2t0b3A")
    assert cernvm["desktop_icons"].count("%") == sample("cms-opendata").splitlines()[124].count("%")
    assert context.places[("[cernvm]", "desktop_icons")] == Place("user-data", 125, 1)
    assert findings(context) == []


@pytest.mark.parametrize(("name", "repositories", "line"), [("default", "sft,grid", 12), ("sft", "sft", 11)])
def test_plain_contexts_have_no_problem(read: Decode, name: str, repositories: str, line: int) -> None:
    """An empty option stays an empty option."""
    context = read(sample(name))
    assert values(context)["[cernvm]"]["repositories"] == repositories
    assert values(context)["[cernvm]"]["organisations"] == ""
    assert context.places[("[cernvm]", "repositories")].line == line
    assert [script.stage for script in context.scripts] == [Stage.AFTER]
    assert context.problems == ()


def test_squid_has_no_script(read: Decode) -> None:
    """A line of a blank only is blank, and blanks around = are no part of a value."""
    context = read(sample("squid"))
    assert context.scripts == ()
    assert values(context)["[squid]"]["cache_dir_size"] == "1000"
    assert values(context)["[squid]"]["backends"].startswith("cvmfs-stratum-one.cern.ch,")
    assert [line for _, line, _ in findings(context)] == [11]
