"""Model cards: front matter that the Hub reads, and tables that no name and no recorded value can break.

The golden files are tests/golden/card-*.md; REWRITE_GOLDEN=1 pytest tests/test_card.py rewrites them.
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt
from markdown_it.token import Token
from msgspec import Struct
from msgspec.structs import replace
from tagship.artifacts.card import CardPart, CardSeals, CardSources, flatten, render_card
from tagship.artifacts.card_metadata import front_matter
from tagship.artifacts.manifest import FileEntry, Manifest, Part, with_evidence
from tagship.formats.protocol import ExportJob, ExportPolicy, Lineage, Relative
from tagship.policy.config import CardPolicy, Config, FormatPolicy, load_config
from tagship.runs.base_folder import BaseFolder
from tagship.runs.run import METADATA_FILE, Run, read_run
from tagship.system.errors import ReleaseError
from tagship.system.shown import visible
from tagship.system.templating import Templates
from tagship.verify.evidence import FAILED, PASSED, UNTESTED, Evidence, Example, Measured
from tagship.verify.questions import Limits
from tagship.weights.adapter_config import CONFIG_FILE, WEIGHTS_FILE

from tests import tiny

RUN = "phi3mini4k-minimal-r32-a64-e20-20250914-132416"
BASE_ID = "microsoft/Phi-3-mini-4k-instruct"
POLICY = """
[project]
namespace = "acme"
[formats.vllm]
[formats.ollama]
[formats.lora]
[card]
language = ["en"]
tags = ["avro"]
"""
RECORDED = {
    "dataset": {"name": "minimal", "rows": 1200},
    "epochs": 20,
    "learning_rate": 0.0002,
    "trained": "2025-09-14T13:24:16+00:00",
    "notes": ["first", "second"],
    "unknown": None,
}
NASTY = [
    "a: b",
    "say \"hi\" and 'bye'",
    "two\nlines\r\nand a tab\t.",
    "---",
    "\n---\nlicense: stolen\n---\n",
    "a | b || c",
    "a \\| b \\",
    "<script>alert(1)</script>",
    "</td></table><!-- and all that follows",
    "`code` and ``` fences",
    "# heading",
    "{{ namespace }} {% raw %}",
    "[link](javascript:alert(1)) ![image](x) *star*",
    "&lt; &amp; é \u4e2d \U0001f600 \u202e",
    "- item",
    "yes",
    "1.10",
    "",
]


class Bench(Struct, frozen=True, kw_only=True):
    """A project with one run, and the folder of a base model."""

    folder: Path
    config: Config

    def policy(self, name: str) -> FormatPolicy:
        return next(policy for policy in self.config.formats if policy.name == name)

    def job(self, name: str, **changes: Any) -> ExportJob:
        policy = self.policy(name)
        (variant,) = policy.format.variants(policy.settings, ())
        label = f"phi3mini4k-minimal-{variant.label}-v2.0.0"
        job = ExportJob(
            run=self.run(RECORDED),
            base=BaseFolder(id=BASE_ID, path=self.folder / "base", revision="0a67737c", license="mit"),
            variant=variant,
            settings=policy.settings,
            policy=ExportPolicy(),
            title=f"{RUN}-v2.0.0",
            repo_id=f"acme/{label}",
            lineage=Lineage(parent=BASE_ID, relation="adapter" if name == "lora" else "finetune"),
            version="2.0.0",
            moment=datetime(2025, 9, 15, 12, 40, 51, tzinfo=UTC),
            namespace="acme",
            templates=Templates(self.folder),
        )
        return replace(job, **changes)

    def run(self, recorded: Mapping[str, Any]) -> Run:
        folder = self.folder / "adapters" / RUN
        folder.mkdir(parents=True, exist_ok=True)
        adapter = {
            "peft_type": "LORA",
            "base_model_name_or_path": str(self.folder / "base"),
            "r": 32,
            "lora_alpha": 64,
            "target_modules": ["qkv_proj", "o_proj"],
        }
        (folder / CONFIG_FILE).write_text(json.dumps(adapter))
        (folder / METADATA_FILE).write_text(json.dumps(recorded))
        self.write_weights("lora_A.weight", "lora_B.weight")
        return read_run(folder, self.config.naming)

    def write_weights(self, *parts: str) -> None:
        tensors = {f"base_model.model.layer.o_proj.{part}": np.zeros((2, 2), np.float32) for part in parts}
        tiny.write_tensors(self.folder / "adapters" / RUN / WEIGHTS_FILE, tensors)

    def card(
        self, name: str, *, manifest: Mapping[str, Any] | None = None, notes: str | None = None, **changes: Any
    ) -> str:
        job = self.job(name, **changes)
        described = replace(make_manifest(name, job), **dict(manifest or {}))
        return render_card(self.policy(name).format, job, described, self.config, CardSources(notes=notes))


MEASURED = Measured(
    tokens=92,
    kl=0.00256,
    kl_error=0.00196,
    kl_median=1.13e-07,
    kl_99=0.0441,
    kl_999=0.164,
    kl_max=0.177,
    rms_probability=0.0241,
    top1=1.0,
    perplexity_ratio=0.996,
    perplexity_ratio_error=0.00489,
)
SHOWN = Evidence(
    outcome=PASSED,
    runtime="llama_cpp (xllamacpp 1.0)",
    reference="transformers (torch 2.0, transformers 5.0)",
    date="2025-09-15T12:40:51+00:00",
    prompts=2,
    same=1,
    answers=MEASURED,
    text=replace(MEASURED, tokens=4096, top1=0.915, perplexity_ratio_error=None),
    limits=Limits(kl=0.2, same_tokens=False, top1=0.75),
    unlike=("results of tools",),
    example=Example(question="A ```schema```?", prompt="<|user|>\nA ```schema```?", answer="{}\n", ended=False),
)


def make_manifest(name: str, job: ExportJob) -> Manifest:
    weights = f"{job.title}-{job.variant.quant.upper()}.gguf" if job.variant.quant else "model.safetensors"
    return Manifest(
        tagship="0.1.0",
        format=name,
        quant=job.variant.quant,
        repo_id=job.repo_id,
        version="2.0.0",
        tag="v2.0.0",
        commit="0123456789abcdef0123456789abcdef01234567",
        exported=datetime(2025, 9, 15, 12, 40, 51, tzinfo=UTC),
        run=RUN,
        fields={},
        base_model=BASE_ID,
        base_revision="0a67737c",
        license="mit",
        files=(
            FileEntry(path="README.md", size=1, sha256="0" * 64),
            FileEntry(path="config.json", size=967, sha256="1" * 64),
            FileEntry(path=weights, size=7_642_159_104, sha256="2" * 64),
        ),
    )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    (tmp_path / "release.toml").write_text(POLICY)
    return Bench(folder=tmp_path, config=load_config(tmp_path / "release.toml", {}))


def parsed(card: str) -> list[Token]:
    """The card's body as Markdown with GitHub's tables, and with HTML where the text has some."""
    body = ModelCard(card).text
    return MarkdownIt("commonmark", {"html": True}).enable("table").parse(body)


def shape(tokens: list[Token]) -> list[str]:
    """What a document is made of, without its text and without what stands inside a line."""
    return [token.type for token in tokens]


def html(tokens: list[Token]) -> list[str]:
    inline = [child for token in tokens for child in token.children or ()]
    return [token.content for token in (*tokens, *inline) if token.type.startswith("html")]


def cells(tokens: list[Token]) -> list[list[str]]:
    """The rows of all tables, each cell as its text."""
    rows: list[list[str]] = []
    for token, inside in pairwise(tokens):
        if token.type == "tr_open":
            rows.append([])
        if token.type in ("th_open", "td_open"):
            rows[-1].append("".join(child.content for child in inside.children or ()))
    return rows


FORMATS = ["vllm", "ollama", "lora"]


# Goldens and front matter


@pytest.mark.parametrize("name", FORMATS)
def test_golden(bench: Bench, name: str) -> None:
    """The card of each format is as its golden file shows it."""
    tiny.check_golden(f"card-{name}.md", bench.card(name))


@pytest.mark.parametrize(
    ("name", "library", "relation", "tag"),
    [
        ("vllm", "transformers", "finetune", "vllm"),
        ("ollama", "gguf", "finetune", "gguf"),
        ("lora", "peft", "adapter", "lora"),
    ],
)
def test_front_matter(bench: Bench, name: str, library: str, relation: str, tag: str) -> None:
    """The Hub's own reader finds the base model, the relation, the library, the license and the tags."""
    data = ModelCard(bench.card(name)).data.to_dict()
    assert data["base_model"] == BASE_ID
    assert data["base_model_relation"] == relation == bench.job(name).lineage.relation
    assert data["library_name"] == library
    assert data["license"] == "mit"
    assert data["language"] == ["en"]
    assert data["pipeline_tag"] == "text-generation"
    assert data["version"] == "2.0.0"
    assert {tag, "avro"} <= set(data["tags"])
    assert "license_name" not in data


