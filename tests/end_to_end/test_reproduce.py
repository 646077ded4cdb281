"""`invoke reproduce`: a published release, made again from its release.json, and compared byte by byte."""

import json
import shutil
import threading
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from tagship.artifacts.manifest import BILL_FILE
from tagship.hub_server.app import EmbeddedHub
from threadpoolctl import threadpool_info

from tests.end_to_end.conftest import NEWEST_RUN, Project
from tests.end_to_end.publishing import publish

VLLM = "acme/phi3avro-minimal-vllm-v1.0.0"
LORA = "acme/phi3avro-minimal-lora-v1.0.0"
MakeProject = Callable[[], Project]


@pytest.fixture(scope="module")
def released(make_project: MakeProject) -> Project:
    """A project whose v1.0.0 is on its embedded Hub; it goes on since then."""
    project = make_project()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HOME", project.environment["HF_HOME"])
        sealed = "[publish]\nsbom = true\nprovenance = true\n"
        floats = '[export]\ndtype = "f16"\n'  # which BLAS sums up, and no loop of ours
        project.replace("release.toml", '[formats.ollama]\nquants = ["q4_k_m"]\n', sealed + floats)
        project.git("commit", "--quiet", "--all", "--message=feat: two formats")
        project.git("tag", "v1.0.0", "--message", "Release v1.0.0")
        publish(project)
    project.replace("release.toml", 'language = ["en"]', 'language = ["de"]')
    project.git("commit", "--quiet", "--all", "--message=docs: another language")
    return project


@pytest.fixture
def project(released: Project, tmp_path: Path) -> Project:
    """A copy of it."""
    folder = shutil.copytree(released.folder, tmp_path / "project", symlinks=True)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return Project(folder, {**released.environment, "TMPDIR": str(scratch)})


def results(document: Any) -> dict[str, str]:
    return {each["path"]: each["result"] for each in document["files"]}


def ours(project: Project) -> set[str]:
    """Every file of a project but the embedded Hub's, which reads headers for whoever asks."""
    return {name for name in project.files() if not name.startswith(".tagship/hub/")}


@pytest.mark.parametrize("repo", [VLLM, LORA])
def test_every_byte_is_made_again(project: Project, repo: str) -> None:
    """A release of an earlier commit comes out byte by byte, card and release.json among it, whatever the working tree
    is by now; nothing is left behind, and nothing here is touched."""
    project.replace("release.toml", "[formats.vllm]", "[formats.vllm] # not committed")
    shutil.rmtree(project.folder / "exports")
    before = ours(project)
    done = project.invoke("reproduce", "--repo", repo, "--json")
    assert done.code == 0, done.stderr
    document = done.document
    assert document["ok"] and document["tools"] == [] and document["tag"] == "v1.0.0"
    found = results(document)
    assert set(found.values()) == {"equal"} and {"README.md", "release.json", BILL_FILE} <= found.keys()
    assert ours(project) == before
    assert list(Path(project.environment["TMPDIR"]).iterdir()) == []


@pytest.mark.skipif(
    not any(each["internal_api"] == "openblas" for each in threadpool_info()), reason="numpy has no OpenBLAS"
)
def test_another_processor(project: Project) -> None:
    """Where BLAS sums in another order, the tensors that differ are named, and the exit code is 1."""
    done = project.invoke("reproduce", "--repo", VLLM, "--json", OPENBLAS_CORETYPE="Prescott")
    assert done.code == 1
    document = done.document
    (first, *_) = [each for each in document["files"] if each["path"].endswith("00001-of-00002.safetensors")]
    assert first["result"] == "differs" and "proj.weight" in first["where"][0]
    assert results(document)["config.json"] == "equal" and not document["ok"]


def test_what_was_changed_on_the_hub(project: Project) -> None:
    """Files that somebody changed under the tag are told as the Hub's, whatever was made here; without the policy's
    commit in reach, or for a repo that says nothing, it is refused."""
    with EmbeddedHub(root=project.folder / ".tagship/hub") as hub:
        api = HfApi(endpoint=hub.url, token=False)
        api.create_commit(VLLM, [CommitOperationAdd("config.json", b"{}")], commit_message="By hand")
        api.delete_tag(VLLM, tag="v1.0.0")
        api.create_tag(VLLM, tag="v1.0.0")
    done = project.invoke("reproduce", "--repo", VLLM, "--json")
    assert done.code == 1
    assert [each["path"] for each in done.document["changed_on_the_hub"]] == ["config.json"]
    assert set(results(done.document).values()) == {"equal"}


def test_other_tools_are_named(project: Project) -> None:
    """A tool of another version is told, and release.json differs in it alone."""
    with EmbeddedHub(root=project.folder / ".tagship/hub") as hub:
        api = HfApi(endpoint=hub.url, token=False)
        text = Path(api.hf_hub_download(LORA, "release.json", local_dir=project.folder / "there")).read_text()
        document = json.loads(text)
        document["tools"]["numpy"] = "1.26.0"
        text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
        api.create_commit(LORA, [CommitOperationAdd("release.json", text.encode())], commit_message="As if by another")
        api.delete_tag(LORA, tag="v1.0.0")
        api.create_tag(LORA, tag="v1.0.0")
    done = project.invoke("reproduce", "--repo", LORA, "--json")
    assert done.code == 1 and len(done.document["tools"]) == 1
    assert done.document["tools"][0].startswith("numpy was 1.26.0, and here is ")
    differing = [each for each in done.document["files"] if each["result"] != "equal"]
    assert [each["path"] for each in differing] == ["release.json"]
    assert differing[0]["where"][0].startswith("tools.numpy is ")


