"""Repos that exports and versions share, released as a user does it and opened as others do."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi, ModelCard, snapshot_download
from msgspec import Struct
from tagship.hub_server.app import EmbeddedHub

from tests.end_to_end.conftest import Project

GGUF, VLLM = "acme/phi3avro-minimal-gguf", "acme/phi3avro-minimal-vllm"
QUANTS = ("Q4_K_M", "Q8_0")


class Versions(Struct, frozen=True, dict=True):
    """A project whose versions were released one after another, with the document of each."""

    project: Project
    released: dict[str, dict[str, Any]]


def with_policy(project: Project, hub: str, ollama: str) -> Project:
    project.replace("release.toml", 'endpoint = "embedded"\n', f'endpoint = "embedded"\n{hub}\n')
    project.replace("release.toml", 'quants = ["q4_k_m"]\n', f'quants = ["q4_k_m", "q8_0"]\n{ollama}\n')
    project.git("commit", "--quiet", "--all", "--message=feat: share repos")
    return project


def release(project: Project, tag: str, *options: str) -> dict[str, Any]:
    project.git("commit", "--quiet", "--allow-empty", f"--message=feat: {tag}")
    project.git("tag", tag, "--message", f"Release {tag}")
    return finished(project, "release", "--tag", tag, "--quick", *options)


def finished(project: Project, *arguments: str) -> dict[str, Any]:
    done = project.invoke(*arguments, "--json")
    assert done.code == 0, done.stderr
    return dict(done.document)


@pytest.fixture(scope="module")
def versions(make_project: Callable[[], Project]) -> Versions:
    """One repo for a model: two final versions, and a prerelease and an older line after them."""
    project = with_policy(make_project(), 'layout = "repo-per-model"', "")
    released = {}
    for tag, options in (
        ("v1.0.0", ("--format", "vllm", "--format", "ollama")),
        ("v2.0.0", ("--format", "vllm", "--format", "ollama")),
        ("v2.1.0-rc.1", ("--format", "ollama")),
    ):
        released[tag] = release(project, tag, *options)
    return Versions(project, released)


@pytest.fixture(scope="module")
def together(make_project: Callable[[], Project]) -> Versions:
    """GGUFs of a release in one repo, which is that release's own."""
    project = with_policy(make_project(), "", "together = true")
    return Versions(project, {"v1.0.0": release(project, "v1.0.0", "--format", "ollama")})