@pytest.mark.parametrize(
    ("part", "tag"), [("vision_config", "image-text-to-text"), ("audio_config", "audio-text-to-text")]
)
def test_model_that_takes_more_than_text(bench: Bench, part: str, tag: str) -> None:
    """The Hub's task is that of the whole model; a GGUF of it has the text alone, and says so."""
    (bench.folder / "base").mkdir()
    (bench.folder / "base" / "config.json").write_text(json.dumps({"text_config": {}, part: {"depth": 1}}))
    for name in ("vllm", "lora"):
        assert ModelCard(bench.card(name)).data.to_dict()["pipeline_tag"] == tag
        assert "**Text only**" not in bench.card(name)
    card = bench.card("ollama")
    assert ModelCard(card).data.to_dict()["pipeline_tag"] == "text-generation"
    assert "**Text only**: the base model takes more than text" in card


def test_numbers_are_whole(bench: Bench) -> None:
    """An alpha that is no whole number is not cut, and one prompt is one."""
    job = bench.job("vllm")
    tiny.edit_json(job.run.path / CONFIG_FILE, lora_alpha=31.5)
    run = read_run(job.run.path.rename(job.run.path.with_name("another")), bench.config.naming)
    shown = with_evidence(make_manifest("vllm", job), replace(SHOWN, prompts=1, same=1))
    card = bench.card("vllm", run=run, manifest={"evidence": shown.evidence})
    assert "LoRA, rank 32, alpha 31.5" in card
    assert "to 1 prompt and along a text" in card and "1 of the 1 answers is the same" in card


