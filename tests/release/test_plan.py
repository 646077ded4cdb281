"""The plan of a release: which tag, which run, and every name, before a byte is written."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tagship.naming.name_rules import HUB
from tagship.policy.config import EMBEDDED, load_config
from tagship.release.options import Options
from tagship.release.plan import Plan, make_plan
from tagship.release.repos import check_whole
from tagship.system.errors import ReleaseError, UsageError
from tagship.system.git import Repository

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


# Runs in folders of other names


RECORDED = {"dataset": "minimal", "epochs": 3, "trained": "2025-09-13T13:24:16Z"}
RECORDED_RUN = f"{SHORT}-r16-a32-e3-20250913-132416"


@pytest.fixture
def mine(project: GitFolder, write_run: WriteRun) -> Callable[..., Path]:
    """A function that puts a run in a folder that is not named by the policy, with what its trainer recorded."""

    def written(name: str = "mine", **recorded: Any) -> Path:
        run = write_run(project.folder / "adapters" / name, rank=16, alpha=32)
        (run / "experiment_metadata.json").write_text(json.dumps(recorded))
        return run

    return written


def test_run_that_is_named_by_what_it_recorded(project: GitFolder, plan: MakePlan, mine: Callable[..., Path]) -> None:
    """A run in a folder of another name is named as the policy says: the base by its model, the rest as recorded."""
    path = mine(**RECORDED)
    made = plan(run="mine")
    assert (made.run.name, made.run.path) == (RECORDED_RUN, path)
    assert made.run.fields["base"] == "phi3mini4k"
    assert made.document()["run"] == RECORDED_RUN
    project.tag("v2.0.0")
    assert named(plan(run="mine"))["vllm"] == (
        f"exports/{RECORDED_RUN}-vllm-v2.0.0",
        f"dist/vllm-{RECORDED_RUN}-v2.0.0.tar.gz",
        f"acme/{SHORT}-vllm-v2.0.0",
    )


def test_run_by_the_name_that_it_gets(plan: MakePlan, mine: Callable[..., Path]) -> None:
    """--run also takes the name that a run gets, though its folder has another; other broken runs are no hindrance."""
    mine("a-first")
    path = mine("mine", **RECORDED)
    assert plan(run=RECORDED_RUN).run.path == path
    with pytest.raises(ReleaseError, match="there is no training run 'typo'"):
        plan(run="typo")


def test_name_by_another_base(plan: MakePlan, mine: Callable[..., Path]) -> None:
    """A run is named by the base model that it is released with, unless its folder's name says another."""
    mine(**RECORDED)
    assert plan(run="mine", base="acme/Other-Model").run.name == RECORDED_RUN.replace("phi3mini4k", "othermodel")
    assert plan(run=RUN, base="acme/Other-Model").run.name == RUN


@pytest.mark.parametrize("missing", ["dataset", "epochs", "trained"])
def test_run_that_a_name_cannot_be_made_of(
    project: GitFolder, plan: MakePlan, mine: Callable[..., Path], missing: str
) -> None:
    """A run that nothing tells a field of is refused with its folder, the pattern and the field."""
    path = mine(**{key: value for key, value in RECORDED.items() if key != missing})
    with pytest.raises(ReleaseError) as caught:
        plan(run="mine")
    message = str(caught.value)
    assert message.startswith(f"{path}: its folder is not named as [naming] run says, and what it recorded gives ")
    assert message.endswith(f"{{{missing}}} is not known")
    assert "experiment_metadata.json" in str(caught.value.remedy)


def test_recorded_word_that_no_name_can_have(plan: MakePlan, mine: Callable[..., Path]) -> None:
    """What was recorded goes into a name only if it can be read back."""
    mine(**RECORDED | {"dataset": "avro-v2"})
    with pytest.raises(ReleaseError, match=r"\{dataset\} cannot be 'avro-v2'"):
        plan(run="mine")


