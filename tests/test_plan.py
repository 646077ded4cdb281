"""The plan of a release: which tag, which run, and every name, before a byte is written."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import EMBEDDED, load_config
from pipeline.errors import ReleaseError, UsageError
from pipeline.git import Repository
from pipeline.plan import Options, Plan, make_plan
from tests.conftest import PHI3, POLICY, RUN, GitFolder, WriteRun

NOW = datetime(2025, 9, 15, 12, 40, 51, 999, tzinfo=UTC)
SHORT = "phi3mini4k-minimal"

MakePlan = Callable[..., Plan]


@pytest.fixture
def plan(project: GitFolder) -> MakePlan:
    """A function that plans a release of the project with some options."""

    def planned(folder: Path = project.folder, **options: Any) -> Plan:
        config = load_config(folder / "release.toml", {})
        with Repository(config.root) as repository:
            return make_plan(config, Options(**options), repository, NOW)

    return planned


def named(made: Plan) -> dict[str, tuple[str, str, str]]:
    """Export folder, artifact and repo by format, as `plan --json` shows them."""
    return {
        " ".join(filter(None, (entry["format"], entry["quant"]))): (
            entry["export_dir"],
            entry["artifact"],
            entry["repo_id"],
        )
        for entry in made.document()["formats"]
    }


# The table of names


def test_names_without_a_tag(plan: MakePlan) -> None:
    """Without a version tag, exports and repos are named by the time, as the guide's manual dispatch names them."""
    assert named(plan()) == {
        "vllm": (
            f"exports/{RUN}-vllm-20250915-124051",
            f"dist/vllm-{RUN}.tar.gz",
            f"acme/{RUN}-vllm-20250915-124051",
        ),
        "ollama q4_k_m": (
            f"exports/{RUN}-ollama-20250915-124051",
            f"dist/ollama-q4_k_m-{RUN}.tar.gz",
            f"acme/{RUN}-q4_k_m-gguf-20250915-124051",
        ),
        "lora": (
            f"exports/{RUN}-lora-20250915-124051",
            f"dist/lora-{RUN}.tar.gz",
            f"acme/{RUN}-lora",
        ),
    }


def test_names_with_a_tag(project: GitFolder, plan: MakePlan) -> None:
    """With the tag v2.0.0 at HEAD, everything is named by the version."""
    project.tag("v2.0.0", "Improved AVRO schema generation")
    assert named(plan()) == {
        "vllm": (
            f"exports/{RUN}-vllm-v2.0.0",
            f"dist/vllm-{RUN}-v2.0.0.tar.gz",
            f"acme/{SHORT}-vllm-v2.0.0",
        ),
        "ollama q4_k_m": (
            f"exports/{RUN}-ollama-v2.0.0",
            f"dist/ollama-q4_k_m-{RUN}-v2.0.0.tar.gz",
            f"acme/{SHORT}-q4_k_m-gguf-v2.0.0",
        ),
        "lora": (
            f"exports/{RUN}-lora-v2.0.0",
            f"dist/lora-{RUN}-v2.0.0.tar.gz",
            f"acme/{SHORT}-lora-v2.0.0",
        ),
    }


def test_titles(project: GitFolder, plan: MakePlan) -> None:
    """A model is titled by its run, and by the version where there is one."""
    assert {target.title for target in plan().targets} == {RUN}
    project.tag("v2.0.0")
    assert {target.title for target in plan().targets} == {f"{RUN}-v2.0.0"}


def test_short_name_where_the_run_has_none(project: GitFolder, plan: MakePlan, write_run: WriteRun) -> None:
    """A run of another name takes {base} from its base model and the rest from what was recorded."""
    run = write_run(project.folder / "adapters" / "mine")
    (run / "experiment_metadata.json").write_text('{"dataset": "minimal"}')
    project.commit()
    project.tag("v2.0.0")
    assert named(plan(run="mine"))["vllm"] == (
        "exports/mine-vllm-v2.0.0",
        "dist/vllm-mine-v2.0.0.tar.gz",
        f"acme/{SHORT}-vllm-v2.0.0",
    )


