"""The single verbs, each as a user calls it."""

import json
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from tagship.hub_server.app import EmbeddedHub, Role

from tests.end_to_end.conftest import AT, NEWEST_RUN, Project


def test_plan_does_nothing(project: Project) -> None:
    """`plan` and `release --dry-run` print the same, and write nothing."""
    before = project.files()
    plan = project.invoke("plan", "--json", "--at", AT)
    dry = project.invoke("release", "--dry-run", "--json", "--at", AT)
    assert plan.code == dry.code == 0
    assert plan.document == dry.document
    assert {"tag", "version", "run", "base_model", "formats"} <= plan.document.keys()
    assert {name for name in project.files() - before if "__pycache__" not in name} == set()


def test_invoke_s_own_dry_run(project: Project) -> None:
    """Invoke's --dry and -R are --dry-run, before and after the task; a task that has none refuses them."""
    before = project.files()
    for line in (["-R", "release", "--format", "lora"], ["release", "--format", "lora", "--dry"]):
        done = project.invoke(*line, "--json", "--at", AT)
        assert done.code == 0 and len(done.document["formats"]) == 1
    project.invoke("--dry", "bump", "--tag")
    assert project.git("tag") == ""
    assert project.invoke("--dry", "runs").code == 0
    refused = project.invoke("--dry", "package")
    assert (refused.code, "package has no dry run" in refused.stderr) == (2, True)
    assert {name for name in project.files() - before if "__pycache__" not in name} == set()


def test_tag_that_ci_runs_for(project: Project) -> None:
    """Of several tags on a commit the one whose push triggered CI decides; one that is no version triggers nothing, and
    that is no failure. Options say otherwise, and a run for a branch is as one by hand."""
    for tag in ("v1.0.0", "model-v2.0.0", "export-v1.0.0"):
        project.git("tag", tag, "--message", f"Release {tag}")

    def planned(*options: str, **variables: str) -> dict[str, Any]:
        done = project.invoke("plan", "--json", *options, **variables)
        assert done.code == 0, done.stderr
        return done.document

    for tag in ("v1.0.0", "model-v2.0.0", "export-v1.0.0"):
        assert planned(GITHUB_REF=f"refs/tags/{tag}", GITHUB_REF_TYPE="tag")["tag"] == tag
    assert planned(CI_COMMIT_TAG="export-v1.0.0")["does"] == ["export"]
    assert planned(GITHUB_REF="refs/heads/main")["tag"] == "v1.0.0"
    assert planned("--tag", "v1.0.0", GITHUB_REF="refs/tags/model-v2.0.0")["tag"] == "v1.0.0"
    assert planned("--untagged", GITHUB_REF="refs/tags/model-v2.0.0")["tag"] is None
    assert planned("--untagged")["tag"] is None
    project.git("tag", "v1.2")
    nothing = project.invoke("release", "--json", GITHUB_REF="refs/tags/v1.2")
    assert (nothing.code, nothing.document["formats"], nothing.document["meant"]) == (0, [], "v1.2.0")
    assert "the tag v1.2 triggers nothing" in nothing.stderr
    lacking = project.invoke("release", GITHUB_REF="refs/tags/v9.0.0")
    assert lacking.code == 1 and "fetch-depth: 0" in lacking.stderr
    both = project.invoke("plan", "--untagged", "--tag", "v1.0.0")
    assert (both.code, "do not go together" in both.stderr) == (2, True)


def test_checkout_of_a_tag_for_ci(project: Project, tmp_path: Path) -> None:
    """actions/checkout leaves of an annotated tag the commit alone: the release has the tag's message all the same."""
    project.git("tag", "v1.0.0", "--message", "Release v1.0.0: the story")
    project.git("clone", "--quiet", "--bare", ".", str(tmp_path / "remote.git"))
    project.git("remote", "add", "origin", str(tmp_path / "remote.git"))
    project.git("tag", "--force", "v1.0.0", "v1.0.0^{commit}")
    done = project.invoke("release", "--format", "lora", "--json", GITHUB_REF="refs/tags/v1.0.0")
    assert done.code == 0, done.stderr
    assert "lightweight" not in done.stderr and "another tag" not in done.stderr
    (bare,) = Path(project.folder, ".tagship").rglob("*lora-v1.0.0.git")
    assert "the story" in project.git("--git-dir", str(bare), "log", "--format=%B", "main")


def test_json_is_all_that_is_on_standard_output(project: Project) -> None:
    """People's output goes to standard error."""
    done = project.invoke("plan", "--json")
    assert json.loads(done.stdout)["run"] == NEWEST_RUN
    assert "Plan" in done.stderr


def test_an_older_run(project: Project) -> None:
    """--run takes a name below the runs folder, or a path."""
    oldest = project.invoke("runs", "--json").document[-1]["run"]
    assert oldest != NEWEST_RUN
    for given in (oldest, f"examples/avro/adapters/{oldest}"):
        assert project.invoke("plan", "--json", "--run", given).document["run"] == oldest


