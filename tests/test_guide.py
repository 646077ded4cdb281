"""The guide's own examples of names, tags and versions, each under the heading that it stands under."""

import subprocess
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from tagship.naming.clock import parse_moment
from tagship.naming.tags import read_tag, version_tags
from tagship.policy.config import Config, load_config
from tagship.release.options import Options
from tagship.release.plan import Plan, make_plan
from tagship.release.targets import Target
from tagship.system.git import Repository

from tests.conftest import COMMITTED, RUN, GitFolder, WriteRun

EXPORTED = "20250915-124051"
# The run of "Versioned Artifacts", trained a day after the one of the descriptive names.
LATER_RUN = "phi3mini4k-minimal-r32-a64-e20-20250915-132416"
SEMANTIC = ["v1.0.0", "v1.1.0", "v1.0.1", "v2.0.0", "v2.1.0"]
MODEL = ["model-v1.0.0", "model-v1.1.0", "model-v1.5.0", "model-v2.0.0", "model-v2.1.0"]
EXPORT = ["export-v1.0.0", "export-v1.1.0"]
GOOD_MESSAGE = """\
Release v2.0.0:
- Improved AVRO schema accuracy by 15%
- Added support for nested schemas
- Fixed quantization issues in GGUF export
- Updated model cards with performance metrics"""

Release = Callable[..., Plan]


@pytest.fixture
def config(project: GitFolder) -> Config:
    """The policy of the project, which says nothing of names but that an adapter's repo has no date."""
    return load_config(project.folder / "release.toml", {})


@pytest.fixture
def release(project: GitFolder) -> Release:
    """A function that plans what `invoke release --at 20250915-124051` with some options would make."""

    def planned(**options: Any) -> Plan:
        with Repository(project.folder) as repository:
            policy = load_config(project.folder / "release.toml", {})
            chosen = Options(at=parse_moment(EXPORTED), **options)
            return make_plan(policy, chosen, repository, datetime.now(UTC))

    return planned


def names(plan: Plan, kind: Callable[[Target], str]) -> dict[str, str]:
    """One name of every export, by format."""
    return {target.policy.name: kind(target) for target in plan.targets}


def artifact(target: Target) -> str:
    return target.artifact.name


def export_dir(target: Target) -> str:
    return target.export_dir.name


def repo(target: Target) -> str:
    return target.repo_id.removeprefix("acme/")


# Overview


def test_descriptive_naming(release: Release) -> None:
    """Overview: descriptive naming is what a release without a tag gets."""
    assert repo(release(formats=("vllm",)).targets[0]) == (
        "phi3mini4k-minimal-r32-a64-e20-20250914-132416-vllm-20250915-124051"
    )


# Supported Version Tag Formats


@pytest.mark.parametrize("tag", SEMANTIC)
def test_semantic_tags(config: Config, tag: str) -> None:
    """1. Semantic Versioning Tags (`v*.*.*`): standard semantic version format for model releases."""
    found = read_tag(tag, config.streams)
    assert found.stream is not None
    assert (found.stream.name, found.version, found.does) == ("semantic", tag[1:], ("export", "publish"))


@pytest.mark.parametrize("tag", MODEL)
def test_model_tags(config: Config, tag: str) -> None:
    """2. Model-Specific Tags (`model-v*`): model versions, distinct from code versions."""
    found = read_tag(tag, config.streams)
    assert found.stream is not None
    version = tag.removeprefix("model-v")
    assert (found.stream.name, found.version, found.does) == ("model", version, ("export", "publish"))


@pytest.mark.parametrize("tag", EXPORT)
def test_export_tags(config: Config, tag: str) -> None:
    """3. Export-Specific Tags (`export-v*`): for triggering exports with specific versions, and nothing else."""
    found = read_tag(tag, config.streams)
    assert found.stream is not None
    assert (found.stream.name, found.version, found.does) == ("export", tag.removeprefix("export-v"), ("export",))


# Workflow Integration


@pytest.mark.parametrize(
    ("tag", "vllm", "ollama"),
    [
        (
            None,
            "vllm-phi3mini4k-minimal-r32-a64-e20-20250915-132416.tar.gz",
            "ollama-q4_k_m-phi3mini4k-minimal-r32-a64-e20-20250915-132416.tar.gz",
        ),
        (
            "v2.0.0",
            "vllm-phi3mini4k-minimal-r32-a64-e20-20250915-132416-v2.0.0.tar.gz",
            "ollama-q4_k_m-phi3mini4k-minimal-r32-a64-e20-20250915-132416-v2.0.0.tar.gz",
        ),
    ],
)
def test_versioned_artifacts(
    project: GitFolder, release: Release, write_run: WriteRun, tag: str | None, vllm: str, ollama: str
) -> None:
    """Versioned Artifacts: when triggered by version tags, artifacts are named with versions."""
    write_run(project.folder / "adapters" / LATER_RUN)
    project.commit()
    if tag:
        project.tag(tag)
    made = names(release(formats=("vllm", "ollama")), artifact)
    assert made == {"vllm": vllm, "ollama": ollama}


