"""The adapter doctor: what it says of runs and bases in every state."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import HfApi
from ml_dtypes import bfloat16
from tagship.hub.connection import Hub
from tagship.hub_server.app import EmbeddedHub
from tagship.policy.config import load_config
from tagship.release.examination.document import document_of
from tagship.release.examination.examine import examine_run
from tagship.release.examination.facts import Examination
from tagship.release.examination.findings import findings_of
from tagship.release.finding import OK, STOP, WARN
from tagship.release.options import Options
from tagship.release.step import templates_of
from tagship.system.errors import ReleaseError, UsageError
from tagship.weights.partial import HEADERS

from tests import tiny
from tests.conftest import GitFolder

BASE, RUN = "acme/tiny", "tiny-minimal-r4-a8-e2-20250914-132416"
HIDDEN, BETWEEN, ROWS, LAYERS = 8, 12, 20, 3
PREFIX = "base_model.model."
POLICY = f"""\
[project]
namespace = "acme"
[hub]
endpoint = "embedded"
[naming.bases]
"{BASE}" = "tiny"
[bases."{BASE}"]
path = "base"
[formats.vllm]
[formats.ollama]
quants = ["q4_k_m", "q2_k"]
[formats.lora]
repo = {{ untagged = "{{run}}-lora" }}
"""
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": HIDDEN,
    "intermediate_size": BETWEEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "vocab_size": ROWS,
    "tie_word_embeddings": False,
    "dtype": "bfloat16",
}

Tensors = dict[str, np.ndarray[Any, Any]]
Said = Callable[..., tuple[Examination, dict[str, list[str]]]]


def base_tensors(*, tied: bool = False) -> Tensors:
    tensors = {"model.embed_tokens.weight": np.ones((ROWS, HIDDEN), bfloat16)}
    for layer in range(LAYERS):
        for name in ("q_proj", "o_proj"):
            tensors[f"model.layers.{layer}.self_attn.{name}.weight"] = np.ones((HIDDEN, HIDDEN), bfloat16)
        tensors[f"model.layers.{layer}.mlp.down_proj.weight"] = np.ones((HIDDEN, BETWEEN), bfloat16)
    return tensors if tied else tensors | {"lm_head.weight": np.ones((ROWS, HIDDEN), bfloat16)}


def write_base(folder: Path, tensors: Tensors, **config: Any) -> None:
    """A base in a shard for each layer, and one for what is in none."""
    folder.mkdir(exist_ok=True)
    names = sorted({_shard(name) for name in tensors})
    for shard in names:
        tiny.write_tensors(folder / shard, {name: held for name, held in tensors.items() if _shard(name) == shard})
    index = {
        "metadata": {"total_size": sum(held.nbytes for held in tensors.values())},
        "weight_map": {name: _shard(name) for name in tensors},
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    (folder / "config.json").write_text(json.dumps(CONFIG | config), encoding="utf-8")
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n", encoding="utf-8")
    vocabulary = {f"piece {number}": number for number in range(ROWS - 2)}
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocabulary}}), encoding="utf-8")


def _shard(name: str) -> str:
    parts = name.split(".")
    return f"model-{parts[2] if parts[1] == 'layers' else 'rest'}.safetensors"


def pair(module: str, rows: int = HIDDEN, columns: int = HIDDEN, *, b: float = 1.0, rank: int = 4) -> Tensors:
    return {
        f"{PREFIX}{module}.lora_A.weight": np.ones((rank, columns), np.float32),
        f"{PREFIX}{module}.lora_B.weight": np.full((rows, rank), b, np.float32),
    }


def q_proj(layer: int, **more: Any) -> Tensors:
    return pair(f"model.layers.{layer}.self_attn.q_proj", **more)


EVERY_LAYER = q_proj(0) | q_proj(1) | q_proj(2)


def write_adapter(folder: Path, tensors: Tensors, **config: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    document = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "base", "r": 4}
    document |= {"lora_alpha": 8, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(document | config), encoding="utf-8")
    tiny.write_tensors(folder / "adapter_model.safetensors", tensors)
    return folder


@pytest.fixture
def root(repository: GitFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A project with a base of three layers and a run of it."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    repository.write("release.toml", POLICY)
    write_base(repository.folder / "base", base_tensors())
    write_adapter(repository.folder / "adapters" / RUN, EVERY_LAYER)
    return repository.folder


@pytest.fixture
def said(root: Path) -> Said:
    """Examine a run; returns the facts, and the findings' texts by level."""

    def call(run: str = RUN, hub: Hub | None = None, **options: Any) -> tuple[Examination, dict[str, list[str]]]:
        config = load_config(root / "release.toml")
        nobody = Hub(lambda: HfApi(endpoint="http://127.0.0.1:9"), embedded=False)
        found = examine_run(config, Options(run=run, **options), hub or nobody, templates_of(config))
        levels: dict[str, list[str]] = {OK: [], WARN: [], STOP: []}
        for finding in findings_of(found):
            levels[finding.level].append(finding.what)
        json.dumps(document_of(found))  # is one
        return found, levels

    return call