def test_what_the_doctor_says_of_an_older_run(project: Project) -> None:
    """`doctor --run` has its findings on standard output, and nothing else anywhere; with --json it is one document."""
    oldest = project.invoke("runs", "--json").document[-1]["run"]
    done = project.invoke("doctor", "--run", oldest)
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.startswith("ok: adapter: LoRA of rank 8")
    document = project.invoke("doctor", "--run", f"examples/avro/adapters/{oldest}", "--json").document
    assert (document["ok"], document["run"], document["vllm"]["max_lora_rank"]) == (True, oldest, 8)
    assert {"adapter", "base", "fit", "costs", "vllm", "llama_cpp", "license", "revision"} <= document.keys()
    assert [(cost["format"], cost["quant"]) for cost in document["costs"]] == [
        ("vllm", None),
        ("ollama", "q4_k_m"),
        ("lora", None),
    ]


def test_the_doctor_ends_with_1_where_a_release_would_be_refused(project: Project) -> None:
    """Of a run and of a release alike; the findings stay on standard output, and --json has the whole document."""
    project.replace(f"examples/avro/adapters/{NEWEST_RUN}/adapter_config.json", '"r": 16', '"r": 15')
    for line in ("doctor", f"doctor --run {NEWEST_RUN}"):
        people, program = project.invoke(*line.split()), project.invoke(*line.split(), "--json")
        assert (people.code, program.code, people.stderr) == (1, 1, ""), program.stderr
        assert "stop: " in people.stdout and program.document["ok"] is False
    missing = project.invoke("doctor", "--run", "none", "--json")
    assert (missing.code, missing.document["error"]) == (1, "there is no training run 'none'")
    assert missing.document["remedy"].startswith("newest in ") and missing.document["error"] in missing.stderr


def test_version_follows_the_guide_s_priority(project: Project) -> None:
    """`version --tag` prints the version that a tag carries, existing or not."""
    printed = {
        tag: project.invoke("version", "--tag", tag).stdout.strip()
        for tag in ("v2.0.0", "model-v1.5.0", "export-v1.0.0", "v1.2")
    }
    assert printed == {"v2.0.0": "2.0.0", "model-v1.5.0": "1.5.0", "export-v1.0.0": "1.0.0", "v1.2": "v1.2"}


def test_export_then_the_other_verbs_one_by_one(project: Project) -> None:
    """`export`, `verify`, `card`, `package` and `publish` work on the newest export without being told its time, also
    beside a folder with a manifest of something else."""
    exported = project.invoke("export", "--format", "lora", "--json")
    assert exported.code == 0, exported.stderr
    (entry,) = exported.document["formats"]
    folder = project.folder / entry["export_dir"]
    assert not (folder / "README.md").exists()
    (project.folder / "exports" / "junk").mkdir()
    (project.folder / "exports" / "junk" / "release.json").write_text("{}")
    for verb in ("verify", "card", "package", "publish"):
        done = project.invoke(verb, "--format", "lora", "--json")
        assert done.code == 0, done.stderr
        assert done.document["formats"][0]["export_dir"] == entry["export_dir"]
    assert (folder / "README.md").is_file()
    assert (project.folder / entry["artifact"]).is_file()
    assert done.document["formats"][0]["url"].endswith(f"acme/{NEWEST_RUN}-lora")


def test_exports_that_are_there(project: Project) -> None:
    """`package` and its like take what was exported, and say what was not; what was asked for has to be there."""
    none = project.invoke("package")
    assert none.code == 1 and f"there is no export of {NEWEST_RUN} in exports" in none.stderr
    project.git("tag", "v1.0.0", "--message", "Release v1.0.0")
    assert "there is no export of vllm of" in project.invoke("package", "--format", "vllm").stderr
    assert project.invoke("export", "--format", "lora").code == 0
    packed = project.invoke("package", "--json")
    assert packed.code == 0, packed.stderr
    assert [entry["format"] for entry in packed.document["formats"]] == ["lora"]
    assert "left out, as it was not exported: vllm, ollama q4_k_m" in packed.stderr
    lacking = project.invoke("card", "--format", "lora", "--format", "vllm")
    assert (lacking.code, "there is no export of vllm of" in lacking.stderr) == (1, True)


def test_publish_by_path_from_another_commit(project: Project) -> None:
    """An export is published by its folder wherever HEAD is now: as what its tag is on."""
    project.git("tag", "v1.0.0", "--message", "Release v1.0.0")
    tagged = project.git("rev-parse", "HEAD")
    (entry,) = project.invoke("export", "--format", "lora", "--json").document["formats"]
    (project.folder / "later.txt").write_text("later")
    project.git("add", "later.txt")
    project.git("commit", "--quiet", "--message", "feat: later")
    (project.folder / "later.txt").write_text("not even committed")
    done = project.invoke("publish", "--path", entry["export_dir"], "--json")
    assert done.code == 0, done.stderr
    assert (done.document["tag"], done.document["commit"]) == ("v1.0.0", tagged)
    assert done.document["formats"][0]["url"].startswith("http://127.0.0.1:8765/acme/")