def test_run_that_a_name_cannot_be_made_of(project: GitFolder, plan: MakePlan, write_run: WriteRun) -> None:
    """A run that nothing tells the dataset of is refused with the name, the pattern and the field."""
    write_run(project.folder / "adapters" / "mine")
    project.commit()
    project.tag("v2.0.0")
    with pytest.raises(ReleaseError, match=r"vllm: no name for the repo by '.*': \{dataset\} is not known") as caught:
        plan(run="mine")
    assert "experiment_metadata.json" in str(caught.value.remedy)


# Tags


def test_no_tag(project: GitFolder, plan: MakePlan) -> None:
    """Without a tag, a release does everything, for the commit that is checked out."""
    made = plan()
    assert (made.tag, made.version_tag, made.version) == (None, None, None)
    assert made.does == ("export", "publish")
    assert made.publishes
    assert made.commit.sha == project.git("rev-parse", "HEAD")
    assert made.moment == NOW.replace(microsecond=0)


def test_tag_at_head_is_found(project: GitFolder, plan: MakePlan) -> None:
    """The deciding version tag at HEAD is taken without being named, and its commit's time is the release's."""
    project.tag("export-v9.0.0", "x")
    project.tag("model-v1.5.0", "Model v1.5.0: Enhanced training")
    project.tag("nightly")
    made = plan()
    assert (made.version, made.tag and made.tag.name) == ("1.5.0", "model-v1.5.0")
    assert made.moment == datetime(2025, 9, 15, 12, 40, 51, tzinfo=UTC)


def test_named_tag(project: GitFolder, plan: MakePlan) -> None:
    """--tag takes another tag than the deciding one."""
    project.tag("v1.0.0")
    project.tag("export-v9.0.0")
    assert plan().version == "1.0.0"
    assert plan(tag="export-v9.0.0").version == "9.0.0"


def test_tag_elsewhere(project: GitFolder, plan: MakePlan) -> None:
    """A named tag on an earlier commit is planned with both commits, for the gate to tell apart."""
    project.tag("v1.0.0")
    tagged = project.git("rev-parse", "HEAD")
    head = project.commit("Later")
    assert plan().tag is None
    made = plan(tag="v1.0.0")
    assert made.tag is not None
    assert (made.tag.commit.sha, made.commit.sha) == (tagged, head)


def test_missing_tag(plan: MakePlan) -> None:
    """A tag that does not exist cannot be planned."""
    with pytest.raises(ReleaseError, match=r"there is no tag 'v9\.0\.0'"):
        plan(tag="v9.0.0")


def test_export_tag_does_not_publish(project: GitFolder, plan: MakePlan) -> None:
    """A tag of the export stream exports and publishes nothing."""
    project.tag("export-v1.0.0")
    made = plan()
    assert made.does == ("export",)
    assert not made.publishes


def test_other_tag_triggers_nothing(project: GitFolder, plan: MakePlan) -> None:
    """Another tag is not found by itself; named, it is a version by its full name and does nothing."""
    project.tag("nightly")
    assert plan().version_tag is None
    made = plan(tag="nightly")
    assert (made.version, made.does) == ("nightly", ())
    assert made.document()["stream"] is None
    assert named(made)["vllm"][0] == f"exports/{RUN}-vllm-vnightly"


def test_tag_that_no_name_can_have(project: GitFolder, plan: MakePlan) -> None:
    """A tag with a slash in it makes no name of a folder; the error names the tag's version."""
    project.tag("release/1")
    with pytest.raises(ReleaseError, match=r"\{version\} cannot be 'release/1'"):
        plan(tag="release/1")


def test_prerelease(project: GitFolder, plan: MakePlan) -> None:
    """A prerelease is a version like others."""
    project.tag("v2.0.0-rc.1")
    assert named(plan())["lora"][2] == f"acme/{SHORT}-lora-v2.0.0-rc.1"


# Options


def test_at(project: GitFolder, plan: MakePlan) -> None:
    """--at is the clock of names, and goes before the tag's own time."""
    at = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert named(plan(at=at))["vllm"][0] == f"exports/{RUN}-vllm-20240102-030405"
    project.tag("v1.0.0")
    assert plan(at=at).moment == at