def test_own_fields(project: GitFolder, plan: MakePlan, mine: Callable[..., Path]) -> None:
    """The policy's own fields come from what the run recorded, and from its name where that has them."""
    project.write(
        "release.toml",
        POLICY + '[naming]\nrun = "{base}-{size}-s{seed}"\nrepo = { tagged = "{base}-{size}-{label}-v{version}" }\n'
        '[naming.fields]\nsize = "word"\nseed = "number"\n',
    )
    mine("unnamed", size="3.8b", seed=7)
    mine("qwen-0.5b-s08", size="9b")
    project.tag("v1.0.0")
    made = plan(run="unnamed", formats=("vllm",))
    assert made.run.name == "phi3mini4k-3.8b-s7"
    assert made.targets[0].repo_id == "acme/phi3mini4k-3.8b-vllm-v1.0.0"
    assert plan(run="qwen-0.5b-s08", formats=("vllm",)).targets[0].repo_id == "acme/qwen-0.5b-vllm-v1.0.0"


def test_name_that_asks_more_than_the_run_has(project: GitFolder, plan: MakePlan, write_run: WriteRun) -> None:
    """A name with a field that nothing tells is refused with the format, the name and the field."""
    project.write("release.toml", POLICY + '[naming]\nrun = "{base}-r{rank}"\n')
    write_run(project.folder / "adapters" / "phi-r32")
    project.commit()
    project.tag("v2.0.0")
    with pytest.raises(ReleaseError, match=r"vllm: no name for the repo by '.*': \{dataset\} is not known") as caught:
        plan(run="phi-r32")
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


def test_missing_tag(project: GitFolder, plan: MakePlan) -> None:
    """A tag that does not exist cannot be planned."""
    with pytest.raises(ReleaseError, match="there is no tag 'v9'") as caught:
        plan(tag="v9")
    assert str(caught.value.remedy).startswith("git tag v9.0.0 -m")
    with pytest.raises(ReleaseError, match=r"there is no tag 'v9\.0\.0'"):
        plan(tag="v9.0.0")
    project.tag("v9.0.0")
    with pytest.raises(ReleaseError, match=r"there is no tag '9\.0\.0'") as caught:
        plan(tag="9.0.0")
    assert caught.value.remedy == "did you mean --tag v9.0.0?"


def test_license_that_the_hub_does_not_know(project: GitFolder, plan: MakePlan) -> None:
    """It is a mistake of the policy where that base is released; of others a policy of long ago may say anything."""
    policy = project.folder / "release.toml"
    text = policy.read_text() + '\n[bases."acme/unused"]\nlicense = "long-ago"\n'
    policy.write_text(text)
    base = plan().base.id
    policy.write_text(text + f'\n[bases."{base}"]\nlicense = "Apache 2"\n')
    with pytest.raises(UsageError, match=r"is 'Apache 2', which is none of the Hub's: did you mean 'apache-2\.0'"):
        plan()


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


def test_priority_of_tags(project: GitFolder, plan: MakePlan) -> None:
    """Of several version tags on one commit the first by priority decides, and the others are passed over."""
    for tag in ("export-v9.0.0", "model-v1.5.0", "v1.0.0", "v1.0.1", "nightly"):
        project.tag(tag)
    made = plan()
    assert (made.version, made.tag and made.tag.name) == ("1.0.1", "v1.0.1")
    assert [tag.name for tag in made.passed_over] == ["v1.0.0", "model-v1.5.0", "export-v9.0.0"]
    assert plan(tag="model-v1.5.0").passed_over == ()


# Versions of one format


@pytest.fixture
def streams(project: GitFolder) -> GitFolder:
    """The project, whose ollama exports have versions of their own."""
    own = '[formats.ollama]\nstream = "ollama-v{version}"\n'
    project.write("release.toml", POLICY.replace("[formats.ollama]\n", own))
    project.commit()
    return project


def of(made: Plan) -> list[str]:
    return [target.name for target in made.targets]


def test_tag_of_one_format(streams: GitFolder, plan: MakePlan) -> None:
    """A tag of a format's own stream releases that format alone, with that version."""
    streams.tag("ollama-v3.1.0")
    made = plan()
    assert (of(made), made.version, made.does) == (["ollama q4_k_m"], "3.1.0", ("export", "publish"))
    assert made.stream is not None
    assert (made.stream.format, made.document()["stream"]) == ("ollama", "ollama")
    assert named(made)["ollama q4_k_m"][2] == f"acme/{SHORT}-q4_k_m-gguf-v3.1.0"