# Recommended Naming Conventions (2024 Best Practices)


@pytest.mark.parametrize(
    ("form", "at", "name"),
    [
        ("vllm", "20250915-124051", "phi3mini4k-minimal-r32-a64-e20-20250914-132416-vllm-20250915-124051"),
        ("ollama", "20250915-125110", "phi3mini4k-minimal-r32-a64-e20-20250914-132416-q4_k_m-gguf-20250915-125110"),
        ("lora", "20250915-124051", "phi3mini4k-minimal-r32-a64-e20-20250914-132416-lora"),
    ],
)
def test_descriptive_model_names(project: GitFolder, config: Config, form: str, at: str, name: str) -> None:
    """Descriptive Model Names (Preferred): `<base>-<config>-<training-date>-<format>-<export-date>`."""
    with Repository(project.folder) as repository:
        plan = make_plan(config, Options(formats=(form,), at=parse_moment(at)), repository, datetime.now(UTC))
    assert repo(plan.targets[0]) == name


@pytest.mark.parametrize(
    ("form", "name", "label", "exported"),
    [
        ("vllm", f"{RUN}-vllm-20250915-124051", "vllm", "20250915-124051"),
        ("ollama", f"{RUN}-q4_k_m-gguf-20250915-125110", "q4_k_m-gguf", "20250915-125110"),
        ("lora", f"{RUN}-lora", None, None),
    ],
)
def test_information_embedded(config: Config, form: str, name: str, label: str | None, exported: str | None) -> None:
    """Information Embedded: base, dataset, LoRA config, training time, format and export time are read from a name."""
    (pattern,) = (policy.names.repo.untagged for policy in config.formats if policy.name == form)
    fields = pattern.parse(name)
    assert fields is not None
    assert fields == {
        "run": RUN,
        "base": "phi3mini4k",
        "dataset": "minimal",
        "rank": 32,
        "alpha": 64,
        "epochs": 20,
        "trained": datetime(2025, 9, 14, 13, 24, 16, tzinfo=UTC),
        **({"label": label} if label else {}),
        **({"exported": parse_moment(exported)} if exported else {}),
    }


@pytest.mark.parametrize("form", ["vllm", "ollama", "lora"])
def test_no_format_reads_the_name_of_another(config: Config, release: Release, form: str) -> None:
    """Descriptive Model Names (Preferred): a name tells its format: no other format's pattern reads it."""
    name = repo(release(formats=(form,)).targets[0])
    reading = [policy.name for policy in config.formats if policy.names.repo.untagged.parse(name)]
    assert reading == [form]


@pytest.mark.parametrize(
    ("form", "name"),
    [
        ("vllm", "phi3mini4k-minimal-vllm-v2.0.1"),
        ("ollama", "phi3mini4k-minimal-q4_k_m-gguf-v2.0.1"),
    ],
)
def test_legacy_semantic_versioning(project: GitFolder, release: Release, form: str, name: str) -> None:
    """Legacy Semantic Versioning (Still Supported): with version tags, names have the version and less of the run."""
    project.tag("v2.0.1")
    assert repo(release(formats=(form,)).targets[0]) == name


# Usage Examples


@pytest.mark.parametrize(
    ("tag", "message", "version"),
    [
        ("v2.0.0", "Release v2.0.0: Improved AVRO schema generation", "2.0.0"),
        ("model-v1.5.0", "Model v1.5.0: Enhanced training with new dataset", "1.5.0"),
        ("export-v1.0.0", "Export v1.0.0: Optimized quantization settings", "1.0.0"),
        ("v2.1.0", "v2.1.0: Improved accuracy and performance", "2.1.0"),
        ("v2.0.0", GOOD_MESSAGE, "2.0.0"),
    ],
)
def test_created_tags(project: GitFolder, release: Release, tag: str, message: str, version: str) -> None:
    """Usage Examples: a tag with a message, as `git tag -m` makes it, is released by its version and kept whole."""
    project.tag(tag, message)
    plan = release()
    assert plan.tag is not None
    assert (plan.tag.name, plan.version) == (tag, version)
    assert plan.tag.message is not None
    assert plan.tag.message.strip() == message
    assert all(name.endswith(f"-v{version}.tar.gz") for name in names(plan, artifact).values())


