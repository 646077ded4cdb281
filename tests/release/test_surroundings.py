"""What the doctor says of where a release is made."""

from pathlib import Path

import pytest
from tagship.policy.config import load_config
from tagship.release.finding import OK, STOP, WARN, Finding
from tagship.release.surroundings import look_around
from tagship.system.git import Repository

from tests.conftest import GitFolder


def findings(folder: GitFolder) -> dict[str, Finding]:
    with Repository(folder.folder) as repository:
        found = list(look_around(load_config(folder.folder / "release.toml", {}), repository))
    return {finding.what.split(" ")[0]: finding for finding in found}


def test_machine_and_disk(project: GitFolder) -> None:
    """Versions, cores, memory and disk are told; without a remote, what follows from that."""
    found = findings(project)
    assert "Python 3." in found["tagship"].what and "git 2." in found["tagship"].what
    assert found["room"].level == OK and "the embedded Hub" in found["room"].what
    assert found["there"].level == WARN and "git remote add origin" in str(found["there"].remedy)
    assert "no" not in found


def test_full_disk(project: GitFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """No room is what stops a release."""
    monkeypatch.setattr("tagship.release.surroundings.free_disk", lambda folder: 1000)
    assert findings(project)["room"].level == STOP


def test_remote_that_answers(project: GitFolder, tmp_path: Path) -> None:
    """The remote is asked for its tags; one that does not answer is a warning with git's words."""
    project.git("tag", "v1.0.0")
    project.git("clone", "--quiet", "--bare", ".", str(tmp_path / "origin.git"))
    project.git("remote", "add", "origin", str(tmp_path / "origin.git"))
    assert findings(project)["the"] == Finding(level=OK, what="the git remote origin answers, and has 1 tags")
    project.git("remote", "set-url", "origin", str(tmp_path / "nowhere.git"))
    found = findings(project)["the"]
    assert found.level == WARN and "nowhere.git" in found.what
    assert "\n" not in found.what and "correct access rights" not in found.what and "fatal:" not in found.what
    assert "git remote set-url origin" in str(found.remedy)


def test_workflows(project: GitFolder) -> None:
    """A repository on a forge whose CI does not run this program is warned of it; what runs it is named."""
    project.git("remote", "add", "origin", "https://forge.invalid/acme/train.git")
    project.write(".github/workflows/test.yml", "run: pytest\n")
    assert findings(project)["no"].remedy == "invoke init writes one"
    project.write(".github/workflows/release.yml", "run: invoke release\n")
    assert findings(project)["CI"].what == "CI runs this program: .github/workflows/release.yml"