def test_shared_tag(streams: GitFolder, plan: MakePlan) -> None:
    """A tag of all formats leaves out those with versions of their own; without a tag all are released."""
    assert of(plan()) == ["vllm", "ollama q4_k_m", "lora"]
    streams.tag("v2.0.0")
    assert of(plan()) == ["vllm", "lora"]


@pytest.mark.parametrize(
    ("tag", "form", "problem", "remedy"),
    [
        (
            "v2.0.0",
            "ollama",
            "does not release ollama: ollama has versions of its own",
            "tag ollama by ollama-v{version}",
        ),
        ("ollama-v3.0.0", "lora", "does not release lora: it is of ollama alone", "leave --format lora out"),
    ],
)
def test_format_that_the_tag_does_not_release(
    streams: GitFolder, plan: MakePlan, tag: str, form: str, problem: str, remedy: str
) -> None:
    """--format with a tag that is not of that format is a mistake in the options."""
    streams.tag(tag)
    with pytest.raises(UsageError) as caught:
        plan(tag=tag, formats=(form,))
    assert (str(caught.value), caught.value.remedy) == (f"the tag {tag} {problem}", remedy)


def test_tags_of_two_streams(streams: GitFolder, plan: MakePlan) -> None:
    """Of a shared tag and a format's own on one commit the shared one decides; --format takes that of the format."""
    streams.tag("ollama-v3.0.0")
    streams.tag("v2.0.0")
    made = plan()
    assert (made.version, of(made)) == ("2.0.0", ["vllm", "lora"])
    assert [tag.name for tag in made.passed_over] == ["ollama-v3.0.0"]
    made = plan(formats=("ollama",))
    assert (made.version, of(made)) == ("3.0.0", ["ollama q4_k_m"])
    assert [tag.name for tag in made.passed_over] == ["v2.0.0"]
    assert plan(formats=("lora",)).version == "2.0.0"


def test_tag_of_another_format(streams: GitFolder, plan: MakePlan) -> None:
    """Where no tag at HEAD is of the formats that were asked for, they are released without one, and it is told."""
    streams.tag("ollama-v3.0.0")
    made = plan(formats=("vllm",))
    assert (made.tag, made.version) == (None, None)
    assert [tag.name for tag in made.passed_over] == ["ollama-v3.0.0"]
    assert named(made)["vllm"][2] == f"acme/{RUN}-vllm-20250915-124051"


def test_shared_tag_where_each_format_has_its_own(project: GitFolder, plan: MakePlan) -> None:
    """A shared tag in a project without shared versions releases nothing, which is told."""
    project.write("release.toml", POLICY.split("[formats.vllm]")[0] + '[formats.vllm]\nstream = "vllm-v{version}"\n')
    project.commit()
    project.tag("v1.0.0")
    with pytest.raises(UsageError, match=r"the tag v1\.0\.0 releases nothing: each format has versions of its own"):
        plan(tag="v1.0.0")


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


def test_option_of_a_format_that_is_not_released(project: GitFolder, plan: MakePlan) -> None:
    """An option that belongs to a format is refused where the policy does not have it, and checked where it does."""
    with pytest.raises(UsageError, match=r"there is no importance matrix .*none\.dat"):
        plan(of_formats={"imatrix": "none.dat"})
    project.write("release.toml", POLICY.replace("[formats.ollama]\n", ""))
    with pytest.raises(UsageError, match=r"--imatrix is of the format ollama, which release\.toml does not release"):
        plan(of_formats={"imatrix": "none.dat"})