def test_version_stays_text(bench: Bench) -> None:
    """A version that looks like a number is text in the front matter."""
    assert ModelCard(bench.card("vllm", version="1.10")).data.to_dict()["version"] == "1.10"


def test_untagged(bench: Bench) -> None:
    """Without a tag there is no version in the front matter, and the table says so."""
    card = bench.card("lora", version=None, manifest={"version": None, "tag": None})
    assert "version" not in ModelCard(card).data.to_dict()
    rows = dict(row for row in cells(parsed(card)) if len(row) == 2)
    assert rows.keys().isdisjoint({"Version", "Tag"})
    assert rows["Released"] == "2025-09-15 12:40:51 UTC"


def test_other_license(bench: Bench) -> None:
    """A license that the Hub has no identifier for is named and linked."""
    base = BaseFolder(
        id=BASE_ID,
        path=bench.folder,
        revision=None,
        license="other",
        license_name="My License v1.0",
        license_link="https://example.com/a?b=c#d",
    )
    card = bench.card("vllm", base=base)
    data = ModelCard(card).data.to_dict()
    assert (data["license"], data["license_name"]) == ("other", "my-license-v1.0")
    assert data["license_link"] == "https://example.com/a?b=c#d"
    assert ["License", "My License v1.0, from the base model"] in cells(parsed(card))


@pytest.mark.parametrize("name", FORMATS)
def test_base_model_is_never_a_path(bench: Bench, name: str) -> None:
    """The adapter recorded the path that it was trained from: the card has the Hub's id, and the path nowhere."""
    card = bench.card(name)
    assert ModelCard(card).data.to_dict()["base_model"] == BASE_ID
    assert str(bench.folder) not in card


