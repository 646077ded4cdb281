"""A release in units: planned once, each done in a clone of its own as by jobs of CI, gathered to the same bytes."""

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi
from tagship.cli import units
from tagship.cli.session import open_session
from tagship.hub_server.app import EmbeddedHub, Role
from tagship.release import trained, work
from tagship.release.options import Options
from tagship.release.step import Step
from tagship.system.console import Console
from tagship.system.errors import ReleaseError

from tests.end_to_end.conftest import NEWEST_RUN, Finished, Project

NAMES = ["vllm", "ollama q4_k_m", "lora"]
MakeProject = Callable[[], Project]


@pytest.fixture(scope="module")
def tagged(make_project: MakeProject) -> Project:
    """A project that was tagged, and its plan beside it."""
    project = make_project()
    project.git("tag", "v1.0.0", "--message", "Release v1.0.0: learns a field")
    return project


@pytest.fixture(scope="module")
def clone(tagged: Project, make_project: MakeProject) -> Callable[[], Project]:
    """Make a clone of the project, as each job of CI has one."""

    def made() -> Project:
        fresh = make_project()
        shutil.rmtree(fresh.folder)
        subprocess.run(["git", "clone", "--quiet", str(tagged.folder), str(fresh.folder)], check=True)
        return fresh

    return made