def test_unknown_format(plan: MakePlan) -> None:
    """A format that the policy has not is a mistake in the options, with a hint."""
    with pytest.raises(UsageError, match="unknown format 'gguf': did you mean 'ollama'"):
        plan(formats=("gguf",))
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
    with pytest.raises(UsageError, match="unknown quantization type 'q8_00' for vllm or ollama: did you mean 'q8_0'"):
        plan(quants=("q8_00",))
    with pytest.raises(UsageError, match=r"unknown quantization type 'small' for vllm or ollama$") as caught:
        plan(quants=("small",))
    assert "or define it as [formats.ollama.mixes.small] in release.toml" in str(caught.value.remedy)


def test_quant_without_a_format_for_it(plan: MakePlan) -> None:
    """--quant for formats that have none is a mistake in the options."""
    with pytest.raises(UsageError, match="none of the formats has quantization types"):
        plan(formats=("lora",), quants=("q8_0",))
    with pytest.raises(UsageError, match="unknown quantization type 'q8_0' for vllm") as caught:
        plan(formats=("vllm", "lora"), quants=("q8_0",))
    assert "fp8-dynamic" in str(caught.value.remedy)


def test_quant_of_one_format(plan: MakePlan) -> None:
    """--quant chooses among the variants of the format that has it; the others are released as the policy says."""
    chosen = [target.name for target in plan(quants=("fp8-dynamic", "W4A16")).targets]
    assert chosen == ["vllm fp8-dynamic", "vllm w4a16", "ollama q4_k_m", "lora"]
    assert [target.name for target in plan(quants=("q8_0",)).targets] == ["vllm", "ollama q8_0", "lora"]
    assert [target.name for target in plan(formats=("vllm",), quants=("bf16",)).targets] == ["vllm"]


def test_names_of_schemes(project: GitFolder, plan: MakePlan) -> None:
    """Each has its own export, archive and repo; 16 bits keep the names that they had."""
    project.write("release.toml", POLICY.replace("[formats.vllm]", '[formats.vllm]\nschemes = ["bf16", "fp8-block"]'))
    plain, block = plan(formats=("vllm",)).targets
    assert block.repo_id == plain.repo_id.replace("-vllm-", "-vllm_fp8-block-")
    assert block.artifact.name == plain.artifact.name.replace("vllm-", "vllm_fp8-block-", 1)
    assert block.export_dir.name == plain.export_dir.name.replace("-vllm-", "-vllm_fp8-block-")


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


@pytest.mark.parametrize("version", ["1.2.3+cu124", "1.2.3-rc.1", "1.2.3-rc.1+cu124.7"])
def test_version_in_all_names(project: GitFolder, plan: MakePlan, version: str) -> None:
    """A version is in all names as it is, but that a repo's name and a model's title have `_` for its `+`."""
    project.tag(f"v{version}")
    mapped = version.replace("+", "_")
    made = plan()
    assert made.version == version
    assert named(made)["ollama q4_k_m"] == (
        f"exports/{RUN}-ollama-v{version}",
        f"dist/ollama-q4_k_m-{RUN}-v{version}.tar.gz",
        f"acme/{SHORT}-q4_k_m-gguf-v{mapped}",
    )
    for target in made.targets:
        assert target.title == f"{RUN}-v{mapped}"
        repo = target.policy.names.repo.tagged.parse(target.repo_id.removeprefix("acme/"))
        assert repo is not None
        assert repo["version"] == version


def test_version_that_no_repo_can_tell(project: GitFolder, plan: MakePlan) -> None:
    """Another tag with a `+` is no SemVer version, so that its repo's name could not be read back."""
    project.tag("build+7")
    with pytest.raises(ReleaseError, match=r"no name for the repo by .*: \{version\} cannot be 'build\+7' where"):
        plan(tag="build+7")


def long_run(project: GitFolder, write_run: WriteRun, letters: int) -> str:
    """A run whose dataset's name has so many letters; its name."""
    run = RUN.replace("minimal", "x" * letters)
    write_run(project.folder / "adapters" / run)
    return run