def test_publish_by_path_under_another_name(project: Project) -> None:
    """`publish --path` publishes that folder; --repo-name and --private override the policy."""
    (entry,) = project.invoke("export", "--format", "lora", "--output", "elsewhere", "--json").document["formats"]
    assert entry["export_dir"].startswith("elsewhere/")
    options = ("--path", entry["export_dir"], "--repo-name", "my-adapter", "--private", "--json")
    done = project.invoke("publish", *options)
    assert done.code == 0, done.stderr
    assert done.document["formats"][0]["repo_id"] == "acme/my-adapter"
    assert done.document["private"] is True


def test_changed_export_is_not_published(project: Project) -> None:
    """An export that was changed by hand is refused by the name of the file, or by what its manifest says now; one
    without a manifest is not taken for one that is not there. The remedy is the same for all, and is one."""
    project.git("tag", "v1.0.0", "--message", "Release v1.0.0")
    (entry,) = project.invoke("export", "--format", "lora", "--json").document["formats"]
    folder = project.folder / entry["export_dir"]
    manifest = folder / "release.json"
    said = json.loads(manifest.read_text(encoding="utf-8"))

    def problem() -> str:
        done = project.invoke("publish", "--format", "lora")
        assert done.code == 1
        return done.stderr

    (folder / "adapter_config.json").write_text("{}")
    assert "adapter_config.json was changed" in problem()
    manifest.write_text(json.dumps(said | {"base_model": "acme/other"}), encoding="utf-8")
    message = "the base_model in its release.json is 'acme/other', and that of lora is 'acme/phi3avro'"
    assert message in problem()
    again = project.invoke("export", "--format", "lora")
    assert (again.code, message in again.stderr, "it was made anew" in again.stderr) == (0, True, True)
    assert json.loads(manifest.read_text(encoding="utf-8")) == said
    manifest.unlink()
    assert f"{folder.name} is no export of tagship: it has no release.json" in problem()
    assert project.invoke("export", "--format", "lora").code == 0
    assert json.loads(manifest.read_text(encoding="utf-8")) == said


def test_export_tag_does_not_publish(project: Project) -> None:
    """An `export-v` tag exports and packages, and publishes nothing (the guide's export stream)."""
    project.git("tag", "export-v1.0.0", "--message", "Export v1.0.0")
    done = project.invoke("release", "--format", "lora", "--json")
    assert done.code == 0, done.stderr
    (entry,) = done.document["formats"]
    assert entry["export_dir"].endswith("-lora-v1.0.0")
    assert "url" not in entry and "publish" in done.document["skipped"]
    assert (project.folder / entry["artifact"]).is_file()
    assert not list(Path(project.folder, ".tagship").rglob("*.git"))


def test_release_to_a_hub_that_asks_for_a_token(project: Project, tmp_path: Path) -> None:
    """With a token that may write, a Hub by its address gets the release, tag included."""
    project.git("tag", "v1.0.0", "--message", "Release v1.0.0")
    with EmbeddedHub(root=tmp_path, namespace="acme", tokens={"hf_writer": Role.WRITE}) as hub:
        options = ("--hub", hub.url, "--format", "lora", "--json")
        done = project.invoke("release", *options, HF_TOKEN="hf_writer")
        assert done.code == 0, done.stderr
        (entry,) = done.document["formats"]
        assert entry["url"] == f"{hub.url}/acme/phi3avro-minimal-lora-v1.0.0"
        use = f'peft.AutoPeftModelForCausalLM.from_pretrained("{entry["repo_id"]}")'
        assert f"Use\n  export HF_ENDPOINT={hub.url}\n  {use}" in done.stderr
        tags = HfApi(endpoint=hub.url, token="hf_writer").list_repo_refs(entry["repo_id"]).tags
        assert [(tag.name, tag.target_commit) for tag in tags] == [("v1.0.0", entry["commit"])]


def test_base_by_folder(project: Project) -> None:
    """--base overrides the base that the run recorded."""
    done = project.invoke("plan", "--json", "--base", "examples/avro/base")
    assert done.document["base_model"] == "acme/phi3avro"
    assert project.invoke("plan", "--json", "--base", "org/other").document["base_model"] == "org/other"


def test_base_from_the_hub_is_pinned(project: Project) -> None:
    """A base that is on the Hub is fetched at the commit it resolved to, which the manifest records."""
    assert project.invoke("release", "--format", "lora").code == 0  # puts the base on the embedded Hub
    project.replace("release.toml", 'path    = "examples/avro/base"\n', "")
    done = project.invoke("release", "--format", "lora", "--base", "acme/phi3avro", "--json")
    assert done.code == 0, done.stderr
    folder = project.folder / done.document["formats"][0]["export_dir"]
    manifest = json.loads((folder / "release.json").read_text())
    assert len(manifest["base_revision"]) == 40
    assert json.loads((folder / "adapter_config.json").read_text())["revision"] == manifest["base_revision"]