@pytest.fixture(scope="module")
def plan_text(clone: Callable[[], Project]) -> str:
    """What `invoke plan --json` prints in a clone."""
    done = clone().invoke("plan", "--json", "--tag", "v1.0.0")
    assert done.code == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def results(clone: Callable[[], Project], plan_text: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of all units, each done in a clone of its own, and brought together."""
    together = tmp_path_factory.mktemp("together") / "results"
    for index in range(len(NAMES)):
        project = _with_plan(clone(), plan_text)
        done = project.invoke("work", "--plan", "plan.json", JOB_COMPLETION_INDEX=str(index))
        assert done.code == 0, done.stderr
        shutil.copytree(project.folder / "results", together, dirs_exist_ok=True)
    return together


@pytest.fixture(scope="module")
def gathered(clone: Callable[[], Project], plan_text: str, results: Path) -> tuple[Project, Finished]:
    """A clone where they were gathered."""
    project = _with_plan(clone(), plan_text, results)
    done = project.invoke("gather", "--plan", "plan.json", "--json")
    assert done.code == 0, done.stderr
    return project, done


@pytest.fixture
def worked(clone: Callable[[], Project], plan_text: str, results: Path) -> Project:
    """A clone with the plan and all results."""
    return _with_plan(clone(), plan_text, results)


def _with_plan(project: Project, text: str, results: Path | None = None) -> Project:
    (project.folder / "plan.json").write_text(text)
    if results is not None:
        shutil.copytree(results, project.folder / "results")
    return project


def _exports(project: Project) -> dict[str, Path]:
    """The exports among the results, by the names of their units."""
    units = json.loads((project.folder / "plan.json").read_text())["units"]
    return {unit["name"]: project.folder / "results/units" / unit["digest"] / "export" for unit in units}


def test_the_same_bytes_as_on_one_machine(gathered: tuple[Project, Finished], clone: Callable[[], Project]) -> None:
    """What was done in three clones and gathered is, file by file and archive by archive, what `release` makes."""
    one = clone()
    released = one.invoke("release", "--json", "--tag", "v1.0.0")
    assert released.code == 0, released.stderr
    project, done = gathered
    for here, there in zip(released.document["formats"], done.document["formats"], strict=True):
        assert here["files"] == there["files"]
        assert here["archive"] == there["archive"]
    assert project.published() == one.published()
    assert len(one.published()) == len(NAMES) + 1  # and the base


def test_plan_says_what_work_needs(plan_text: str) -> None:
    """A plan's document has the units with digests and what they will take, and what they are made from; nothing of the
    machine that made it is in it."""
    document = json.loads(plan_text)
    assert [unit["name"] for unit in document["units"]] == NAMES
    assert [unit["index"] for unit in document["units"]] == [0, 1, 2]
    assert len({unit["digest"] for unit in document["units"]}) == len(NAMES)
    assert all(unit["memory"] > 0 and unit["disk"] > 0 for unit in document["units"])
    assert document["model"]["weights"].startswith("sha256:")
    assert document["options"]["run"].startswith("examples/avro/adapters/")
    assert document["inputs"].keys() == {"measured.txt"}


def test_matrix_is_a_line_for_github(worked: Project) -> None:
    """`plan --matrix` prints one line, in which each job has the index that `work` takes."""
    done = worked.invoke("plan", "--matrix", "--tag", "v1.0.0")
    assert done.code == 0 and done.stdout.count("\n") == 1
    (included,) = json.loads(done.stdout).values()
    assert [(job["index"], job["name"], job["quant"]) for job in included] == [
        (0, "vllm", ""),
        (1, "ollama q4_k_m", "q4_k_m"),
        (2, "lora", ""),
    ]
    both = worked.invoke("plan", "--matrix", "--json", "--tag", "v1.0.0")
    assert both.code == 2 and "both print on standard output" in both.stderr


def test_matrix_of_nothing(worked: Project) -> None:
    """For a tag that triggers nothing the matrix has no jobs."""
    done = worked.invoke("plan", "--matrix", GITHUB_REF_TYPE="tag", GITHUB_REF="refs/tags/v1.2")
    assert (done.code, json.loads(done.stdout)) == (0, {"include": []})


def test_gathering_again_changes_nothing(gathered: tuple[Project, Finished]) -> None:
    """The same command again makes no new commit."""
    project, done = gathered
    again = project.invoke("gather", "--plan", "plan.json", "--json")
    assert again.code == 0, again.stderr
    commits = [[entry["commit"] for entry in each.document["formats"]] for each in (done, again)]
    assert commits[0] == commits[1]


def test_a_unit_is_done_once(worked: Project) -> None:
    """A result that is there, and whole, is kept; one that is damaged is done again."""
    before = worked.files()
    done = worked.invoke("work", "--plan", "plan.json", "--index", "2", "--json")
    assert done.code == 0 and done.document["done_before"] and worked.files() - before <= {".tagship/digests.json"}
    tampered = _exports(worked)["lora"] / "adapter_model.safetensors"
    whole = tampered.read_bytes()
    tampered.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    again = worked.invoke("work", "--plan", "plan.json", "--index", "2", "--json")
    assert again.code == 0 and not again.document["done_before"], again.stderr
    assert "adapter_model.safetensors was changed" in again.stderr
    assert tampered.read_bytes() == whole


@pytest.mark.parametrize("name", ["ollama q4_k_m", "vllm"])
def test_tampered_result(worked: Project, name: str) -> None:
    """A flipped bit in a result's file, or another manifest, publishes nothing, and the unit is named."""
    export = _exports(worked)[name]
    tampered = next(export.glob("*.gguf"), export / "release.json")
    content = bytearray(tampered.read_bytes())
    content[-9] ^= 1
    tampered.unlink()
    tampered.write_bytes(content)
    done = worked.invoke("gather", "--plan", "plan.json")
    assert done.code == 1
    assert f"the result of {name} is not what was made" in done.stderr and f"{tampered.name} was changed" in done.stderr
    assert not worked.published()


def test_failed_unit(worked: Project) -> None:
    """A unit that failed publishes nothing: who gathers is told which it was, why, and what to do. Once it is done, the
    same command goes through."""
    export = _exports(worked)["lora"]
    shutil.rmtree(export.parent)
    (unit,) = (
        unit for unit in json.loads((worked.folder / "plan.json").read_text())["units"] if unit["name"] == "lora"
    )
    other = worked.folder / "exports" / unit["export"]
    other.mkdir(parents=True)
    (other / "release.json").write_text("{}")
    failed = worked.invoke("work", "--plan", "plan.json", "--index", "2")
    assert failed.code == 1 and "release.json is malformed" in failed.stderr
    assert not export.exists()
    done = worked.invoke("gather", "--plan", "plan.json")
    assert done.code == 1
    assert "1 of 3 units are not done:" in done.stderr and "nothing was published" in done.stderr
    assert "2 lora: " in done.stderr and "release.json is malformed" in done.stderr
    assert "export again; then invoke work --plan plan.json --index 2" in done.stderr
    assert not worked.published()
    shutil.rmtree(other)
    again = worked.invoke("work", "--plan", "plan.json", SLURM_ARRAY_TASK_ID="2")
    assert again.code == 0, again.stderr
    assert not list((worked.folder / "results/failures").iterdir())
    finished = worked.invoke("gather", "--plan", "plan.json")
    assert finished.code == 0, finished.stderr


def test_partial(make_project: MakeProject) -> None:
    """With `[release] partial` what was done is published, and says what is missing: in the card, the manifest, and the
    commit; repos that are not there are not linked to."""
    project = make_project()
    policy = project.folder / "release.toml"
    limited = "[release]\npartial = true\n\n[verify.limits.q4_k_m]\nkl = 1e-12\n"
    policy.write_text(policy.read_text() + limited)
    project.git("commit", "--quiet", "--all", "--message=chore: no quantization is good enough")
    planned = project.invoke("plan", "--json", "--format", "ollama", "--format", "lora", "--at", "20250915-124051")
    _with_plan(project, planned.stdout)
    codes = [project.invoke("work", "--plan", "plan.json", "--index", str(index)).code for index in (0, 1)]
    assert codes == [1, 0]
    done = project.invoke("gather", "--plan", "plan.json", "--json")
    assert done.code == 0, done.stderr
    assert "0 ollama q4_k_m: the ollama q4_k_m export does not answer like base + adapter" in done.stderr
    assert done.document["missing"] == ["ollama q4_k_m"]
    (entry,) = done.document["formats"]
    assert entry["format"] == "lora"
    manifest = json.loads((project.folder / entry["export_dir"] / "release.json").read_text())
    assert (manifest["missing"], manifest["siblings"]) == (["ollama q4_k_m"], [])
    card = (project.folder / entry["export_dir"] / "README.md").read_text()
    assert "ollama q4_k_m could not be made" in card and "gguf" not in card
    with EmbeddedHub(root=project.folder / ".tagship/hub") as hub:
        (commit, *_) = HfApi(endpoint=hub.url, token=False).list_repo_commits(entry["repo_id"])
        assert "The release lacks ollama q4_k_m." in commit.message


def test_large_files_straight_to_the_hub(
    clone: Callable[[], Project], gathered: tuple[Project, Finished], tmp_path: Path
) -> None:
    """With `--to-hub` a unit sends its weights ahead: nobody sees them, its result and its folder are small, and the
    commit is made of digests, to the same repo; there is no archive."""
    with EmbeddedHub(root=tmp_path, namespace="acme", tokens={"hf_writer": Role.WRITE}) as hub:
        api = HfApi(endpoint=hub.url, token="hf_writer")
        chosen = ("--tag", "v1.0.0", "--hub", hub.url, "--format", "vllm")
        worker, gatherer = clone(), clone()
        text = worker.invoke("plan", "--json", *chosen).stdout
        _with_plan(worker, text)
        refused = worker.invoke("work", "--plan", "plan.json", "--index", "0", "--to-hub")
        assert refused.code == 1 and f"there is no token for {hub.url}" in refused.stderr
        done = worker.invoke("work", "--plan", "plan.json", "--index", "0", "--to-hub", HF_TOKEN="hf_writer")
        assert done.code == 0, done.stderr
        repo = "acme/phi3avro-minimal-vllm-v1.0.0"
        assert [item.path for item in api.list_repo_tree(repo, recursive=True)] == [".gitattributes"]
        (export,) = _exports(worker).values()
        assert not list(export.glob("*.safetensors")) and not list(worker.folder.glob("exports/*/*.safetensors"))
        _with_plan(gatherer, text, worker.folder / "results")
        published = gatherer.invoke("gather", "--plan", "plan.json", "--json", HF_TOKEN="hf_writer")
        assert published.code == 0, published.stderr
        (entry,) = published.document["formats"]
        assert "archive" not in entry and not list(gatherer.folder.glob("dist/*.tar.gz"))
        whole = gathered[1].document["formats"][0]["files"]  # whose card and manifest tell of other formats, too
        telling = ("README.md", "release.json")
        mine, theirs = ([each for each in files if each["path"] not in telling] for files in (entry["files"], whole))
        assert mine == theirs and len(mine) > 5
        again = gatherer.invoke("gather", "--plan", "plan.json", "--json", HF_TOKEN="hf_writer")
        assert again.code == 0 and again.document["formats"][0]["commit"] == entry["commit"], again.stderr


def test_a_disk_without_room(
    clone: Callable[[], Project],
    gathered: tuple[Project, Finished],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Where a merged model does not fit beside its base, each file of it is sent ahead when it is whole; it is compared
    by weights that are made again. Its repo is what it is where there is room."""
    with EmbeddedHub(root=tmp_path, namespace="acme", tokens={"hf_writer": Role.WRITE}) as hub:
        chosen = ("--tag", "v1.0.0", "--hub", hub.url, "--format", "vllm")
        project = clone()
        _with_plan(project, project.invoke("plan", "--json", *chosen).stdout)
        for name, value in (project.environment | {"HF_ENDPOINT": hub.url}).items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(project.folder)
        free = 5_000_000  # more than the largest file of 4.0 MB, less than all of 5.9
        monkeypatch.setattr("tagship.release.room.free_disk", lambda folder: free)
        refused = pytest.raises(ReleaseError, match="there is no token for")
        with refused, open_session(None, Options(), Console()) as session:
            units.work(session, "plan.json", "0", "results", to_hub=False)
        monkeypatch.setenv("HF_TOKEN", "hf_writer")
        with open_session(None, Options(), Console()) as session:
            units.work(session, "plan.json", "0", "results", to_hub=False)
        told = capfd.readouterr().err
        assert "vllm: sent to the Hub file by file, as there is no room for all of it" in told
        (export,) = _exports(project).values()
        assert not list(export.glob("*.safetensors")) and not list(project.folder.glob("exports/*/*.safetensors"))
        published = project.invoke("gather", "--plan", "plan.json", "--json", HF_TOKEN="hf_writer")
        assert published.code == 0, published.stderr
        (entry,) = published.document["formats"]
        assert "made again as they were sent" in entry["verified"]["runtime"]
        whole = {each["path"]: each for each in gathered[1].document["formats"][0]["files"]}
        telling = ("README.md", "release.json")
        assert all(each == whole[each["path"]] for each in entry["files"] if each["path"] not in telling)


@pytest.mark.long
def test_units_that_share_a_repo(make_project: MakeProject, tmp_path: Path) -> None:
    """Quantization types of one repo are units of their own, done anywhere, also sent ahead, and published as one
    commit; without one of them the repo is left out of a partial release, as a version is never completed."""
    project = make_project()
    project.replace("release.toml", 'quants = ["q4_k_m"]', 'quants = ["q4_k_m", "q8_0"]\ntogether = true')
    project.replace("release.toml", "[formats.vllm]", "[release]\npartial = true\n\n[formats.vllm]")
    project.git("commit", "--all", "--quiet", "--message=feat: share a repo")
    project.git("tag", "v1.0.0", "--message", "Release v1.0.0")
    with EmbeddedHub(root=tmp_path, namespace="acme", tokens={"hf_writer": Role.WRITE}) as hub:
        options = ("--tag", "v1.0.0", "--hub", hub.url, "--format", "ollama", "--format", "lora", "--quick")
        (project.folder / "plan.json").write_text(project.invoke("plan", "--json", *options).stdout)
        names = [unit["name"] for unit in json.loads((project.folder / "plan.json").read_text())["units"]]
        assert names == ["ollama q4_k_m", "ollama q8_0", "lora"]
        api, repo = HfApi(endpoint=hub.url, token="hf_writer"), "acme/phi3avro-minimal-gguf-v1.0.0"
        for index in ("0", "2"):
            done = project.invoke("work", "--plan", "plan.json", "--index", index, "--to-hub", HF_TOKEN="hf_writer")
            assert done.code == 0, done.stderr
        done = project.invoke("gather", "--plan", "plan.json", HF_TOKEN="hf_writer")
        assert done.code == 0, done.stderr
        assert "1 ollama q8_0: it has no result" in done.stderr
        assert "ollama q4_k_m would share a repo with them, and are left out, too" in done.stderr
        assert [item.path for item in api.list_repo_tree(repo)] == [".gitattributes"]
        assert api.list_repo_refs("acme/phi3avro-minimal-lora-v1.0.0").tags
        done = project.invoke("work", "--plan", "plan.json", "--index", "1", HF_TOKEN="hf_writer")
        assert done.code == 0, done.stderr
        done = project.invoke("gather", "--plan", "plan.json", HF_TOKEN="hf_writer")
        assert done.code == 0, done.stderr
        (tag,) = api.list_repo_refs(repo).tags
        files = {item.path for item in api.list_repo_tree(repo, revision="v1.0.0")}
        assert {"Modelfile-Q4_K_M", "Modelfile-Q8_0", "README.md", "release.json"} <= files
        assert sorted(Path(name).stem.rpartition("-")[2] for name in files if name.endswith(".gguf")) == [
            "Q4_K_M",
            "Q8_0",
        ]
        assert tag.name == "v1.0.0"
        assert project.invoke("audit", "--hub", hub.url, "--tag", "v1.0.0", HF_TOKEN="hf_writer").code == 0


def test_gathering_without_the_base(make_project: MakeProject, tmp_path: Path) -> None:
    """Who gathers fetches of a base on the Hub what describes it, and no weights; it is that of the units' revision,
    also where the base has changed since."""
    project = make_project()
    policy = (project.folder / "release.toml").read_text()
    policy = re.sub(r'path\s+= "examples/avro/base"\npublish = true\n', "", policy)
    (project.folder / "release.toml").write_text(policy)
    project.git("commit", "--quiet", "--all", "--message=chore: the base is on the Hub")
    with EmbeddedHub(root=tmp_path / "hub", namespace="acme", tokens={"hf_writer": Role.WRITE}) as hub:
        api = HfApi(endpoint=hub.url, token="hf_writer")
        api.create_repo("acme/phi3avro")
        api.upload_folder(repo_id="acme/phi3avro", folder_path=project.folder / "examples/avro/base")
        first = api.model_info("acme/phi3avro").sha
        environment = {"HF_TOKEN": "hf_writer", "HF_ENDPOINT": hub.url}
        planned = project.invoke("plan", "--json", "--format", "lora", "--base", "acme/phi3avro", **environment)
        assert planned.code == 0, planned.stderr
        assert planned.document["units"][0]["disk"] is None  # of a base that is not here
        _with_plan(project, planned.stdout)
        done = project.invoke("work", "--plan", "plan.json", "--index", "0", **environment)
        assert done.code == 0, done.stderr
        api.upload_file(repo_id="acme/phi3avro", path_or_fileobj=b"{}", path_in_repo="special_tokens_map.json")
        cache = tmp_path / "gatherer"
        gathered = project.invoke("gather", "--plan", "plan.json", "--json", HF_HOME=str(cache), **environment)
        assert gathered.code == 0, gathered.stderr
        assert list(cache.rglob("config.json")) and not list(cache.rglob("*.safetensors"))
        (entry,) = gathered.document["formats"]
        manifest = json.loads((project.folder / entry["export_dir"] / "release.json").read_text())
        assert manifest["base_revision"] == first
        assert f"at `{first}`" in (project.folder / entry["export_dir"] / "README.md").read_text()


def test_another_commit(worked: Project) -> None:
    """A clone at another commit, and one with changes, is refused, and told apart."""
    worked.replace("release.toml", "max_tokens = 128", "max_tokens = 64")
    for verb in (["work", "--index", "0"], ["gather"]):
        changed = worked.invoke(*verb, "--plan", "plan.json")
        assert changed.code == 1 and re.search("the working tree is not what .* has: release.toml", changed.stderr)
    worked.git("commit", "--quiet", "--all", "--message=feat: shorter")
    for verb in (["work", "--index", "0"], ["gather"]):
        other = worked.invoke(*verb, "--plan", "plan.json")
        assert other.code == 1 and "the plan is of the commit" in other.stderr and "git checkout" in other.stderr
    assert not worked.published()


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("policy", "0" * 64, "release.toml is not what was planned"),
        ("inputs", {"measured.txt": "0" * 64}, "the files beside the run is not what was planned: measured.txt"),
        ("extent", "quick", "the plan says extent"),
        ("base_model", "acme/other", 'the plan says base_model "acme/other", and here it is "acme/phi3avro"'),
    ],
)
def test_another_plan(worked: Project, key: str, value: Any, told: str) -> None:
    """A plan that this clone does not come to is refused, by what differs."""
    document = json.loads((worked.folder / "plan.json").read_text())
    (worked.folder / "plan.json").write_text(json.dumps(document | {key: value}))
    done = worked.invoke("work", "--plan", "plan.json", "--index", "0")
    assert done.code == 1 and told in done.stderr, done.stderr


def test_another_model(worked: Project) -> None:
    """Where a run is not in git, its weights tell: another one is refused by name."""
    document = json.loads((worked.folder / "plan.json").read_text())
    document["model"]["weights"] = "sha256:" + "0" * 64
    (worked.folder / "plan.json").write_text(json.dumps(document))
    done = worked.invoke("work", "--plan", "plan.json", "--index", "0")
    assert done.code == 1
    assert "the adapter's weights changed (adapter_model.safetensors)" in done.stderr


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "[" * 100_000,
        '{"schema": 1}',
        '{"schema": ' + "9" * 5000 + "}",
        '{"schema": 1, "tagship": "0.1.0", "units": {}, "options": 7, "digest": "../..", "commit": ""}',
    ],
)
def test_no_plan(worked: Project, text: str) -> None:
    """What is no plan is told in one message, as a mistake in the options."""
    (worked.folder / "plan.json").write_text(text)
    done = worked.invoke("gather", "--plan", "plan.json")
    assert done.code == 2 and "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ") and "plan.json" in done.stderr and "remedy: " in done.stderr


@pytest.mark.parametrize("index", ["3", "-1", "1.0", "x", "9" * 100, "\u0663"])
def test_no_unit(worked: Project, index: str) -> None:
    """An index that no unit has is told."""
    done = worked.invoke("work", "--plan", "plan.json", f"--index={index}")
    assert done.code == 2 and ("no unit 3" in done.stderr or "must be the number of a unit" in done.stderr)


def test_which_unit(worked: Project) -> None:
    """Without an index, and nobody else who says it, it is asked for; so is the plan."""
    assert "which unit?" in worked.invoke("work", "--plan", "plan.json").stderr
    assert "which plan?" in worked.invoke("work", "--index", "0").stderr
    missing = worked.invoke("gather", "--plan", "other.json")
    assert missing.code == 2 and "there is no plan" in missing.stderr


def test_a_draft_that_is_another_unit_s(
    clone: Callable[[], Project],
    plan_text: str,
    results: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A unit whose own export writes no answers makes the release's GGUF, too, where the model is too large to write
    them itself; it comes to the same evidence, and leaves nothing of it."""
    project = _with_plan(clone(), plan_text)
    for name, value in project.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(project.folder)
    monkeypatch.setattr(trained, "_TINY", 0)
    with open_session(None, Options(), Console()) as session:
        units.work(session, "plan.json", "0", "results", to_hub=False)
    assert "ollama q4_k_m: " in capfd.readouterr().err
    assert [path.name for path in (project.folder / "exports").iterdir()] == [f"{NEWEST_RUN}-vllm-v1.0.0"]
    kept = json.loads((project.folder / "plan.json").read_text())["units"][0]["digest"]
    with_draft, without = (folder / "units" / kept for folder in (project.folder / "results", results))
    assert (with_draft / "export/release.json").read_bytes() == (without / "export/release.json").read_bytes()
    assert (
        json.loads((with_draft / "result.json").read_text())["answers"]
        == json.loads((without / "result.json").read_text())["answers"]
    )


def test_agreement(worked: Project) -> None:
    """Units that were made with other tools, or of another base, are not published as one release."""
    for name, export in _exports(worked).items():
        if name == "lora":
            manifest = json.loads((export / "release.json").read_text())
            manifest["tools"] = {"numpy": "0.1"}
            _replace_manifest(export, manifest)
    done = worked.invoke("gather", "--plan", "plan.json")
    assert done.code == 1 and "the units were not made alike: the version of numpy: vllm has" in done.stderr
    assert "lora has 0.1" in done.stderr
    assert not worked.published()


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"commit": "0" * 40}, "the result of lora is of v1.0.0 of the commit 0000000000"),
        ({"repo_id": "acme/other"}, "the result of lora is of the repo acme/other"),
        ({"evidence": None}, "the result of lora is not verified: nothing was shown of these files"),
        ({"model": None}, "what lora was made of is not the model that was planned"),
    ],
)
def test_claims(worked: Project, changed: dict[str, Any], told: str) -> None:
    """A result that says that it is something else, or was not verified, is refused."""
    export = _exports(worked)["lora"]
    _replace_manifest(export, json.loads((export / "release.json").read_text()) | changed)
    done = worked.invoke("gather", "--plan", "plan.json")
    assert done.code == 1 and told in done.stderr, done.stderr
    assert not worked.published()