def test_name_too_long_for_the_hub(project: GitFolder, plan: MakePlan, write_run: WriteRun) -> None:
    """A repo name of more than 96 characters is refused, with the nearest that the Hub takes."""
    run = long_run(project, write_run, 80)
    project.tag("v2.0.0")
    with pytest.raises(UsageError, match=r"^the Hub would refuse the repo name '.*': it has 103 characters") as caught:
        plan(run=run, formats=("vllm",))
    nearest = f"phi3mini4k-{'x' * 80}-vllm"
    assert str(caught.value.remedy).startswith(f"nearest valid name: '{nearest}'; change [naming] repo or --repo-name")
    assert HUB.problem(nearest) is None
    assert plan(run=run, formats=("vllm",), repo_name=nearest).targets[0].repo_id == f"acme/{nearest}"


def test_model_name_too_long_for_ollama(project: GitFolder, plan: MakePlan, write_run: WriteRun) -> None:
    """A model name of more than 80 characters is refused where Ollama is to run it, and nowhere else."""
    run = long_run(project, write_run, 41)
    project.tag("v2.0.0")
    assert plan(run=run, formats=("vllm", "lora")).targets[0].title == f"{run}-v2.0.0"
    with pytest.raises(
        UsageError, match=r"^Ollama would refuse the model name '.*': it has 87 characters; .* 80"
    ) as caught:
        plan(run=run)
    assert str(caught.value.remedy).startswith(f"nearest valid name: '{f'{run}-v2.0.0'[:80]}'; change [naming] run")


def test_repo_name_too_long_for_ollama(plan: MakePlan) -> None:
    """A repo that Ollama is to fetch from has no more than 80 characters in its name."""
    assert plan(formats=("vllm",), repo_name="x" * 81).targets[0].repo_id == "acme/" + "x" * 81
    assert plan(formats=("ollama",), repo_name="x" * 80).targets[0].repo_id == "acme/" + "x" * 80
    with pytest.raises(UsageError, match=r"^Ollama would refuse the repo name 'x{81}': it has 81 characters") as caught:
        plan(formats=("ollama",), repo_name="x" * 81)
    assert f"'{'x' * 80}'" in str(caught.value.remedy)


@pytest.mark.parametrize(("letters", "what", "suffix"), [(195, "export folder", ""), (190, "artifact", ".tar.gz")])
def test_name_too_long_for_the_file_system(
    project: GitFolder, plan: MakePlan, write_run: WriteRun, letters: int, what: str, suffix: str
) -> None:
    """A folder or archive whose name is longer than file systems allow is refused before anything is written."""
    kind = "export" if what == "export folder" else "artifact"
    other = 'untagged = "{prefix}-{run}-and-{exported:%Y%m%d-%H%M%S}"'
    project.write("release.toml", POLICY + f"[naming]\n{kind} = {{ {other} }}\n")
    run = long_run(project, write_run, letters)
    name = f"vllm-{run}-and-20250915-124051{suffix}"
    with pytest.raises(UsageError) as caught:
        plan(run=run, formats=("vllm",), repo_name="short")
    assert str(caught.value) == (
        f"the file system would refuse the {what} {name!r}: it has {len(name)} bytes; file systems allow 255"
    )
    assert str(caught.value.remedy) == f"nearest valid name: '{name[:255]}'; change [naming] {kind}"


def test_name_that_no_folder_can_have(project: GitFolder, plan: MakePlan) -> None:
    """A pattern may not put exports into folders of their own."""
    project.write("release.toml", POLICY + '[naming]\nexport = { untagged = "{kind}/{run}" }\n')
    with pytest.raises(UsageError, match=f"refuse the export folder 'vllm/{RUN}': it must not have '/'") as caught:
        plan()
    assert f"'vllm-{RUN}'" in str(caught.value.remedy)


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
                "run": RUN,
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


# Layouts


def with_layout(project: GitFolder, layout: str, ollama: str) -> None:
    policy = POLICY.replace("[formats.vllm]", f'[hub]\nlayout = "{layout}"\n[formats.vllm]')
    project.write("release.toml", policy.replace("[formats.ollama]\n", f"[formats.ollama]\n{ollama}\n"))


TWO = 'quants = ["q4_k_m", "q8_0"]'