def test_manual_publishing_with_version_override(release: Release) -> None:
    """4. Manual Publishing with Version Override: one format is published under a name of one's own."""
    plan = release(formats=("vllm",), repo_name="phi3-avro-vllm-custom-v2.0.0")
    assert names(plan, repo) == {"vllm": "phi3-avro-vllm-custom-v2.0.0"}


# Workflow Behavior


def test_version_tag_triggered(project: GitFolder, release: Release) -> None:
    """Version Tag Triggered: artifacts, export directories and repos have the version, and nothing has a time."""
    project.tag("v2.0.0")
    plan = release()
    assert plan.does == ("export", "publish")
    assert names(plan, artifact) == {
        "vllm": f"vllm-{RUN}-v2.0.0.tar.gz",
        "ollama": f"ollama-q4_k_m-{RUN}-v2.0.0.tar.gz",
        "lora": f"lora-{RUN}-v2.0.0.tar.gz",
    }
    assert names(plan, export_dir) == {
        "vllm": f"{RUN}-vllm-v2.0.0",
        "ollama": f"{RUN}-ollama-v2.0.0",
        "lora": f"{RUN}-lora-v2.0.0",
    }
    assert names(plan, repo) == {
        "vllm": "phi3mini4k-minimal-vllm-v2.0.0",
        "ollama": "phi3mini4k-minimal-q4_k_m-gguf-v2.0.0",
        "lora": "phi3mini4k-minimal-lora-v2.0.0",
    }


def test_same_release_whenever_it_is_made(project: GitFolder, config: Config) -> None:
    """Version Tag Triggered: a tagged release is of the tagged commit's time, whenever it is made."""
    project.tag("v2.0.0")
    with Repository(project.folder) as repository:
        moments = {
            make_plan(config, Options(), repository, datetime(year, 1, 1, tzinfo=UTC)).moment for year in (2025, 2030)
        }
    assert moments == {datetime.fromisoformat(COMMITTED)}


def test_manual_dispatch(release: Release) -> None:
    """Manual Dispatch: without a version tag, names are timestamp-based."""
    plan = release()
    assert plan.does == ("export", "publish")
    assert names(plan, artifact) == {
        "vllm": f"vllm-{RUN}.tar.gz",
        "ollama": f"ollama-q4_k_m-{RUN}.tar.gz",
        "lora": f"lora-{RUN}.tar.gz",
    }
    assert names(plan, export_dir) == {
        "vllm": f"{RUN}-vllm-{EXPORTED}",
        "ollama": f"{RUN}-ollama-{EXPORTED}",
        "lora": f"{RUN}-lora-{EXPORTED}",
    }
    assert names(plan, repo) == {
        "vllm": f"{RUN}-vllm-{EXPORTED}",
        "ollama": f"{RUN}-q4_k_m-gguf-{EXPORTED}",
        "lora": f"{RUN}-lora",
    }


# Version Extraction Logic


@pytest.mark.parametrize(
    ("tag", "version"),
    [("v2.0.0", "2.0.0"), ("model-v1.5.0", "1.5.0"), ("export-v1.0.0", "1.0.0")],
)
def test_version_extraction(config: Config, tag: str, version: str) -> None:
    """Version Extraction Logic: what stands after `v`, `model-v` and `export-v` is the version."""
    assert read_tag(tag, config.streams).version == version


@pytest.mark.parametrize("tag", ["nightly", "release-2.0.0", "v2", "2025-09-15", "model-2.0.0"])
def test_other_tags(project: GitFolder, release: Release, tag: str) -> None:
    """Version Extraction Logic: other tags use the full tag name as version, and trigger nothing."""
    project.tag(tag)
    assert release().version is None
    plan = release(tag=tag)
    assert (plan.version, plan.does) == (tag, ())
    assert names(plan, artifact)["vllm"] == f"vllm-{RUN}-v{tag}.tar.gz"


@pytest.mark.parametrize(
    ("tags", "version"),
    [
        (["export-v3.0.0", "model-v2.0.0", "v1.0.0", "other"], "1.0.0"),
        (["export-v3.0.0", "model-v2.0.0", "other"], "2.0.0"),
        (["export-v3.0.0", "other"], "3.0.0"),
    ],
)
def test_priority(project: GitFolder, release: Release, tags: Sequence[str], version: str) -> None:
    """Version Extraction Logic: `v*.*.*` goes before `model-v*`, that before `export-v*`, and that before others."""
    for tag in tags:
        project.tag(tag)
    assert release().version == version


# Monitoring Versioned Releases