def test_a_base_that_changes_meanwhile(
    clone: Callable[[], Project], plan_text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A unit whose base became another one while it was done leaves no result, whatever the times of its files say."""
    project = _with_plan(clone(), plan_text)
    for name, value in project.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(project.folder)
    weights = next(project.folder.glob("examples/avro/base/*-of-*.safetensors"))

    def send(*_: object) -> tuple[()]:
        status, content = weights.stat(), bytearray(weights.read_bytes())
        content[-2] ^= 1
        weights.write_bytes(content)
        os.utime(weights, ns=(status.st_atime_ns, status.st_mtime_ns))
        return ()

    monkeypatch.setattr(work, "_sending", lambda *_: (Step(name="meanwhile", title="Meanwhile", once=send),))
    refused = pytest.raises(ReleaseError, match="what lora was made of is not the model that was planned: the base")
    with refused, open_session(None, Options(), Console()) as session:
        units.work(session, "plan.json", "2", "results", to_hub=False)
    assert not list(project.folder.glob("results/units/*"))


def _replace_manifest(export: Path, manifest: dict[str, Any]) -> None:
    """Have a result say something else of itself, consistently."""
    content = (json.dumps(manifest, indent=2) + "\n").encode()
    (export / "release.json").unlink()
    (export / "release.json").write_bytes(content)
    result = json.loads((export.parent / "result.json").read_text())
    result["manifest"] |= {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (export.parent / "result.json").unlink()
    (export.parent / "result.json").write_text(json.dumps(result))