@pytest.mark.parametrize(
    "identifier", ["/models/phi3", "./phi3", "../models/phi3", "~/phi3", "models/of/phi3", "C:\\phi3"]
)
def test_path_as_the_base_model(bench: Bench, identifier: str) -> None:
    """A base model whose id is a path is refused: the Hub would refuse the card."""
    base = BaseFolder(id=identifier, path=bench.folder, revision=None, license="mit")
    job = bench.job("vllm", base=base, lineage=Lineage(parent=identifier, relation="finetune"))
    with pytest.raises(ReleaseError, match='"base_model" with value') as caught:
        front_matter(job, bench.policy("vllm").format.card, CardPolicy())
    assert repr(identifier) in str(caught.value)


# Content


def test_tables(bench: Bench) -> None:
    """The card says what the model is made of, what the run recorded, and which files it has but itself."""
    rows = cells(parsed(bench.card("vllm")))
    for row in (
        ["Base model", f"{BASE_ID} at 0a67737c"],
        ["Training run", RUN],
        ["Adapter", "LoRA, rank 32, alpha 64"],
        ["Adapted", "o_proj, qkv_proj"],
        ["Tag", "v2.0.0"],
        ["Committed", "2025-09-15 12:40:51 UTC"],
        ["dataset.rows", "1200"],
        ["learning_rate", "0.0002"],
        ["model.safetensors", "7.6 GB", "2" * 64],
    ):
        assert row in rows
    assert not any(row[0] in ("README.md", "unknown", "notes") for row in rows)


def test_run_without_records(bench: Bench) -> None:
    """A run that recorded nothing has no table of it."""
    assert "## Training" not in bench.card("lora", run=bench.run({}))


def test_flatten() -> None:
    """Nested records become rows by their dotted keys; what is not known is left out."""
    moment = datetime(2025, 9, 14, tzinfo=UTC)
    recorded = {"a": {"b": {"c": 1}, "d": None}, "e": [1, "two"], "f": moment, "g": False, "h": {}}
    assert flatten(recorded) == {"a.b.c": "1", "e": "1, two", "f": "2025-09-14T00:00:00+00:00", "g": "False"}


@pytest.mark.parametrize("name", FORMATS)
def test_use(bench: Bench, name: str) -> None:
    """Every way to use the model names the published repo or a file of it."""
    fences = [token for token in parsed(bench.card(name)) if token.type == "fence"]
    assert len(fences) >= 2
    assert any(f"acme/phi3mini4k-minimal-{bench.job(name).variant.label}-v2.0.0" in token.content for token in fences)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"use_dora": True}, ("lora_A.weight", "lora_B.weight")),
        ({"target_parameters": ["experts.down_proj"]}, ("lora_A.weight", "lora_B.weight")),
        ({"r": 600}, ("lora_A.weight", "lora_B.weight")),
        ({}, ("lora_A.weight", "lora_B.weight", "lora_B.bias")),
        ({}, ("lora_A.weight", "lora_B.weight", "weight")),
        ({}, ("lora_A.weight", "lora_B.weight", "trainable_tokens_delta")),
    ],
)
def test_adapter_that_vllm_does_not_serve(bench: Bench, changes: dict[str, Any], parts: tuple[str, ...]) -> None:
    """Nobody is told to serve it unmerged; PEFT loads it."""
    run = bench.run({})
    folder = run.path.rename(run.path.with_name("another"))
    (bench.folder / "adapters" / RUN).mkdir()
    bench.write_weights(*parts)
    (bench.folder / "adapters" / RUN / WEIGHTS_FILE).rename(folder / WEIGHTS_FILE)
    tiny.edit_json(folder / CONFIG_FILE, **changes)
    trained = read_run(folder, bench.config.naming)
    card = bench.card("lora", run=trained)
    assert "vllm serve" not in card
    assert "from_pretrained" in card
    merged = Lineage(parent=BASE_ID, relation="adapter", relatives=FAMILY)
    assert "vllm serve acme/merged-v2.0.0\n" in bench.card("lora", run=trained, lineage=merged)
    assert "vllm serve" in bench.card("lora")


# What people wrote cannot break it


