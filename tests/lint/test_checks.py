"""Names held against facts: each field as it is, as a lie, and left out."""

from typing import Any

import pytest
from msgspec.structs import replace
from tagship.formats.ollama.name_rules import OLLAMA
from tagship.lint.checks import lint_names
from tagship.lint.finding import ERROR, OK, WARN, Finding
from tagship.lint.held import ADAPTER, GGUF, MERGED, Fact, Held
from tagship.lint.names import Named, named
from tagship.lint.quants import Quantized
from tagship.lint.sizes import Parameters
from tagship.naming.names import EXPORT, REPO
from tagship.naming.parsing import RUN
from tagship.policy.config import Config, load_config

from tests.conftest import PHI3, POLICY
from tests.conftest import RUN as GUIDE

PHI3_SIZE = Parameters(total=3_821_000_000, vocabulary=197_000_000)
# The run of the guide, as its files say it.
HELD = Held(
    where="adapters/run",
    holds=frozenset({ADAPTER}),
    base_ids=(PHI3,),
    architecture=Fact("phi3", "config.json"),
    classes=("Phi3ForCausalLM",),
    parameters=Fact(PHI3_SIZE, "2 safetensors headers"),
    rank=Fact(32, "adapter_config.json"),
    ranks=(32,),
    alpha=Fact(64.0, "adapter_config.json"),
    alphas=(64.0,),
    epochs=Fact(20.0, "experiment_metadata.json"),
    dataset=Fact("minimal", "experiment_metadata.json"),
    chat_template=True,
)


def merged(**more: Any) -> Held:
    return replace(HELD, holds=frozenset({MERGED}), version=Fact("2.0.0", "release.json"), **more)


def gguf(file: str = "phi3-3.8B-v2.0.0-Q4_K_M.gguf", file_type: str | None = "Q4_K_M", **more: Any) -> Held:
    shares = more.pop("shares", (("Q4_K", 0.8), ("Q6_K", 0.2)))
    found = Quantized(kind=more.pop("kind", "model"), file_type=file_type, shares=shares)
    return replace(merged(**more), holds=frozenset({GGUF}), ggufs={file: found})


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The policy of the guide, in which another base has a word of its own."""
    path = tmp_path_factory.mktemp("policy") / "release.toml"
    path.write_text(POLICY + '[naming.bases]\n"acme/other" = "phi3other"\n"acme/same" = "phi3other"\n')
    return load_config(path, {})


def run(config: Config, old: str = "", new: str = "") -> Named:
    """The guide's run, or one that says something else."""
    assert old in GUIDE
    return named(GUIDE.replace(old, new, 1), RUN, config)


def found(name: Named, held: Held, field: str | None = None, *, omissions: bool = False) -> list[Finding]:
    findings = lint_names([name], held)
    return [each for each in findings if each.omission == omissions and field in (None, each.field)]


def test_guide_s_run(policy: Config) -> None:
    """The guide's own run is as it says: nothing but agreement, and a size that it leaves out."""
    findings = lint_names([run(policy)], HELD)
    assert {(each.field, each.level) for each in findings if not each.omission} == {
        (field, OK) for field in ("base", "rank", "alpha", "epochs", "dataset")
    }
    assert [each.field for each in findings if each.omission] == ["size"]


# Lies of a run


@pytest.mark.parametrize(
    ("field", "old", "new", "held"),
    [
        ("rank", "-r32-", "-r16-", "32"),
        ("alpha", "-a64-", "-a128-", "64"),
        ("epochs", "-e20-", "-e3-", "20"),
        ("dataset", "minimal", "alpaca", "minimal"),
        ("base", "phi3mini4k", "llama38b", "phi3"),
        ("size", "phi3mini4k", "phi3_7b", "3.82B parameters"),
        ("base", "phi3mini4k", "phi3other", f"of {PHI3}"),
    ],
)
def test_lies_of_a_run(policy: Config, field: str, old: str, new: str, held: str) -> None:
    """Each field that is not so is an error, which says what is there, where, and how to name it."""
    (finding,) = found(run(policy, old, new), HELD, field)
    assert (finding.level, finding.held) == (ERROR, held)
    assert finding.where and finding.remedy
    if field != "size":
        assert finding.remedy == f"rename the folder to {GUIDE}"


def test_several_lies_of_a_run(policy: Config) -> None:
    """What is proposed for each mends all of them."""
    name = run(policy, "-r32-a64-e20-", "-r16-a128-e3-")
    remedies = {found(name, HELD, field)[0].remedy for field in ("rank", "alpha", "epochs")}
    assert remedies == {f"rename the folder to {GUIDE}"}