def test_newest_run(project: GitFolder, plan: MakePlan, write_run: WriteRun) -> None:
    """The newest run is released, and --run takes another."""
    newer = RUN.replace("20250914", "20250915")
    write_run(project.folder / "adapters" / newer)
    assert plan().run.name == newer
    assert plan(run=RUN).run.name == RUN


def test_formats(plan: MakePlan) -> None:
    """--format takes some of the policy's formats, in the order given and each once."""
    made = plan(formats=("lora", "vllm", "lora"))
    assert [target.name for target in made.targets] == ["lora", "vllm"]


def test_unknown_format(plan: MakePlan) -> None:
    """A format that the policy has not is a mistake in the options, with a hint."""
    with pytest.raises(UsageError, match="unknown format 'olama': did you mean 'ollama'"):
        plan(formats=("olama",))


def test_quants(plan: MakePlan) -> None:
    """Several quantization types are several exports, no two with a name in common."""
    made = plan(quants=("q8_0", "Q4_K_M", "q4_k_m"))
    assert [target.name for target in made.targets] == ["vllm", "ollama q8_0", "ollama q4_k_m", "lora"]
    for names in zip(*named(made).values(), strict=True):
        assert len(set(names)) == 4
    assert named(made)["ollama q8_0"] == (
        f"exports/{RUN}-ollama_q8_0-20250915-124051",
        f"dist/ollama-q8_0-{RUN}.tar.gz",
        f"acme/{RUN}-q8_0-gguf-20250915-124051",
    )
    assert named(made)["ollama q4_k_m"][0] == f"exports/{RUN}-ollama-20250915-124051"


def test_unknown_quant(plan: MakePlan) -> None:
    """A quantization type that a format has not is a mistake in the options, with a hint."""
    with pytest.raises(UsageError, match="unknown quantization type 'q8_00' for ollama: did you mean 'q8_0'"):
        plan(quants=("q8_00",))


def test_quant_without_a_format_for_it(plan: MakePlan) -> None:
    """--quant for formats that have none is a mistake in the options."""
    with pytest.raises(UsageError, match="none of the formats has quantization types"):
        plan(formats=("vllm", "lora"), quants=("q8_0",))


def test_repo_name(plan: MakePlan) -> None:
    """--repo-name replaces the repo's name, or with a slash the whole id."""
    assert plan(formats=("vllm",), repo_name="custom").targets[0].repo_id == "acme/custom"
    assert plan(formats=("vllm",), repo_name="other/custom").targets[0].repo_id == "other/custom"


@pytest.mark.parametrize("options", [{}, {"formats": ("ollama",), "quants": ("q8_0", "q4_k_m")}])
def test_repo_name_for_several_exports(plan: MakePlan, options: dict[str, Any]) -> None:
    """--repo-name with several exports is a mistake in the options."""
    with pytest.raises(UsageError, match="--repo-name names one repo, and there are several exports"):
        plan(repo_name="custom", **options)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("a--b", r"'a--b': it must not have '--'.*"),
        ("a b", "'a b'"),
        ("a/b/c", "'b/c'"),
        ("a/", "''"),
        ("/b", "''"),
        ("-x/b", "'-x'"),
        ("x" * 97, "has 97 characters"),
    ],
)
def test_repo_name_that_the_hub_refuses(plan: MakePlan, name: str, problem: str) -> None:
    """A repo id that the Hub would refuse is refused before anything is made, with the nearest valid name."""
    with pytest.raises(ReleaseError, match=problem) as caught:
        plan(formats=("vllm",), repo_name=name)
    assert "nearest valid name: " in str(caught.value.remedy)


def test_version_that_the_hub_refuses(project: GitFolder, plan: MakePlan) -> None:
    """A version with build metadata makes a repo name that the Hub refuses, and the error names a valid one."""
    project.tag("v2.0.0+build.7")
    with pytest.raises(ReleaseError, match="the Hub would refuse the repo name") as caught:
        plan()
    assert f"'{SHORT}-vllm-v2.0.0-build.7'" in str(caught.value.remedy)