@pytest.mark.parametrize("text", NASTY)
def test_recorded_values(bench: Bench, text: str) -> None:
    """A recorded value stays one cell of its table, as text, whatever it holds."""
    recorded = {"epochs": "1", "dataset": text, "seed": "3"}
    plain = bench.card("lora", run=bench.run(recorded | {"dataset": "x"}))
    card = bench.card("lora", run=bench.run(recorded))
    tokens = parsed(card)
    assert html(tokens) == []
    rows = cells(tokens)
    assert len(rows) == len(cells(parsed(plain)))
    assert {len(row) for row in rows} == {2, 3}
    assert ["epochs", "1"] in rows
    assert ["seed", "3"] in rows
    value = next(row[1] for row in rows if row[0] == "dataset")
    if not set(text) & set("[]!*`"):  # which Markdown may show as a link, as emphasis, as code
        assert value == visible(" ".join(text.split()))
    assert ModelCard(card).data.to_dict() == ModelCard(plain).data.to_dict()


@pytest.mark.parametrize(
    ("name", "text"), [("vllm", text) for text in NASTY if text] + [("ollama", NASTY[8]), ("lora", NASTY[8])]
)
def test_names(bench: Bench, name: str, text: str) -> None:
    """Neither a run's name nor a tag's, nor the title made of them, breaks the front matter or adds HTML or rows."""
    title = f"{text}-v2.0.0"
    named = {"run": text, "tag": text, "version": text}
    card = bench.card(name, title=title, version=text, manifest=named)
    ordinary = bench.card(name)
    data = ModelCard(card).data.to_dict()
    assert visible(data["model_name"]) == visible(title)  # escapes of YAML are not raw
    assert visible(data["version"]) == visible(text)
    assert data.keys() == ModelCard(ordinary).data.to_dict().keys()
    assert data["license"] == "mit"
    tokens = parsed(card)
    assert html(tokens) == []
    assert [len(row) for row in cells(tokens)] == [len(row) for row in cells(parsed(ordinary))]
    assert [token.tag for token in tokens if token.type == "heading_open"] == [
        token.tag for token in parsed(ordinary) if token.type == "heading_open"
    ]


@pytest.mark.parametrize("text", NASTY)
def test_license_names(bench: Bench, text: str) -> None:
    """Neither does the name that a base model's own card gives its license, nor its link: what the Hub would refuse is
    refused, with the keys that mend it."""
    base = BaseFolder(
        id=BASE_ID, path=bench.folder, revision=None, license="other", license_name=text or None, license_link=text
    )
    try:
        card = bench.card("lora", base=base)
    except ReleaseError as error:
        assert "the Hub would refuse the card" in str(error)
        assert "license_name" in str(error.remedy)
        return
    assert ModelCard(card).data.to_dict()["license"] == "other"
    assert html(parsed(card)) == []
    assert {len(row) for row in cells(parsed(card))} == {2, 3}


FAMILY = (
    Relative(format="vllm", quant=None, repo_id="acme/merged-v2.0.0", relation="finetune", serves="merged weights"),
    Relative(format="ollama", quant="q8_0", repo_id="acme/q8-v2.0.0", relation="quantized", serves="next to no loss"),
)
SAYING = CardPolicy(
    language=("en",),
    tags=("avro",),
    datasets=("acme/schemas",),
    metrics=("accuracy",),
    description="Writes AVRO schemas.",
    intended_use="Schemas for test data.",
    limitations="It knows no other language.",
    citation="Please name the paper, too.",
)