def test_quants_together(project: GitFolder, plan: MakePlan) -> None:
    """Quantization types that are together have one repo, and an export folder and an archive each."""
    with_layout(project, "repo-per-release", f"{TWO}\ntogether = true")
    untagged = named(plan(formats=("ollama",)))
    assert {names[2] for names in untagged.values()} == {f"acme/{RUN}-gguf-20250915-124051"}
    project.tag("v2.0.0")
    assert named(plan(formats=("ollama",))) == {
        "ollama q4_k_m": (
            f"exports/{RUN}-ollama-v2.0.0",
            f"dist/ollama-q4_k_m-{RUN}-v2.0.0.tar.gz",
            f"acme/{SHORT}-gguf-v2.0.0",
        ),
        "ollama q8_0": (
            f"exports/{RUN}-ollama_q8_0-v2.0.0",
            f"dist/ollama-q8_0-{RUN}-v2.0.0.tar.gz",
            f"acme/{SHORT}-gguf-v2.0.0",
        ),
    }


def test_one_repo_for_a_model(project: GitFolder, plan: MakePlan) -> None:
    """With one repo for a model only the repos' names lose the version; what has none gets repos by time as ever."""
    with_layout(project, "repo-per-model", TWO)
    by_time = {name: names[2] for name, names in named(plan()).items()}
    assert by_time["vllm"] == f"acme/{RUN}-vllm-20250915-124051"
    project.tag("v2.0.0")
    found = named(plan())
    assert {name: names[2] for name, names in found.items()} == {
        "vllm": f"acme/{SHORT}-vllm",
        "ollama q4_k_m": f"acme/{SHORT}-gguf",
        "ollama q8_0": f"acme/{SHORT}-gguf",
        "lora": f"acme/{SHORT}-lora",
    }
    assert found["ollama q8_0"][0] == f"exports/{RUN}-ollama_q8_0-v2.0.0"


def test_accidents_are_no_layout(project: GitFolder, plan: MakePlan) -> None:
    """Exports that get one repo without being together are refused, of one format or of two."""
    with_layout(project, "repo-per-model", f'{TWO}\nrepo = {{ tagged = "{{base}}-{{dataset}}" }}\ntogether = false')
    project.tag("v2.0.0")
    with pytest.raises(UsageError, match=f"would have the same repo, acme/{SHORT}"):
        plan()
    with_layout(project, "repo-per-model", f'{TWO}\nrepo = {{ tagged = "{{base}}-{{dataset}}-vllm" }}')
    with pytest.raises(UsageError, match=f"would have the same repo, acme/{SHORT}-vllm"):
        plan()


def test_repo_name_of_several_exports(project: GitFolder, plan: MakePlan) -> None:
    """--repo-name names the repo of quantization types that are together; of others it names but one."""
    with_layout(project, "repo-per-release", f"{TWO}\ntogether = true")
    assert {names[2] for names in named(plan(formats=("ollama",), repo_name="mine")).values()} == {"acme/mine"}
    with pytest.raises(UsageError, match="--repo-name names one repo"):
        plan(repo_name="mine")


def test_part_of_a_shared_repo(project: GitFolder, plan: MakePlan) -> None:
    """A version of a repo that exports share is whole or is refused, before anything is exported; one export may go
    elsewhere, and what has no version has a repo of its own."""
    with_layout(project, "repo-per-release", f"{TWO}\ntogether = true")
    check_whole(plan(quants=("q8_0",), formats=("ollama",)))
    project.tag("v2.0.0")
    check_whole(plan())
    check_whole(plan(formats=("ollama",)))
    check_whole(plan(formats=("ollama",), quants=("q8_0", "q4_k_m")))
    check_whole(plan(formats=("ollama",), quants=("q8_0",), repo_name="mine"))
    for quants, told in ((("q8_0",), "without ollama q4_k_m"), (("q4_k_m", "q8_0", "q2_k"), "with ollama q2_k")):
        with pytest.raises(ReleaseError, match=f"would get 2.0.0 {told}") as caught:
            check_whole(plan(formats=("ollama",), quants=quants))
        assert "[formats.ollama] quants" in str(caught.value.remedy)