@pytest.mark.parametrize(
    ("field", "more", "part"),
    [
        ("rank", {"ranks": (16, 32)}, "16 and 32, by rank_pattern"),
        ("alpha", {"alphas": (64.0, 127.5)}, "64 and 127.5, by alpha_pattern"),
        ("epochs", {"stopped": Fact(7.2, "trainer_state.json")}, "it stopped at epoch 7.2"),
    ],
)
def test_half_truths_of_a_run(policy: Config, field: str, more: dict[str, Any], part: str) -> None:
    """What is so of a part alone is a warning."""
    (finding,) = found(run(policy), replace(HELD, **more), field)
    assert finding.level == WARN and finding.held and part in finding.held


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"epochs": Fact(19.98, "trainer_state.json")}, "epochs"),
        ({"dataset": Fact("acme/Mini-mal", "experiment_metadata.json")}, "dataset"),
        ({"dataset": Fact("minimal_v2", "experiment_metadata.json")}, "dataset"),
        ({"base_ids": ("acme/same",)}, "base"),
        ({"base_ids": ("acme/phi-thing",), "architecture": Fact("somethingnew", "config.json")}, "base"),
    ],
)
def test_close_enough(policy: Config, more: dict[str, Any], field: str) -> None:
    """Rounding, hyphens, capitals, the organisation before a name, and a word for two bases are no lies."""
    name = run(policy, "phi3mini4k", "phi3other") if "acme/same" in more.get("base_ids", ()) else run(policy)
    assert [each.level for each in found(name, replace(HELD, **more), field)] == [OK]


def test_what_nobody_recorded(policy: Config) -> None:
    """What no file says is not compared."""
    unknown = Held(where="adapters/run")
    assert found(run(policy), unknown) == []


@pytest.mark.parametrize("recorded", ["train.jsonl", "acme/other-words"])
def test_data_set_that_a_name_could_not_say(policy: Config, recorded: str) -> None:
    """A file, or a data set on the Hub, may have another word in a name: that is doubted, and no error."""
    held = replace(HELD, dataset=Fact(recorded, "experiment_metadata.json"))
    assert [each.level for each in found(run(policy), held, "dataset")] == [WARN]


def test_path_of_a_data_set(policy: Config) -> None:
    """A recorded path is not what a name could say, and is not shown."""
    held = replace(HELD, dataset=Fact("/home/ada/secret.jsonl", "experiment_metadata.json"))
    assert found(run(policy), held, "dataset") == []


def test_alpha_that_is_not_whole(policy: Config) -> None:
    """A name cannot say an alpha of 31.5: the remedy does not round it."""
    (finding,) = found(run(policy), replace(HELD, alpha=Fact(31.5, "adapter_config.json")), "alpha")
    assert finding.level == ERROR and finding.remedy and "31.5 is not whole" in finding.remedy


# Sizes and families in names that no pattern makes


@pytest.mark.parametrize(
    ("text", "field", "level"),
    [
        ("acme/phi-3-mini-3.8b-avro", "size", OK),
        ("acme/phi-3-mini-7b-avro", "size", ERROR),
        ("acme/phi7b-avro", "size", WARN),
        ("acme/Llama-3.1-avro", "base", ERROR),
        ("acme/Phi-llama-avro", "base", OK),
        ("acme/avro-mistral", "base", ERROR),
    ],
)
def test_words_of_other_names(policy: Config, text: str, field: str, level: str) -> None:
    """A name that no pattern makes is read by its words; a size that does not stand by itself is only doubted."""
    assert [each.level for each in found(named(text, REPO, policy), merged(), field)] == [level]


@pytest.mark.parametrize(
    ("text", "omitted"),
    [
        ("acme/mymodel", {"base", "size", "version"}),
        ("acme/phi3-3.8b-avro-v2.0.0", set()),
        ("acme/phi3mini4k-minimal-vllm-v2.0.0", {"size"}),
    ],
)
def test_omissions(policy: Config, text: str, omitted: set[str]) -> None:
    """What people miss in names is a warning, with why."""
    findings = found(named(text, REPO, policy), merged(), omissions=True)
    assert {each.field for each in findings} == omitted
    assert all(each.level == WARN and each.held and each.remedy for each in findings)