def test_card_with_everything(bench: Bench) -> None:
    """What people want to know of a model, in the order in which they do: the golden file shows it."""
    full = replace(bench, config=replace(bench.config, card=SAYING))
    job = full.job("ollama", lineage=Lineage(parent="acme/merged-v2.0.0", relation="quantized", relatives=FAMILY))
    (bench.folder / "base").mkdir()
    (bench.folder / "base" / "config.json").write_text('{"max_position_embeddings": 4096}')
    (bench.folder / "base" / "generation_config.json").write_text('{"temperature": 0.7, "top_k": 20}')
    (bench.folder / "base" / "chat_template.jinja").write_text("{{ messages }}")
    sources = CardSources(
        notes="- Breaking: the field `TRAINED` is upper case.\n",
        before=("v1.0.0", "acme/q4-v1.0.0"),
        web="https://github.com/acme/avro",
        commit_url="https://github.com/acme/avro/commit/0123",
        sizes={"ollama q4_k_m": 1 << 30, "ollama q8_0": 2 << 30},
        seals=CardSeals(signed=True, key_id="2c9f" * 16, public_key="keys/it.pub", provenance=True, sbom=True),
    )
    recorded = replace(job, run=bench.run(RECORDED | {"eval_loss": 0.5, "metrics": {"exact": 0.75}}))
    manifest = with_evidence(make_manifest("ollama", job), SHOWN)
    card = render_card(full.policy("ollama").format, recorded, manifest, full.config, sources)
    tiny.check_golden("card-full.md", card)
    data = ModelCard(card).data.to_dict()
    assert (data["base_model"], data["base_model_relation"]) == ("acme/merged-v2.0.0", "quantized")
    assert "conversational" in data["tags"]
    assert "datasets" not in data  # they are those of the merged model
    assert html(parsed(card)) == []


@pytest.mark.parametrize(
    ("seals", "said", "unsaid"),
    [
        (CardSeals(provenance=True), ["`provenance.intoto.json`"], ["model_signing", "sbom"]),
        (CardSeals(sbom=True), ["`sbom.cdx.json`"], ["model_signing", "provenance"]),
        (CardSeals(signed=True), ["by the key.", "--public_key PUBLIC_KEY"], ["None", "SHA-256 of the public"]),
        (CardSeals(signed=True, keyless=True), ["by a job of CI", "verify sigstore"], ["--public_key"]),
    ],
)
def test_how_it_is_checked(bench: Bench, seals: CardSeals, said: list[str], unsaid: list[str]) -> None:
    """A card says of each seal that there is, and of no other, how it is checked."""
    job = bench.job("lora")
    sources = CardSources(seals=seals)
    card = render_card(bench.policy("lora").format, job, make_manifest("lora", job), bench.config, sources)
    checked = card.partition("## Check it")[2].partition("## Citation")[0]
    assert all(text in checked for text in said), checked
    assert not [text for text in unsaid if text in checked]
    assert "## Check it" not in bench.card("lora")


def test_card_of_several_exports(bench: Bench) -> None:
    """What shares a repo has one card: a table of the quantization types with the line that uses each, and what was
    shown of each; the first is what the examples use."""
    job = bench.job(
        "ollama", repo_id="acme/gguf", lineage=Lineage(parent=BASE_ID, relation="finetune", relatives=FAMILY)
    )
    parts = []
    for quant, shown in (("q4_k_m", SHOWN), ("q8_0", replace(SHOWN, outcome=FAILED, why="it was too far away"))):
        files = (FileEntry(path=f"m-{quant.upper()}.gguf", size=1 << 30, sha256="1" * 64),)
        manifest = with_evidence(replace(make_manifest("ollama", job), quant=quant, files=files), shown)
        parts.append(CardPart(manifest=manifest, serves=f"whom {quant} serves", use_line=f"run {quant}"))
    whole = replace(
        make_manifest("ollama", job),
        quant=None,
        files=tuple(entry for part in parts for entry in part.manifest.files),
        parts=tuple(Part(quant=part.manifest.quant, files=part.manifest.files) for part in parts),
    )
    assert SHOWN.text is not None
    sources = CardSources(parts=tuple(parts), shown={"ollama q4_k_m": SHOWN.text})
    card = render_card(bench.policy("ollama").format, job, whole, bench.config, sources)
    rows = cells(parsed(card))
    assert ["Q4_K_M", "1.1 GB", "0.00256", "91.5 %", "whom q4_k_m serves", "run q4_k_m"] in rows
    assert ["Q8_0", "1.1 GB", "", "", "whom q8_0 serves", "run q8_0"] in rows
    assert ["Format", "ollama q4_k_m, q8_0"] in rows
    assert not any(row[0] == "this one" for row in rows)
    assert card.index("### Q4_K_M") < card.index("### Q8_0") < card.index("it was too far away")
    assert "as GGUFs in\nQ4_K_M, Q8_0 for Ollama" in card
    assert "--hf-file m-Q4_K_M.gguf" in card
    assert html(parsed(card)) == []


