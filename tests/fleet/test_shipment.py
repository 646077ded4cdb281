"""What is shipped to other machines: a clone there is as the one here, with what its commit does not have."""

import pickle
from datetime import datetime
from pathlib import Path

import pytest
from msgspec.structs import replace
from tagship.fleet.away import do_away
from tagship.fleet.shipment import Packing, Shipment, pack, unpack
from tagship.policy.config import load_config
from tagship.release.options import Options
from tagship.release.plan import Plan, make_plan
from tagship.system.errors import ReleaseError
from tagship.system.git import Repository

from tests.conftest import COMMITTED, RUN, GitFolder


def packed(folder: Path, results: str = "results", mark: Path | None = None) -> Shipment:
    """What a project's release is shipped as."""
    with Repository(folder) as repository:
        plan = planned(folder, repository)
        packing = Packing(
            plans=(plan,), document="{}", inputs=("measured.txt",), results=results, mark=mark, to_hub=False
        )
        return pack(packing, repository)


def planned(folder: Path, repository: Repository) -> Plan:
    config = load_config(folder / "release.toml")
    return make_plan(config, Options(), repository, datetime.fromisoformat(COMMITTED))


@pytest.fixture
def ignoring(project: GitFolder) -> GitFolder:
    """A project whose runs and texts are not committed, with a tag and a remote that has a password."""
    project.git("rm", "-r", "--quiet", "--cached", "adapters")
    project.write(".gitignore", "adapters\nmeasured.txt\n/base\n")
    project.write("measured.txt")
    project.git("remote", "add", "origin", "https://ada:secret@example.org/acme/model.git")
    project.commit("Leave runs out")
    project.git("tag", "v1.0.0", "--message", "Release v1.0.0")
    return project


def test_clone(ignoring: GitFolder, tmp_path: Path) -> None:
    """The clone has the commit, the tags with their messages, the run and the files beside it; its tree is clean."""
    shipment = pickle.loads(pickle.dumps(packed(ignoring.folder)))
    root = unpack(shipment, tmp_path / "clone")
    clone = GitFolder(folder=root)
    assert clone.git("rev-parse", "HEAD") == ignoring.git("rev-parse", "HEAD")
    assert clone.git("cat-file", "-t", "v1.0.0") == "tag"
    assert clone.git("status", "--porcelain") == ""
    for name in (f"adapters/{RUN}/adapter_model.safetensors", "measured.txt", "release.toml"):
        assert (root / name).read_bytes() == (ignoring.folder / name).read_bytes()
    with Repository(root) as there, Repository(ignoring.folder) as here:
        assert planned(root, there).source == planned(ignoring.folder, here).source == "https://example.org/acme/model"


def test_no_secrets(ignoring: GitFolder) -> None:
    """A password in a remote's address is shipped to nobody."""
    assert b"secret" not in pickle.dumps(packed(ignoring.folder))


def test_base_that_all_see(ignoring: GitFolder, tmp_path: Path) -> None:
    """A base in a folder that is not committed is found where machines see this one's disks, and stays out of git."""
    ignoring.write("base/config.json", "{}")
    shipment = replace(packed(ignoring.folder), seen={"base": str(ignoring.folder / "base"), "other": "/nowhere"})
    root = unpack(shipment, tmp_path / "clone")
    assert (root / "base/config.json").read_text() == "{}" and not (root / "other").exists()
    assert GitFolder(folder=root).git("status", "--porcelain") == ""


def test_shallow_clone(ignoring: GitFolder, tmp_path: Path) -> None:
    """A clone without its history cannot be shipped, and what mends that is said."""
    shallow = GitFolder(folder=tmp_path / "shallow")
    ignoring.git("clone", "--quiet", "--depth=1", f"file://{ignoring.folder}", str(shallow.folder))
    (shallow.folder / "adapters").symlink_to(ignoring.folder / "adapters")
    with pytest.raises(ReleaseError, match="lacks a part of its history") as told:
        packed(shallow.folder)
    assert told.value.remedy == "git fetch --unshallow"


def test_results_that_nobody_sees(ignoring: GitFolder, tmp_path: Path) -> None:
    """A machine that does not see the folder of results says so before it does anything, and no other one is tried."""
    done = do_away(packed(ignoring.folder, mark=tmp_path / "mark"), 0)
    assert not done.again and done.error and "does not see the folder of results" in done.error
    assert done.remedy and "s3://" in done.remedy


def test_what_work_refuses(ignoring: GitFolder) -> None:
    """What `work` refuses there comes back with what mends it, as it was told there."""
    done = do_away(packed(ignoring.folder), 0)  # whose document is no plan
    assert (done.error and "is no plan of tagship" in done.error) or "was made by" in str(done.error)
    assert not done.again and done.printed.startswith("error: ")