def test_output(plan: MakePlan, tmp_path: Path) -> None:
    """--output is the folder of the exports; a path outside of the project is shown whole."""
    made = plan(formats=("vllm",), output=tmp_path / "out")
    assert named(made)["vllm"][0] == (tmp_path / "out" / f"{RUN}-vllm-20250915-124051").as_posix()


def test_hub(plan: MakePlan) -> None:
    """--hub goes before the policy's endpoint."""
    assert (plan().endpoint, plan().embedded) == (EMBEDDED, True)
    made = plan(hub="https://huggingface.co/")
    assert (made.endpoint, made.embedded) == ("https://huggingface.co", False)
    with pytest.raises(UsageError, match=r"--hub must be 'embedded' or a URL .*, not 'huggingface\.co'"):
        plan(hub="huggingface.co")


def test_private(project: GitFolder, plan: MakePlan) -> None:
    """A repo is private by the option or by the policy."""
    assert not plan().private
    assert plan(private=True).private
    project.write("release.toml", POLICY + "[hub]\nprivate = true\n")
    assert plan().private


def test_base(project: GitFolder, plan: MakePlan) -> None:
    """--base goes before the run's own base model, whose revision is then not meant."""
    adapter = project.folder / "adapters" / RUN / "adapter_config.json"
    adapter.write_text(adapter.read_text().replace('"r"', '"revision": "abc", "r"'))
    assert (plan().base.id, plan().base.revision) == (PHI3, "abc")
    made = plan(base="acme/other")
    assert (made.base.id, made.base.revision) == ("acme/other", None)


# The policy


@pytest.mark.parametrize(
    ("naming", "meaning"),
    [
        ('export = { untagged = "{run}" }', "export folder"),
        ('artifact = { untagged = "{run}" }', "artifact"),
        ('repo = { untagged = "{base}-{dataset}" }', "repo"),
    ],
)
def test_two_exports_with_one_name(project: GitFolder, plan: MakePlan, naming: str, meaning: str) -> None:
    """A policy that gives two exports one name is refused with what the names share and how to tell them apart."""
    project.write("release.toml", POLICY + f"[naming]\n{naming}\n")
    with pytest.raises(ReleaseError, match=f"two exports would have the same {meaning}, ") as caught:
        plan()
    assert "{label}" in str(caught.value.remedy)


def test_project_in_a_subfolder(project: GitFolder, plan: MakePlan, write_run: WriteRun) -> None:
    """A project below the repository's root is planned from its own folder, by the repository's tags."""
    project.write("models/release.toml", POLICY)
    write_run(project.folder / "models" / "adapters" / RUN)
    project.commit()
    project.tag("v1.0.0")
    made = plan(project.folder / "models")
    assert made.targets[0].export_dir == project.folder / "models" / "exports" / f"{RUN}-vllm-v1.0.0"
    assert named(made)["vllm"][0] == f"exports/{RUN}-vllm-v1.0.0"


def test_document(project: GitFolder, plan: MakePlan) -> None:
    """`plan --json` tells the tag, the version, the run, the base model and all names."""
    project.tag("v2.0.0")
    document = plan(formats=("ollama",)).document()
    assert document == {
        "tag": "v2.0.0",
        "version": "2.0.0",
        "stream": "semantic",
        "commit": project.git("rev-parse", "HEAD"),
        "run": RUN,
        "base_model": PHI3,
        "at": "20250915-124051",
        "hub": "embedded",
        "private": False,
        "does": ["export", "publish"],
        "formats": [
            {
                "format": "ollama",
                "quant": "q4_k_m",
                "export_dir": f"exports/{RUN}-ollama-v2.0.0",
                "artifact": f"dist/ollama-q4_k_m-{RUN}-v2.0.0.tar.gz",
                "repo_id": f"acme/{SHORT}-q4_k_m-gguf-v2.0.0",
            }
        ],
    }


def test_plan_writes_nothing(project: GitFolder, plan: MakePlan) -> None:
    """Planning leaves the work tree as it was."""
    before = sorted(path for path in project.folder.rglob("*") if ".git" not in path.parts)
    plan()
    assert sorted(path for path in project.folder.rglob("*") if ".git" not in path.parts) == before