def test_card_of_a_version_among_others(bench: Bench) -> None:
    """Where a repo has every version, a card says how this one is had, and its examples pin it; without, none does."""
    for name, pinned in (
        ("vllm", ["vllm serve acme/it --revision v2.0.0\n", 'model="acme/it", revision="v2.0.0"']),
        ("lora", ['from_pretrained("acme/it", revision="v2.0.0")', "$(hf download acme/it --revision v2.0.0)"]),
        ("ollama", ["ollama run hf.co/acme/it:Q4_K_M"]),
    ):
        card = bench.card(name, repo_id="acme/it", revision="v2.0.0")
        assert all(line in card for line in [*pinned, "hf download acme/it --revision v2.0.0\n"])
        assert "revision" not in bench.card(name, repo_id="acme/it").replace("base_revision", "")


def test_card_of_a_prerelease_among_others(bench: Bench) -> None:
    """What is not on main is downloaded first: Ollama and llama.cpp take main of a repo."""
    card = bench.card("ollama", repo_id="acme/it", version="2.0.0-rc.1", revision="v2.0.0-rc.1")
    assert "ollama run hf.co/" not in card and "--hf-repo" not in card
    get = "hf download acme/it --revision v2.0.0-rc.1 --local-dir .\n"
    assert f"{get}ollama create" in card and f"{get}llama-cli --model" in card


def test_what_was_shown(bench: Bench) -> None:
    """A card says what was shown of these very files, and nothing where nothing was, or of others."""
    job = bench.job("vllm")
    manifest = with_evidence(make_manifest("vllm", job), SHOWN)
    assert manifest.evidence and "## Verified" in bench.card("vllm", manifest={"evidence": manifest.evidence})
    for evidence in (None, replace(manifest.evidence, files="of others")):
        card = bench.card("vllm", manifest={"evidence": evidence})
        assert "erified" not in card and "Example" not in card


@pytest.mark.parametrize("outcome", [FAILED, UNTESTED])
def test_published_all_the_same(bench: Bench, outcome: str) -> None:
    """A card says of an export that did not pass that it did not, and why."""
    failed = Evidence(outcome=outcome, why="mean KL 3 | nats")
    manifest = with_evidence(make_manifest("vllm", bench.job("vllm")), failed)
    card = bench.card("vllm", manifest={"evidence": manifest.evidence})
    assert f"did not pass its comparison with base + adapter** ({outcome}: mean KL 3" in card


def test_copy_of_the_run(bench: Bench) -> None:
    """An adapter that was compared byte by byte says that."""
    manifest = with_evidence(
        make_manifest("lora", bench.job("lora")), Evidence(outcome=PASSED, copied=True, reference="x")
    )
    assert "compared byte by byte" in bench.card("lora", manifest={"evidence": manifest.evidence})


def test_blocks_of_a_project(bench: Bench) -> None:
    """A project replaces a part of a card by its name, and keeps the others."""
    (bench.folder / "templates" / "vllm").mkdir(parents=True)
    own = '{% extends "tagship/vllm/card.md.j2" %}{% block limits %}## Limits\n\nNone known.\n{% endblock %}'
    (bench.folder / "templates" / "vllm" / "card.md.j2").write_text(own)
    card = bench.card("vllm")
    assert "## Limits\n\nNone known." in card
    assert "## Citation" in card


@pytest.mark.parametrize(
    ("changes", "problem", "remedy"),
    [
        ({"language": ("english",)}, "\"language[0]\" with value 'english'", "[card]"),
        ({"language": ("EN",)}, '"language[0]" must only contain lowercase', "[card]"),
        ({"datasets": ("data/of/mine",)}, "\"datasets[0]\" with value 'data/of/mine'", "[card]"),
        (
            {"license": "llama-3"},
            '"license" must be one of the licenses of https://',
            "did you mean 'llama3'?",
        ),
        ({"license": "other"}, '"license_name" must be given', 'license_name = "…"'),
    ],
)
def test_card_that_the_hub_would_refuse(bench: Bench, changes: dict[str, Any], problem: str, remedy: str) -> None:
    """The front matter is held to the Hub's rules before anything is published."""
    job = bench.job("vllm")
    if "license" in changes:
        job = replace(job, base=replace(job.base, **changes))
    policy = CardPolicy() if "license" in changes else CardPolicy(**changes)
    with pytest.raises(ReleaseError, match=re.escape(problem)) as caught:
        front_matter(job, bench.policy("vllm").format.card, policy)
    assert remedy in str(caught.value.remedy)