def test_the_run_has_to_be_the_one(project: Project, tmp_path: Path) -> None:
    """A run that is not in the commit is found here by its name, or where --run says; another one is refused, by its
    weights."""
    adapters = project.folder / "examples/avro/adapters"
    away = shutil.move(adapters / NEWEST_RUN, tmp_path / "elsewhere")
    assert project.invoke("reproduce", "--repo", LORA, "--run", str(away)).code == 0
    other = next(adapters.iterdir())
    refused = project.invoke("reproduce", "--repo", LORA, "--run", str(other))
    assert refused.code == 1 and "is another, or a pointer of git LFS" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.long
def test_a_run_that_is_not_committed(make_project: MakeProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs and bases that git does not have are those in the same place here, if they are what was released; without a
    tag it is what main has."""
    project = make_project()
    monkeypatch.setenv("HF_HOME", project.environment["HF_HOME"])
    project.replace("release.toml", '[formats.ollama]\nquants = ["q4_k_m"]\n', "")
    project.git("rm", "-r", "--quiet", "--cached", "examples")
    (project.folder / ".gitignore").write_text("examples\n.tagship\nexports\ndist\n")
    project.git("commit", "--quiet", "--all", "--message=feat: without weights")
    publish(project, formats=("lora",))
    repo = f"acme/{NEWEST_RUN}-lora"
    done = project.invoke("reproduce", "--repo", repo, "--json")
    assert done.code == 0, done.stderr
    assert done.document["tag"] is None and set(results(done.document).values()) == {"equal"}


def test_a_commit_that_is_nowhere(project: Project) -> None:
    """A commit that this clone does not have, and a manifest that would be an option of git, are refused in a line."""
    fresh = project.folder / "fresh"
    shutil.copytree(project.folder, fresh, ignore=lambda folder, names: {"fresh", ".git"} & set(names))
    other = Project(fresh, project.environment)
    other.git("init", "--quiet", "--initial-branch=main")
    other.git("add", ".")
    other.git("commit", "--quiet", "--message=other")
    refused = other.invoke("reproduce", "--repo", VLLM)
    assert refused.code == 1 and "does not have the commit" in refused.stderr and "Traceback" not in refused.stderr


@pytest.mark.long
def test_from_the_page_of_the_repository(make_project: MakeProject, tmp_path: Path) -> None:
    """Where this clone does not have the commit, it comes from the address that release.json names."""
    quiet = partial(QuietHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        first = make_project()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HF_HOME", first.environment["HF_HOME"])
            first.git("remote", "add", "origin", f"http://127.0.0.1:{server.server_port}/it")
            first.git("tag", "v1.0.0", "--message", "Release v1.0.0")
            publish(first, formats=("lora",))
        first.git("clone", "--quiet", "--bare", ".", str(tmp_path / "it"))
        Project(tmp_path / "it", first.environment).git("update-server-info")
        other = make_project()  # of another history
        shutil.rmtree(other.folder / ".git")
        shutil.rmtree(other.folder / "examples")
        other.git("init", "--quiet", "--initial-branch=main")
        other.git("add", "release.toml")
        other.git("commit", "--quiet", "--message=only the policy")
        shutil.copytree(first.folder / ".tagship/hub", other.folder / ".tagship/hub")
        done = other.invoke("reproduce", "--repo", LORA, "--json")
        server.shutdown()
    assert done.code == 0, done.stderr
    assert set(results(done.document).values()) == {"equal"}


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files, and says nothing of it."""

    def log_message(self, *_: object) -> None:
        return


@pytest.mark.long
def test_pointers_of_git_lfs(make_project: MakeProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where git has only pointers to run and base, those of this working tree are taken, if they are what was
    released."""
    if shutil.which("git-lfs") is None:
        pytest.skip("git-lfs is not installed")
    project = make_project()
    monkeypatch.setenv("HF_HOME", project.environment["HF_HOME"])
    for setting in ("clean=git-lfs clean -- %f", "smudge=git-lfs smudge -- %f", "process=git-lfs filter-process"):
        name, _, value = setting.partition("=")
        project.git("config", f"filter.lfs.{name}", value)
    (project.folder / ".gitattributes").write_text("*.safetensors filter=lfs -text\n")
    project.git("rm", "-r", "--quiet", "--cached", "examples")
    project.git("add", ".gitattributes", "examples")
    project.git("commit", "--quiet", "--message=feat: large files apart")
    project.git("tag", "v1.0.0", "--message", "Release v1.0.0")
    publish(project, formats=("vllm",))
    weights = f"HEAD:examples/avro/adapters/{NEWEST_RUN}/adapter_model.safetensors"
    assert project.git("show", weights).startswith("version https://git-lfs")
    done = project.invoke("reproduce", "--repo", VLLM, "--json")
    assert done.code == 0, done.stderr
    assert set(results(done.document).values()) == {"equal"}


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        ((), 2, "needs to know which repo"),
        (("--repo", "acme/nothing"), 1, ""),
        (("--repo", VLLM, "--revision", "v9.0.0"), 1, "released are v1.0.0"),
    ],
)
def test_refusals(project: Project, arguments: tuple[str, ...], code: int, told: str) -> None:
    """Without a repo, with one that is not there, or a tag that it does not have."""
    done = project.invoke("reproduce", *arguments)
    assert done.code == code and told in done.stderr and "Traceback" not in done.stderr, done.stderr