def test_family_of_the_part_that_reads(policy: Config) -> None:
    """A model that sees is of the family that its text model is of."""
    held = merged(architecture=Fact("llava", "config.json"), text_architecture="mistral", base_ids=())
    levels = {
        text: [each.level for each in found(named(text, REPO, policy), held, "base")]
        for text in ("acme/mistral-llava", "acme/qwen-llava")
    }
    assert levels == {"acme/mistral-llava": [OK], "acme/qwen-llava": [ERROR]}


# Releases


@pytest.mark.parametrize(
    ("text", "held", "field", "level"),
    [
        ("phi3mini4k-minimal-vllm-v2.0.0", merged(), "version", OK),
        ("phi3mini4k-minimal-vllm-v2.1.0", merged(), "version", ERROR),
        ("avro-phi3-v2.1.0", merged(), "version", ERROR),
        ("phi3mini4k-minimal-vllm-v2.0.0", merged(), "format", OK),
        ("phi3mini4k-minimal-lora-v2.0.0", merged(), "format", ERROR),
        ("phi3-avro-gguf", merged(), "format", ERROR),
        ("phi3-avro-mlx-4bit", merged(), "format", OK),
        ("phi3-avro-mlx-4bit", HELD, "format", ERROR),
        ("phi3-avro-merged", HELD, "format", ERROR),
        ("phi3-avro-lora-merged", merged(), "format", OK),
        ("phi3-avro-lora-gguf", merged(), "format", ERROR),
        ("phi3-avro-lora-Q4_K_M-GGUF", gguf(), "format", OK),
        ("phi3mini4k-minimal-q4_k_m-gguf-v2.0.0", gguf(), "format", OK),
        ("phi3mini4k-minimal-q8_0-gguf-v2.0.0", gguf(), "quantization", ERROR),
        ("phi3-avro-IQ4_XS-GGUF", gguf(), "quantization", ERROR),
        ("phi3mini4k-lora-vllm-v2.0.0", merged(), "format", OK),  # the data set is called lora
        ("phi3-avro-chat", merged(chat_template=False), "task", WARN),
        ("phi3-avro-embed", merged(), "task", WARN),
        ("phi3-avro-reward", merged(classes=("Phi3ForSequenceClassification",)), "task", None),
        ("phi3-avro-reward", replace(merged(), task=Fact("CAUSAL_LM", "adapter_config.json")), "task", WARN),
    ],
)
def test_repos(policy: Config, text: str, held: Held, field: str, level: str | None) -> None:
    """A repo's version, format, quantization type and task, by what it holds."""
    levels = {each.level for each in found(named(text, REPO, policy), held, field) if each.name == text}
    assert levels == ({level} if level else set())


def test_quantization_type_of_a_manifest(policy: Config) -> None:
    """Before there are files, the type is that of the plan."""
    held = replace(merged(), quant=Fact("Q8_0", "the plan"))
    (finding,) = found(named("phi3mini4k-minimal-q4_k_m-gguf-v2.0.0", REPO, policy), held, "quantization")
    assert (finding.level, finding.said, finding.held) == (ERROR, "Q4_K_M", "Q8_0")


def test_repo_of_several_types(policy: Config) -> None:
    """A repo that is named by one type and has another beside it is a warning."""
    held = gguf()
    held = replace(
        held, ggufs={**held.ggufs, "phi3-3.8B-v2.0.0-Q8_0.gguf": Quantized(kind="model", file_type="Q8_0", shares=())}
    )
    name = named("phi3mini4k-minimal-q4_k_m-gguf-v2.0.0", REPO, policy)
    assert {each.level for each in found(name, held, "quantization") if each.name == name.text} == {OK, WARN}


@pytest.mark.parametrize(("tags", "level"), [(("2.0.0", "1.0.0"), OK), (("1.0.0",), ERROR), ((), WARN)])
def test_tags_of_a_repo(policy: Config, tags: tuple[str, ...], level: str) -> None:
    """A repo with a version in its name has a tag of that version."""
    held = merged(repo_tags=Fact(tags, "the repo's tags"))
    findings = found(named("phi3mini4k-minimal-vllm-v2.0.0", REPO, policy), held, "version")
    assert findings[-1].level == level and findings[0].level == OK


def test_repo_of_all_versions(policy: Config) -> None:
    """Where a repo has every version its name lacks none, and the one that it is at has a tag."""
    every = replace(policy.naming, tags_versions=True)
    name = replace(named("phi3mini4k-minimal-vllm", REPO, policy), naming=every)
    assert found(name, merged(), "version") == []
    for tags, level in ((("1.0.0", "2.0.0"), OK), (("1.0.0",), WARN)):
        (finding,) = found(name, merged(repo_tags=Fact(tags, "the repo's tags")), "version")
        assert finding.level == level