def test_license_in_a_file_of_the_base(bench: Bench) -> None:
    """A link into the base's repository leads there, or to the file where the export has it."""
    (bench.folder / "base").mkdir()
    base = replace(bench.job("lora").base, license="other", license_name="mine", license_link="LICENSE.md")
    there = ModelCard(bench.card("lora", base=base)).data.to_dict()["license_link"]
    assert there == f"https://huggingface.co/{BASE_ID}/blob/0a67737c/LICENSE.md"
    (bench.folder / "base" / "LICENSE.md").write_text("text")
    assert ModelCard(bench.card("lora", base=base)).data.to_dict()["license_link"] == "LICENSE.md"
    unlinked = replace(base, license_link=None)
    assert ModelCard(bench.card("lora", base=unlinked)).data.to_dict()["license_link"] == "LICENSE.md"


# Templates


def test_unknown_variable(bench: Bench) -> None:
    """A template that asks for what nobody gave is refused, by its name and the variable's."""
    (bench.folder / "templates" / "vllm").mkdir(parents=True)
    (bench.folder / "templates" / "vllm" / "card.md.j2").write_text("# {{ title }}\n{{ manifest.colour }}\n")
    with pytest.raises(ReleaseError, match=r"vllm/card\.md\.j2.*colour"):
        bench.card("vllm")


def test_template_that_is_no_template(bench: Bench) -> None:
    """A template with a mistake in it is refused, by its name and the line."""
    (bench.folder / "templates" / "lora").mkdir(parents=True)
    (bench.folder / "templates" / "lora" / "card.md.j2").write_text("one\n{% if %}\n")
    with pytest.raises(ReleaseError, match=r"lora/card\.md\.j2, line 2"):
        bench.card("lora")


@pytest.mark.parametrize("extended", ["cards/base.md.j2", "tagship/vllm/card.md.j2"])
@pytest.mark.parametrize("place", ["vllm/card.md.j2", "cards/vllm.md.j2"])
def test_own_template(bench: Bench, place: str, extended: str) -> None:
    """The project's own template is taken before the shipped one, and may extend it; also where cards were before."""
    own = f'{{% extends "{extended}" %}}{{% block intro %}}Ours: {{{{ namespace }}}}.{{% endblock %}}'
    path = bench.folder / "templates" / place
    path.parent.mkdir(parents=True)
    path.write_text(own)
    card = bench.card("vllm")
    assert "Ours: acme." in card
    assert "## Files" in card


def test_how_weights_were_written(bench: Bench) -> None:
    """The card says what precision a merge was rounded to, and by what a quantization was weighed."""
    plain, other = ExportPolicy(), ExportPolicy(dtype="F16")
    weighed = replace(bench.policy("ollama").settings, imatrix=Path("secret/place/m.gguf"))
    assert "rounded once to the base's own precision" in bench.card("vllm", policy=plain)
    assert "rounded once to f16." in bench.card("vllm", policy=other)
    assert "importance matrix" not in bench.card("ollama", policy=plain)
    assert "The importance matrix `m.gguf` weighed" in bench.card("ollama", settings=weighed)
    assert "secret" not in bench.card("ollama", settings=weighed)
    made = replace(weighed, imatrix=None, calibration=Path("secret/place/t.txt"))
    assert "made along `t.txt`, weighed what quantization loses: `imatrix.gguf`" in bench.card("ollama", settings=made)
    assert "secret" not in bench.card("ollama", settings=made)


def test_adapted_by_a_pattern(bench: Bench) -> None:
    """What was adapted is told also where it is a pattern of modules, or parameters."""
    run = bench.run({})
    adapter = replace(run.adapter, target_modules=(), target_pattern=r".*\.q_proj", target_parameters=("experts.up",))
    assert ["Adapted", r".*\.q_proj, experts.up"] in cells(
        parsed(bench.card("vllm", run=replace(run, adapter=adapter)))
    )