def test_list_version_tags(project: GitFolder, config: Config) -> None:
    """List Version Tags: version tags of a stream are in the order in which git sorts them by version."""
    for tag in (*SEMANTIC, "v1.10.0", "v1.9.0", *MODEL, "nightly"):
        project.tag(tag)
    for pattern, stream in (("v*", config.streams[0]), ("model-v*", config.streams[1])):
        listed = project.git("tag", "-l", pattern, "--sort=-version:refname").splitlines()
        assert [tag.name for tag in version_tags(sorted(listed), [stream])] == listed


# Troubleshooting


@pytest.mark.parametrize(
    "tag", [*SEMANTIC, "v10.20.30", "model-v1.0.0", "v2.0", "v2.0.0.0", "vx.y.z", "V1.0.0", "nightly"]
)
def test_tag_not_triggering(config: Config, tag: str) -> None:
    """1. Tag not triggering workflow: the tags that the guide's `grep` shows are those of the semantic stream."""
    grep = ["grep", "-E", r"^v[0-9]+\.[0-9]+\.[0-9]+$"]
    shown = subprocess.run(grep, input=tag, text=True, capture_output=True).stdout.strip() == tag
    stream = read_tag(tag, config.streams).stream
    assert (stream is not None and stream.name == "semantic") == shown


@pytest.mark.parametrize("tag", [*SEMANTIC, "v2.0.0-rc.1", "v1.2.3+cu124"])
def test_debug_version_extraction(config: Config, tag: str) -> None:
    """Debug Version Extraction: the guide's own script extracts the version that a tag carries here."""
    script = f"""
    TAG_NAME="{tag}"
    if [[ $TAG_NAME == v*.*.* ]]; then
      VERSION=${{TAG_NAME#v}}
      echo "Extracted version: $VERSION"
    fi
    """
    done = subprocess.run(["bash", "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout == f"Extracted version: {read_tag(tag, config.streams).version}\n"


# Migration from Date-Based Naming


@pytest.mark.parametrize(
    ("kind", "current", "after"),
    [
        ("artifact", "vllm-adapter-20250915", "vllm-adapter-v2.0.0"),
        ("repo", "phi3-avro-vllm-20250915", "phi3-avro-vllm-v2.0.0"),
    ],
)
def test_date_based_names(config: Config, kind: str, current: str, after: str) -> None:
    """Migration from Date-Based Naming: a date-based name is read, and becomes its versioned name and back."""
    (pair,) = config.formats[0].names.older[kind]
    fields = pair.untagged.parse(current)
    assert fields is not None
    assert fields["exported"] == datetime(2025, 9, 15, tzinfo=UTC)
    assert pair.tagged.format({**fields, "version": "2.0.0"}) == after
    versioned = pair.tagged.parse(after)
    assert versioned == {**{name: value for name, value in fields.items() if name != "exported"}, "version": "2.0.0"}
    assert pair.untagged.format({**fields, **versioned}) == current


def test_start_with_exports(project: GitFolder, release: Release) -> None:
    """Gradual Migration: exports can be tagged first, to test: nothing is published by an export tag."""
    project.tag("export-v1.0.0")
    plan = release()
    assert not plan.publishes
    assert names(plan, export_dir)["vllm"] == f"{RUN}-vllm-v1.0.0"


# Future Enhancements


def test_multi_format_versioning(project: GitFolder, release: Release) -> None:
    """5. Multi-format versioning: different versions per format (vLLM vs Ollama)."""
    policy = (project.folder / "release.toml").read_text()
    for form in ("vllm", "ollama"):
        policy = policy.replace(f"[formats.{form}]\n", f'[formats.{form}]\nstream = "{form}-v{{version}}"\n')
    project.write("release.toml", policy)
    project.commit()
    project.tag("vllm-v2.0.0")
    project.tag("ollama-v3.1.0")
    assert names(release(formats=("vllm",)), repo) == {"vllm": "phi3mini4k-minimal-vllm-v2.0.0"}
    assert names(release(formats=("ollama",)), repo) == {"ollama": "phi3mini4k-minimal-q4_k_m-gguf-v3.1.0"}


# Example: Complete Versioning Workflow


def test_complete_workflow(project: GitFolder, release: Release, write_run: WriteRun) -> None:
    """Example: Complete Versioning Workflow: the tag v2.1.0 publishes phi3-avro-vllm-v2.1.0."""
    write_run(project.folder / "adapters" / "phi3-avro-r32-a64-e20-20250916-132416")
    project.commit("Improve AVRO schema generation accuracy")
    project.tag("v2.1.0", "v2.1.0: Improved accuracy and performance")
    plan = release(formats=("vllm",))
    assert plan.targets[0].repo_id == "acme/phi3-avro-vllm-v2.1.0"
    assert plan.tag is not None
    assert plan.tag.commit == plan.commit