def one(texts: list[str], words: str) -> str:
    (found,) = [text for text in texts if words in text]
    return found


def test_what_is_well(said: Said) -> None:
    """Of a run that can be released all is said, in an order that does not change."""
    _, levels = said()
    assert levels[STOP] == [] and levels[WARN] == []
    begins = [text.split(":")[0].split(",")[0] for text in levels[OK]]
    assert begins[0] == "adapter" and begins[-1] == "revision"
    assert one(levels[OK], "it changes") == "it changes q_proj in all 3 layers; scale 2"
    assert "all 3 parameters" in one(levels[OK], "that the adapter changes are in the base")
    assert "a head of its own; the adapter leaves both" in one(levels[OK], "ties:")
    assert "20 rows; the tokenizer has 18 tokens" in one(levels[OK], "vocabulary:")
    assert "all 4 files of weights" in one(levels[OK], f"base {BASE}")
    assert "commercial use and fine-tunes" in one(levels[OK], "license: apache-2.0, by its model card")
    assert "LlamaForCausalLM" in one(levels[OK], "llama.cpp")


@pytest.mark.parametrize(
    ("config", "level", "words"),
    [
        ({"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, OK, "trained on in NF4 (experiment_metadata.json)"),
        ({"quant_method": "gptq"}, WARN, "quantized by gptq"),
    ],
)
def test_a_quantized_base(root: Path, said: Said, config: dict[str, Any], level: str, words: str) -> None:
    """What the base was held in while the run was trained is said, where that was not 16 bits."""
    metadata = root / "adapters" / RUN / "experiment_metadata.json"
    metadata.write_text(json.dumps({"quantization_config": config}))
    found, levels = said()
    assert words in one(levels[level], "trained on") and document_of(found)["quantized"]


def test_costs(said: Said) -> None:
    """Each format and quantization type has its cost; a time only where one was measured."""
    found, levels = said()
    assert [cost.name for cost in found.costs] == ["vllm", "ollama q4_k_m", "ollama q2_k", "lora"]
    merged, q4, q2, lora = found.costs
    assert found.base and found.base.described and merged.disk == found.base.described.nbytes
    assert found.adapter and lora.disk == found.adapter.size
    assert q4.seconds is not None and q2.seconds is None
    assert "its time was not measured" in one(levels[OK], "cost of ollama q2_k")
    (only,) = said(formats=("ollama",), quants=("q8_0",))[0].costs
    assert only.name == "ollama q8_0"


@pytest.mark.parametrize("gone", [["model-1"], ["model-0", "model-2"], ["model-rest"]])
def test_a_base_that_is_here_in_part(root: Path, said: Said, gone: list[str]) -> None:
    """Costs and fit are those of the whole base; what a release lacks is still told."""
    whole, _ = said()
    for name in gone:
        (root / "base" / f"{name}.safetensors").unlink()
    part, levels = said()
    assert part.costs == whole.costs and part.fit == whole.fit
    assert f"{4 - len(gone)} of 4 files of weights" in one(levels[OK], f"base {BASE}")
    assert "the sum is the index's own" in one(levels[OK], "costs:")
    assert len(levels[STOP]) == 1 and f"lacks {gone[0]}" in levels[STOP][0]
    assert {path.name for path in (root / "base").iterdir()}.isdisjoint(f"{name}.safetensors" for name in gone)


def test_a_base_of_which_shapes_are_guessed(root: Path, said: Said) -> None:
    """Where nothing tells the shapes, the costs are called an estimate, and no misfit is claimed."""
    for path in (root / "base").glob("*.safetensors"):
        path.unlink()
    tiny.edit_json(root / "base/config.json", hidden_size=None)
    found, levels = said()
    assert "an estimate" in one(levels[WARN], "costs:")
    assert "were not compared" in one(levels[WARN], "tensors are not known here")
    size = sum(tensor.nbytes for tensor in base_tensors().values())
    assert found.costs[0].disk is not None and size - 40 < found.costs[0].disk <= size
    assert all("lacks" in text for text in levels[STOP])


def test_nothing_of_the_base(root: Path, said: Said) -> None:
    """Without a file of the base and without the Hub, what could not be told is said to be unknown."""
    found, levels = said(base="org/elsewhere")
    assert found.costs == () and "not known" in one(levels[WARN], "costs:")
    assert "nothing here says which one" in one(levels[WARN], "license:")
    assert "the Hub did not say more" in one(levels[OK], "revision:")
    assert levels[STOP] == []


def stopped(texts: dict[str, list[str]], words: str) -> bool:
    return any(words in text for text in texts[STOP])


@pytest.mark.parametrize(
    ("tensors", "config", "level", "words"),
    [
        ({**q_proj(0, b=0), **q_proj(1, b=0)}, {}, STOP, "it trained nothing: every lora_B is all zero"),
        (EVERY_LAYER, {"lora_alpha": 0}, STOP, "it trained nothing: its scale is 0"),
        (q_proj(0) | q_proj(1, b=0), {}, WARN, "1 of 2 low-rank changes are all zero"),
        (q_proj(0, rank=2), {}, STOP, "has the rank 4 by adapter_config.json, but 2 in its lora_A"),
        (q_proj(0, rows=10), {}, STOP, "the adapter needs [10, 8]"),
        (q_proj(7), {}, STOP, "model.layers.7.self_attn.q_proj.weight is not in the base"),
        (EVERY_LAYER, {"task_type": "SEQ_CLS"}, STOP, "trained for sequence classification"),
        (EVERY_LAYER, {"peft_type": "LOHA"}, STOP, "vllm, ollama q4_k_m, ollama q2_k: the adapter in"),
        (EVERY_LAYER, {"use_rslora": True}, OK, "adapter: LoRA (rsLoRA) of rank 4"),
        (q_proj(0) | q_proj(2), {}, OK, "q_proj in 2 of 3 layers (between 0 and 2)"),
        (
            q_proj(0) | q_proj(1, rank=2),
            {"rank_pattern": {"layers.1.self_attn.q_proj": 2}},
            OK,
            "LoRA (rank_pattern) of rank 2 to 4",
        ),
        (EVERY_LAYER, {"alpha_pattern": {"layers.1.self_attn.q_proj": 16}}, OK, "scale 2 to 4"),
        (
            EVERY_LAYER | {f"{PREFIX}lm_head.weight": np.ones((ROWS, HIDDEN), np.float32)},
            {"modules_to_save": ["lm_head"]},
            WARN,
            "vLLM does not serve it unmerged: it has whole trained modules",
        ),
        (
            EVERY_LAYER
            | {f"{PREFIX}model.embed_tokens.token_adapter.trainable_tokens_delta": np.ones((2, HIDDEN), np.float32)},
            {"trainable_token_indices": [1, 2]},
            OK,
            "2 trained token rows",
        ),
        (
            EVERY_LAYER | {f"{PREFIX}model.layers.0.self_attn.q_proj.lora_magnitude_vector": np.ones(8, np.float32)},
            {"use_dora": True},
            WARN,
            "it is DoRA",
        ),
        (EVERY_LAYER | {f"{PREFIX}extra.lora_C.weight": np.ones(2, np.float32)}, {}, STOP, "no rule of merging"),
    ],
)
def test_adapters(root: Path, said: Said, tensors: Tensors, config: dict[str, Any], level: str, words: str) -> None:
    """What each kind of adapter is told of, and at which level."""
    write_adapter(root / "adapters" / RUN, tensors, **config)
    _, levels = said()
    one(levels[level], words)


@pytest.mark.parametrize(
    ("more", "tied", "words"),
    [
        ({}, False, "has an embedding and a head of its own; the adapter leaves both"),
        ({}, True, "ties embedding and head, and the adapter leaves them: they stay tied"),
        (pair("lm_head", ROWS), True, "the adapter trained them apart: the merged model has both"),
        (pair("lm_head", ROWS), False, "of its own, and the adapter changes some of that"),
    ],
)
def test_ties(root: Path, said: Said, more: Tensors, tied: bool, words: str) -> None:
    """What the adapter does to tied embeddings."""
    shutil.rmtree(root / "base")
    write_base(root / "base", base_tensors(tied=tied), tie_word_embeddings=tied)
    write_adapter(root / "adapters" / RUN, EVERY_LAYER | more)
    assert words in one(said()[1][OK], "ties:")


def test_vocabularies(root: Path, said: Said) -> None:
    """Tokens that the run added are counted; those that no row is for are refused; a resized one is told."""
    run = root / "adapters" / RUN
    vocabulary = {f"piece {number}": number for number in range(ROWS - 2)}

    def add(number: int) -> None:
        added = [{"id": ROWS - 2 + i, "content": f"<{i}>"} for i in range(number)]
        document = {"model": {"vocab": vocabulary}, "added_tokens": added}
        (run / "tokenizer.json").write_text(json.dumps(document), encoding="utf-8")

    add(2)
    assert "has 20 tokens, 2 more than the base's" in one(said()[1][OK], "vocabulary:")
    add(3)
    assert stopped(said()[1], "has the token id 20, but the model has 20 rows")
    both = {
        f"{PREFIX}{name}.weight": np.ones((ROWS + 1, HIDDEN), np.float32) for name in ("lm_head", "model.embed_tokens")
    }
    write_adapter(run, EVERY_LAYER | both, modules_to_save=["lm_head", "embed_tokens"])
    assert "20 rows, resized by the run to 21" in one(said()[1][OK], "vocabulary:")


def test_other_names(root: Path, said: Said) -> None:
    """Parameters that the base's files have under another name are told by an example."""
    shutil.rmtree(root / "base")
    tensors = {name.replace("model.", "language_model.model.", 1): held for name, held in base_tensors().items()}
    write_base(root / "base", {name: held for name, held in tensors.items() if "lm_head" not in name})
    assert "is language_model.model.layers" in one(said()[1][OK], "some under other names")


@pytest.mark.parametrize(
    ("license_id", "level", "words"),
    [
        ("mit", OK, "commercial use and fine-tunes"),
        ("cc-by-nc-4.0", WARN, "no commercial use and fine-tunes"),
        ("cc-by-nd-4.0", WARN, "no fine-tunes to be published"),
        ("llama3.1", WARN, 'show "Built with Llama", begin the name of a fine-tuned model with "Llama"'),
        ("gemma", OK, "names the Gemma Terms of Use"),
        ("acme-1.0", WARN, "its terms are not known here"),
    ],
)
def test_licenses(root: Path, said: Said, license_id: str, level: str, words: str) -> None:
    """What a license allows is told of those that are known, and of no other."""
    (root / "base/README.md").write_text(f"---\nlicense: {license_id}\n---\n", encoding="utf-8")
    assert words in one(said()[1][level], f"license: {license_id}, by its model card")


def test_sources_of_a_license(root: Path, said: Said) -> None:
    """`other` is named and linked; release.toml has the first word; without any, a release is stopped."""
    (root / "base/README.md").write_text(
        "---\nlicense: other\nlicense_name: acme-terms\nlicense_link: https://acme.example\n---\n", encoding="utf-8"
    )
    assert "other, acme-terms (https://acme.example)" in one(said()[1][WARN], "license:")
    (root / "base/README.md").unlink()
    assert stopped(said()[1], "license: nothing says which one acme/tiny has")
    (root / "release.toml").write_text(POLICY.replace('path = "base"', 'path = "base"\nlicense = "mit"'))
    assert "license: mit, by release.toml" in one(said()[1][OK], "license:")
    (root / "base/README.md").write_text("---\nlicense: llama3.1\n---\n", encoding="utf-8")
    assert "llama3.1 by the base's own card, and published as mit" in one(said()[1][WARN], "license:")


def test_which_run(root: Path, said: Said) -> None:
    """Any run is examined, also one that is not the newest, is given by its path, or lies below another one."""
    write_adapter(root / "adapters" / RUN.replace("2025", "2026"), q_proj(0))
    assert said(RUN)[0].run == RUN
    assert said(str(root / "adapters" / RUN))[0].run == RUN
    write_adapter(root / "adapters" / RUN / "checkpoint-500", q_proj(0))
    found, levels = said(f"{RUN}/checkpoint-500")
    assert found.run == "checkpoint-500" and found.fit
    assert stopped(levels, "its folder is not named as [naming] run says")
    with pytest.raises(ReleaseError, match="there is no training run 'none'"):
        said("none")
    with pytest.raises(UsageError, match="unknown format"):
        said(formats=("gguf",))


def test_damaged_runs(root: Path, said: Said) -> None:
    """A configuration or weights that cannot be read are the only thing to say, with the reason."""
    run = root / "adapters" / RUN
    (run / "adapter_config.json").write_text("{", encoding="utf-8")
    assert [len(texts) for texts in said()[1].values()] == [0, 0, 1]
    assert stopped(said()[1], "adapter_config.json is not valid JSON")
    write_adapter(run, EVERY_LAYER)
    weights = (run / "adapter_model.safetensors").read_bytes()
    (run / "adapter_model.safetensors").write_bytes(weights[:-4])
    assert stopped(said()[1], "is not a whole safetensors file")
    (run / "adapter_model.safetensors").unlink()
    assert stopped(said()[1], "does not exist")


def test_bases_that_are_not_known(root: Path, said: Said) -> None:
    """The adapter is still told of where its base is not known; --base names another one."""
    write_adapter(root / "adapters" / RUN, EVERY_LAYER, base_model_name_or_path="somebody's own/folder/of/models")
    found, levels = said()
    assert stopped(levels, "is neither a folder here nor a model's id") and len(levels[STOP]) == 1
    assert found.adapter and found.vllm and found.base is None
    assert said(base="base")[1][STOP] == []


def test_a_base_that_a_release_would_not_run(root: Path, said: Said) -> None:
    """Code of its own that may not run, and numbers that no model has, are told as a release tells them."""
    tiny.edit_json(root / "base/config.json", model_type="avro", auto_map={"AutoModel": "modeling_avro.Avro"})
    pytest.importorskip("transformers")
    assert stopped(said()[1], "wants to run code of its own")
    tiny.edit_json(root / "base/config.json", model_type="llama", auto_map={}, num_hidden_layers=10**12)
    assert stopped(said()[1], "which no model has")


def test_a_base_on_the_hub(root: Path, said: Said, hub: EmbeddedHub, quiet_client: None) -> None:
    """A base that is nowhere here is examined by its headers, and its revision is held against the Hub's."""
    (root / "release.toml").write_text(POLICY.replace(f'[bases."{BASE}"]\npath = "base"\n', ""))
    api = HfApi(endpoint=hub.url, token=False)
    client = Hub(lambda: api, embedded=False)
    write_adapter(root / "adapters" / RUN, EVERY_LAYER, base_model_name_or_path=BASE)
    assert stopped(said(hub=client)[1], "there is no model acme/tiny on the Hub")
    api.create_repo(BASE)
    api.upload_folder(repo_id=BASE, folder_path=root / "base")
    commit = str(api.model_info(BASE).sha)
    found, levels = said(hub=client)
    assert levels[STOP] == [] and levels[WARN] == [] and found.base and found.base.described
    assert found.fit and found.costs[0].disk == found.base.described.nbytes
    assert "not here, 0 of 4 files" in one(levels[OK], f"base {BASE}") and one(levels[OK], "a release fetches")
    assert "license: apache-2.0, by the Hub" in one(levels[OK], "license:")
    assert "takes main, now" in one(levels[OK], "revision:")
    write_adapter(root / "adapters" / RUN, EVERY_LAYER, base_model_name_or_path=BASE, revision=commit)
    assert "is still the head of main" in one(said(hub=client)[1][OK], "revision:")
    api.upload_file(repo_id=BASE, path_or_fileobj=b"x", path_in_repo="note.txt")
    assert "main went on by 1 commit from" in one(said(hub=client)[1][WARN], "revision:")
    write_adapter(root / "adapters" / RUN, EVERY_LAYER, base_model_name_or_path=BASE, revision="0" * 40)
    assert stopped(said(hub=client)[1], "revision: the Hub has no 000")


def test_headers_on_the_hub(root: Path, said: Said, hub: EmbeddedHub, quiet_client: None) -> None:
    """Where neither layers nor config.json tell the shapes, the Hub's headers do, also of what a cache lacks."""
    (root / "release.toml").write_text(POLICY.replace(f'[bases."{BASE}"]\npath = "base"\n', ""))
    api = HfApi(endpoint=hub.url, token=False)
    api.create_repo(BASE)
    tiny.edit_json(root / "base/config.json", hidden_size=None)
    api.upload_folder(repo_id=BASE, folder_path=root / "base")
    write_adapter(root / "adapters" / RUN, EVERY_LAYER, base_model_name_or_path=BASE)
    client = Hub(lambda: api, embedded=False)
    nowhere, levels = said(hub=client)
    assert nowhere.base and nowhere.base.described and nowhere.base.described.basis == HEADERS
    assert levels[STOP] == levels[WARN] == []
    for name in ("model.safetensors.index.json", "config.json", "model-0.safetensors"):
        api.hf_hub_download(BASE, name, cache_dir=root.parent / "cache")
    part, levels = said(hub=client)
    assert "in the Hub's cache, 1 of 4 files" in one(levels[OK], f"base {BASE}")
    assert part.costs == nowhere.costs and levels[STOP] == levels[WARN] == []
    assert part.base and 0 < part.base.to_fetch < nowhere.base.to_fetch


def test_nothing_is_written(root: Path, said: Said) -> None:
    """Looking leaves nothing behind, of a base that is here in part above all."""
    (root / "base/model-1.safetensors").unlink()
    before = sorted(root.rglob("*"))
    said()
    assert sorted(root.rglob("*")) == before


def test_an_architecture_that_the_converter_does_not_know(root: Path, said: Said) -> None:
    """It stops a release that makes a GGUF, and is a warning for one that does not."""
    pytest.importorskip("conversion")
    tiny.edit_json(root / "base/config.json", architectures=["NoSuchForCausalLM"])
    assert stopped(said()[1], "does not have NoSuchForCausalLM")
    assert one(said(formats=("lora",))[1][WARN], "does not have NoSuchForCausalLM")