def test_version_in_a_gguf(policy: Config) -> None:
    """A GGUF that says another version than its repo is an error where tagship made it, else doubtful."""
    name = named("phi3mini4k-minimal-q4_k_m-gguf-v2.0.0", REPO, policy)
    held = gguf(gguf_versions={"a.gguf": "1.0.0"})
    assert [each.level for each in found(name, held, "version")] == [OK, ERROR]
    assert [each.level for each in found(name, replace(held, version=None), "version")] == [WARN]


def test_rules_of_ollama(policy: Config) -> None:
    """A name that Ollama refuses is an error, with the nearest valid one."""
    name = named("phi3-" + "a" * 90, EXPORT, policy, [OLLAMA])
    (finding,) = found(name, gguf(), "rules")
    assert finding.level == ERROR and finding.held and "Ollama allows 80" in finding.held
    assert finding.remedy == "nearest valid name: phi3-" + "a" * 75


# GGUF files


@pytest.mark.parametrize(
    ("held", "level", "said"),
    [
        (gguf(), OK, "Q4_K_M"),
        (gguf(file="phi3-3.8B-v2.0.0-q4km.gguf"), ERROR, "q4km, which the Hub and Ollama do not read"),
        (gguf(file="phi3-3.8B-v2.0.0.gguf"), WARN, "no type that the Hub and Ollama read"),
        (gguf(file="phi3-3.8B-v2.0.0-Q8_0.gguf"), ERROR, "Q8_0"),
        (gguf(shares=(("F16", 1.0),)), ERROR, "Q4_K_M in its header (tensors of Q4_K or Q5_0)"),
        (gguf(file_type=None), None, None),
        (gguf(file="mmproj-F16.gguf", kind="mmproj"), None, None),
    ],
)
def test_gguf_files(policy: Config, held: Held, level: str | None, said: str | None) -> None:
    """A file's label is what the Hub shows: it is there, and is what header and tensors say."""
    name = named("acme/phi3-3.8b-avro-v2.0.0", REPO, policy)
    findings = [each for each in found(name, held, "quantization") if each.name in held.ggufs]
    assert (findings[-1].level, findings[-1].said) == (level, said) if level else findings == []
    assert all(each.remedy for each in findings if each.level != OK)


def test_adapter_among_models(policy: Config) -> None:
    """An adapter's GGUF beside models is shown as one of them."""
    held = gguf()
    adapter = Quantized(kind="adapter", file_type="F16", shares=())
    held = replace(held, ggufs={**held.ggufs, "phi3-F16-LoRA.gguf": adapter})
    findings = found(named("acme/phi3-3.8b-avro", REPO, policy), held)
    assert [each.said for each in findings if each.name == "phi3-F16-LoRA.gguf"] == ["F16"]


def test_naming_convention(policy: Config) -> None:
    """What a file's name lacks by ggml's convention is an omission."""
    name = named("acme/phi3-3.8b-avro-v2.0.0", REPO, policy)
    (finding,) = found(name, gguf(file="phi3-Q4_K_M.gguf"), omissions=True)
    assert finding.held == "it lacks a size label such as 3.8B and a version such as v1.0"


# Several names


def test_names_inside_of_names(policy: Config) -> None:
    """What a run's name gets wrong is said once, not again of each name that holds it."""
    name = run(policy, "-r32-", "-r16-")
    export = named(f"{name.text}-vllm-v2.0.0", EXPORT, policy)
    assert export.parsed
    assert [each.name for each in lint_names([name, export], HELD) if each.field == "rank"] == [name.text]


def test_sentences(policy: Config) -> None:
    """A finding reads as a sentence: what is said, what is there, and where."""
    sentences = {each.field: each.sentence for each in lint_names([run(policy, "-r32-", "-r16-")], HELD)}
    name = GUIDE.replace("-r32-", "-r16-")
    assert sentences["rank"] == f"{name}: rank: it says 16, but adapter_config.json: 32"
    assert sentences["alpha"] == f"{name}: alpha: 64, as adapter_config.json"
    assert sentences["base"] == f"{name}: base: phi3mini4k, as config.json: phi3"
    assert sentences["size"].startswith(f"{name}: size: it is left out; 57% of the Hub's users")