@pytest.fixture
def open_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[Project], HfApi]]:
    """A function that opens a project's Hub for clients."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    servers: list[EmbeddedHub] = []

    def opened(project: Project) -> HfApi:
        server = EmbeddedHub(root=project.folder / ".tagship/hub")
        servers.append(server)
        return HfApi(endpoint=server.__enter__().url, token=False)

    yield opened
    for server in servers:
        server.__exit__(None, None, None)


def downloaded(api: HfApi, repo_id: str, revision: str | None = None) -> dict[str, Path]:
    folder = Path(snapshot_download(repo_id, revision=revision, endpoint=api.endpoint, token=False))
    return {path.name: path for path in folder.iterdir() if path.name != ".gitattributes"}


def test_ggufs_of_a_release_share_a_repo(together: Versions, open_hub: Callable[[Project], HfApi]) -> None:
    """One repo in one commit has every type as the Hub's list of types reads it, a Modelfile for each, and what Ollama
    reads of a repo; its manifest has a part for each, whose evidence is of its files."""
    api = open_hub(together.project)
    repo = "acme/phi3avro-minimal-gguf-v1.0.0"
    files = downloaded(api, repo, "v1.0.0")
    ggufs = [name for name in files if name.endswith(".gguf")]
    assert sorted(name.rpartition("-v1.0.0-")[2] for name in ggufs) == ["Q4_K_M.gguf", "Q8_0.gguf"]
    for quant in QUANTS:
        gguf = next(name for name in ggufs if quant in name)
        assert files[f"Modelfile-{quant}"].read_text().startswith(f"FROM ./{gguf}\n")
    assert files.keys() >= {"params", "template", "README.md", "release.json", "quality.svg"}
    assert len(api.list_repo_commits(repo)) == 2
    manifest = json.loads(files["release.json"].read_text())
    assert (manifest["quant"], manifest["evidence"]) == (None, None)
    assert [part["quant"] for part in manifest["parts"]] == ["q4_k_m", "q8_0"]
    assert {entry["path"] for entry in manifest["files"]} == files.keys() - {"release.json"}
    assert all(part["evidence"]["outcome"] == "passed" for part in manifest["parts"])
    assert finished(together.project, "audit", "--repo", repo)["ok"]


def test_card_of_a_shared_repo(together: Versions, open_hub: Callable[[Project], HfApi]) -> None:
    """The card has all types in a table with the line that runs each, the plot, and what was measured of each."""
    card = ModelCard(
        downloaded(open_hub(together.project), "acme/phi3avro-minimal-gguf-v1.0.0")["README.md"].read_text()
    )
    assert card.data.base_model == "acme/phi3avro-minimal-vllm-v1.0.0"
    for quant in QUANTS:
        assert f"`ollama run hf.co/acme/phi3avro-minimal-gguf-v1.0.0:{quant}`" in card.text
        assert f"\n### {quant}\n" in card.text
    assert "(quality.svg)" in card.text
    assert "ollama create" in card.text and "-f Modelfile-Q4_K_M" in card.text
    assert "| Format | ollama q4_k_m, q8_0 |" in card.text


def test_exports_stay_apart(together: Versions) -> None:
    """Each type has an export and an archive of its own, whose card tells of the other; of one type alone nothing is
    published under the version, but it is exported, verified and packed."""
    project = together.project
    for entry in together.released["v1.0.0"]["formats"]:
        folder = project.folder / entry["export_dir"]
        assert json.loads((folder / "release.json").read_text())["quant"] == entry["quant"]
        assert (folder / "Modelfile").is_file() and (project.folder / entry["artifact"]).is_file()
        assert {file["path"].rpartition("-")[2] for file in entry["files"]} >= {f"{entry['quant'].upper()}.gguf"}
    for task in ("export", "verify", "package"):
        finished(project, task, "--tag", "v1.0.0", "--format", "ollama", "--quant", "q8_0")
    for task in ("release", "publish"):
        refused = project.invoke(task, "--tag", "v1.0.0", "--format", "ollama", "--quant", "q8_0")
        assert refused.code == 1
        assert "would get 1.0.0 without ollama q4_k_m" in refused.stderr


def test_every_version_has_its_files(versions: Versions, open_hub: Callable[[Project], HfApi]) -> None:
    """A tag gives exactly the files of its version, and main those of the newest final one."""
    api = open_hub(versions.project)
    for repo, tags in ((VLLM, ["v1.0.0", "v2.0.0"]), (GGUF, ["v1.0.0", "v2.0.0", "v2.1.0-rc.1"])):
        assert sorted(ref.name for ref in api.list_repo_refs(repo).tags) == tags
        for tag in tags:
            files = downloaded(api, repo, tag)
            manifest = json.loads(files["release.json"].read_text())
            assert (manifest["tag"], manifest["repo_id"]) == (tag, repo)
            assert files.keys() == {entry["path"] for entry in manifest["files"]} | {"release.json"}
        assert json.loads(downloaded(api, repo)["release.json"].read_text())["tag"] == "v2.0.0"
    assert [ref.name for ref in api.list_repo_refs(GGUF).branches] == ["main", "release-v2.1.0-rc.1"]


def test_cards_of_versions(versions: Versions, open_hub: Callable[[Project], HfApi]) -> None:
    """A card pins its version, is of the merged weights' repo, and links to the tag before; that of a prerelease says
    how to get what is not on main."""
    api = open_hub(versions.project)
    card = ModelCard(downloaded(api, GGUF, "v2.0.0")["README.md"].read_text())
    assert (card.data.base_model, card.data.base_model_relation) == (VLLM, "quantized")
    assert card.data.get("new_version") is None
    assert f"hf download {GGUF} --revision v2.0.0" in card.text
    assert f"[v1.0.0](https://huggingface.co/{GGUF}/tree/v1.0.0)" in card.text
    assert f"ollama run hf.co/{GGUF}:Q4_K_M" in card.text
    merged = downloaded(api, VLLM, "v1.0.0")["README.md"].read_text()
    assert f"vllm serve {VLLM} --revision v1.0.0" in merged and 'revision="v1.0.0"' in merged
    trial = downloaded(api, GGUF, "v2.1.0-rc.1")["README.md"].read_text()
    assert "ollama run hf.co/" not in trial
    assert f"hf download {GGUF} --revision v2.1.0-rc.1 --local-dir ." in trial


def test_released_again(versions: Versions, open_hub: Callable[[Project], HfApi]) -> None:
    """A release that is there makes no commit, whichever version is on main."""
    versions.project.git("checkout", "--quiet", "v1.0.0")
    again = finished(
        versions.project, "release", "--tag", "v1.0.0", "--quick", "--format", "vllm", "--format", "ollama"
    )
    versions.project.git("checkout", "--quiet", "main")
    commits = [[entry["commit"] for entry in each["formats"]] for each in (versions.released["v1.0.0"], again)]
    assert commits[0] == commits[1]
    assert len(open_hub(versions.project).list_repo_commits(GGUF)) == 3


def test_after_the_release(versions: Versions, open_hub: Callable[[Project], HfApi]) -> None:
    """An audit passes, the matrix has a line for each version, a rollback is one commit to each repo, and forward."""
    project = versions.project
    assert finished(project, "audit")["ok"]
    (model,) = finished(project, "matrix")["models"]
    assert model["formats"] == ["ollama q4_k_m", "ollama q8_0", "vllm"]
    latest = {version["tag"]: version["formats"]["ollama q8_0"]["latest"] for version in model["versions"]}
    assert latest == {"v2.1.0-rc.1": False, "v2.0.0": True, "v1.0.0": False}
    back = finished(project, "rollback", "--to", "v1.0.0", "--yes")
    assert {change["repo"] for change in back["changes"]} == {GGUF, VLLM}
    (model,) = finished(project, "matrix")["models"]
    assert [version["formats"]["vllm"]["state"] for version in model["versions"]] == ["missing", "withdrawn", "live"]
    assert finished(project, "audit")["ok"]
    assert {tag["tag"] for tag in finished(project, "tags")["streams"][0]["tags"] if tag["released"]} == {
        "v1.0.0",
        "v2.0.0",
        "v2.1.0-rc.1",
    }
    assert json.loads(downloaded(open_hub(project), GGUF)["release.json"].read_text())["tag"] == "v1.0.0"
    finished(project, "rollback", "--to", "v2.0.0", "--yes")
    assert finished(project, "audit")["ok"]


@pytest.mark.long
def test_proposed_release(versions: Versions, open_hub: Callable[[Project], HfApi]) -> None:
    """With --create-pr main and tags stay as they are; once the pull request is merged, the same command without it
    makes no commit, and tags the version."""
    project, options = versions.project, ("--format", "ollama", "--quick")
    (proposed, _) = release(project, "v3.0.0", "--format", "ollama", "--create-pr")["formats"]
    assert proposed["proposed"] and proposed["url"].endswith(f"/{GGUF}/discussions/1")
    api = open_hub(project)
    assert "v3.0.0" not in [ref.name for ref in api.list_repo_refs(GGUF).tags]
    assert json.loads(downloaded(api, GGUF)["release.json"].read_text())["tag"] == "v2.0.0"
    api.merge_pull_request(GGUF, 1)
    merged = api.model_info(GGUF).sha
    (released, _) = finished(project, "release", "--tag", "v3.0.0", *options)["formats"]
    assert (released["commit"], released["proposed"]) == (merged, False)
    assert {ref.name: ref.target_commit for ref in api.list_repo_refs(GGUF).tags}["v3.0.0"] == merged
    assert finished(project, "audit", "--tag", "v3.0.0")["ok"]
