"""Base + adapter into a GGUF in one pass: what is in the file, byte by byte."""

import gc
import hashlib
import json
import logging
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from tagship.gguf import ggml, k_quants
from tagship.gguf.conversion import GgufMetadata, write_ggufs
from tagship.gguf.imatrix import read_imatrix
from tagship.gguf.quant_mix import QUANTS, GgufTensor, Mix, ModelFacts, tensor_types
from tagship.gguf.tensor_choices import TensorChoice
from tagship.system.errors import ReleaseError, ToolError
from tagship.weights.checkpoint import open_checkpoint
from tagship.weights.lora import read_adapter
from tagship.weights.merge import MergedWeights
from tagship.weights.merged_rows import whole_tensor

from tests import tiny

gguf = pytest.importorskip("gguf")
pytest.importorskip("conversion")
pytest.importorskip("xllamacpp")

METADATA = GgufMetadata(
    general={
        "general.name": "Tiny: a «test»",
        "general.version": "1.2.3",
        "general.quantized_by": "acme",
        "general.base_models": [
            {"name": "Base", "organization": "Org", "repo_url": "https://huggingface.co/org/base"},
        ],
    },
    license="mit",
    add_bos=False,
)

pytestmark = pytest.mark.slow
HIDDEN, LAYERS = 256, 2
# Types that are made without an importance matrix.
UNWEIGHED = [name for name, quant in QUANTS.items() if not quant.needs_imatrix]
PHI3_NAMES = {
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}

Array = np.ndarray[Any, np.dtype[Any]]


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """The converter logs each tensor."""
    caplog.set_level(logging.ERROR)


def opened(base: Path, adapter: Path) -> MergedWeights:
    return MergedWeights(open_checkpoint(base), read_adapter(adapter))


def written(weights: MergedWeights, target: Path, quant: str, metadata: GgufMetadata = METADATA) -> Any:
    counted: list[int] = []
    write_ggufs(weights, weights.base.folder, {quant: target}, metadata, counted.append)
    reader = gguf.GGUFReader(target)
    matrices = [tensor for tensor in reader.tensors if len(tensor.shape) > 1]
    assert sum(counted) == sum(tensor.n_bytes for tensor in matrices)
    return reader


def tensors_of(reader: Any) -> dict[str, Any]:
    return {tensor.name: tensor for tensor in reader.tensors}


def value(reader: Any, key: str) -> Any:
    return reader.fields[key].contents()


# A real Phi-3


@pytest.fixture(scope="module")
def phi3(tmp_path_factory: pytest.TempPathFactory) -> MergedWeights:
    """A sharded Phi-3 in bfloat16 with its tokenizer, and a LoRA adapter for all of its projections."""
    folder = tmp_path_factory.mktemp("phi3")
    base = tiny.phi3(folder / "base", hidden=HIDDEN, layers=2, shard="1MB")
    tiny.tokenizer(base)
    return opened(base, tiny.adapter(base, folder / "adapter"))


def merged(weights: MergedWeights) -> dict[str, Array]:
    """What a GGUF of a Phi-3 should hold, in float32, under GGUF's names."""
    names = {"model.embed_tokens.weight": "token_embd.weight", "lm_head.weight": "output.weight"}
    for layer in range(LAYERS):
        for theirs, ours in PHI3_NAMES.items():
            names[f"model.layers.{layer}.{theirs}.weight"] = f"blk.{layer}.{ours}.weight"
    found = {}
    for name in weights.base.entries().keys() & names.keys():
        owner = weights.base.owner(name)
        assert owner is not None
        array = whole_tensor(weights, name) if name in weights.changed else owner.read(name)
        found[names[name]] = array.astype(np.float32)
    return found


@pytest.mark.parametrize("quant", ["f32", "f16", "bf16", "q8_0", "q4_k_m", "iq4_xs", "q2_k"])
def test_tensors_are_the_merged_ones_encoded(phi3: MergedWeights, tmp_path: Path, quant: str) -> None:
    """Each matrix has the type that llama.cpp's mix gives it and the bytes that ggml makes of the merged one."""
    expected = merged(phi3)
    reader = written(phi3, tmp_path / "model.gguf", quant)
    assert value(reader, "general.file_type") == gguf.LlamaFileType[QUANTS[quant].file_type].value
    held = tensors_of(reader)
    described = [GgufTensor(name=name, shape=array.shape, type="BF16") for name, array in expected.items()]
    types = tensor_types(Mix(quant=quant), described, ModelFacts(architecture="phi3", layers=2, experts=0, gqa=2))
    assert len(expected) == 2 + 2 * 4
    for name, array in expected.items():
        kind = gguf.GGMLQuantizationType[types[name]]
        assert held[name].tensor_type == kind
        assert tuple(held[name].shape) == array.shape[::-1]
        assert held[name].data.tobytes() == b"".join(chunk.tobytes() for chunk in ggml.encode(array, kind.value))
    norms = held.keys() - expected.keys()
    assert {held[name].tensor_type.name for name in norms} == {"F32"}
    assert len(norms) == 2 * 2 + 1


def test_the_adapter_is_in_the_file(phi3: MergedWeights, tmp_path: Path) -> None:
    """In an f32 GGUF the adapted matrices are the merged ones, number by number, and not the base's."""
    held = tensors_of(written(phi3, tmp_path / "model.gguf", "f32"))
    for layer in range(2):
        for theirs, ours in PHI3_NAMES.items():
            name = f"model.layers.{layer}.{theirs}.weight"
            data = held[f"blk.{layer}.{ours}.weight"].data
            assert np.array_equal(data, whole_tensor(phi3, name).astype(np.float32))
            owner = phi3.base.owner(name)
            assert owner is not None
            assert (data != owner.read(name).astype(np.float32)).mean() > 0.5


def test_metadata(phi3: MergedWeights, tmp_path: Path) -> None:
    """The file tells its name, license, version, maker, base model, chat template and tokenizer."""
    reader = written(phi3, tmp_path / "model.gguf", "q4_k_m")
    assert value(reader, "general.architecture") == "phi3"
    assert value(reader, "general.name") == "Tiny: a «test»"
    assert value(reader, "general.license") == "mit"
    assert value(reader, "general.version") == "1.2.3"
    assert value(reader, "general.quantized_by") == "acme"
    assert value(reader, "general.base_model.count") == 1
    assert value(reader, "general.base_model.0.name") == "Base"
    assert value(reader, "general.base_model.0.organization") == "Org"
    assert value(reader, "general.base_model.0.repo_url") == "https://huggingface.co/org/base"
    assert value(reader, "tokenizer.chat_template") == tiny.CHAT_TEMPLATE
    assert value(reader, "phi3.block_count") == 2
    tokens = value(reader, "tokenizer.ggml.tokens")
    assert len(tokens) == tiny.VOCABULARY
    assert tokens[3] == tiny.END_OF_TURN


@pytest.mark.parametrize("add_bos", [True, False])
def test_add_bos(phi3: MergedWeights, tmp_path: Path, add_bos: bool) -> None:
    """Whether the runtime begins a text with <s> is what the metadata says, whatever the tokenizer's files say."""
    metadata = GgufMetadata(general={}, license="mit", add_bos=add_bos)
    reader = written(phi3, tmp_path / "model.gguf", "q8_0", metadata)
    assert bool(value(reader, "tokenizer.ggml.add_bos_token")) is add_bos


def test_two_writes_give_equal_bytes(phi3: MergedWeights, tmp_path: Path) -> None:
    """The same base, adapter and metadata give the same file."""
    files = [tmp_path / name for name in ("one.gguf", "two.gguf")]
    for file in files:
        written(phi3, file, "q4_k_m")
    assert files[0].read_bytes() == files[1].read_bytes()


# Other models


def test_llama_rows_are_permuted_after_the_merge(tmp_path: Path) -> None:
    """A Llama's queries and keys are the merged ones in llama.cpp's order of rows."""
    base = tiny.llama(tmp_path / "base", hidden=HIDDEN)
    tiny.tokenizer(base)
    weights = opened(base, tiny.adapter(base, tmp_path / "adapter"))
    held = tensors_of(written(weights, tmp_path / "model.gguf", "f32"))
    for theirs, ours, heads in (("q_proj", "attn_q", 4), ("k_proj", "attn_k", 2), ("v_proj", "attn_v", 0)):
        expected = whole_tensor(weights, f"model.layers.1.self_attn.{theirs}.weight").astype(np.float32)
        if heads:
            pairs = expected.reshape(heads, 2, expected.shape[0] // heads // 2, expected.shape[1])
            expected = pairs.swapaxes(1, 2).reshape(expected.shape)
        assert np.array_equal(held[f"blk.1.{ours}.weight"].data, expected)


def test_converter_that_hands_on(tmp_path: Path) -> None:
    """The converter's class for Mistral 3 only chooses another one, which gets the merged tensors all the same."""
    transformers = pytest.importorskip("transformers")
    text = {
        "model_type": "mistral",
        "vocab_size": tiny.VOCABULARY,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 32,
    }
    seen = {"model_type": "pixtral", "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "head_dim": 16}
    seen |= {"num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    config = transformers.Mistral3Config(text_config=text, vision_config=seen)
    transformers.Mistral3ForConditionalGeneration(config).save_pretrained(tmp_path / "base")
    base = tiny.tokenizer(tmp_path / "base")
    module = "model.language_model.layers.0.self_attn.v_proj"
    weights = opened(base, tiny.exact_lora(tmp_path / "adapter", {module: (64, 64)}, rank=2))
    (changed,) = weights.changed
    held = tensors_of(written(weights, tmp_path / "model.gguf", "f32"))
    assert np.array_equal(held["blk.0.attn_v.weight"].data, whole_tensor(weights, changed).astype(np.float32))


def test_head_that_was_tied(tmp_path: Path) -> None:
    """Where only the head of tied embeddings was trained, the file has it beside the base's embedding."""
    base = tiny.llama(tmp_path / "base", layers=1, hidden=HIDDEN, dtype=tiny.FLOAT32)
    (shard,) = open_checkpoint(base).shards
    tiny.write_tensors(shard.path, {name: shard.read(name) for name in shard.tensors if name != "lm_head.weight"})
    tiny.edit_json(base / "config.json", tie_word_embeddings=True)
    tiny.tokenizer(base)
    weights = opened(base, tiny.adapter(base, tmp_path / "adapter", target_modules=["lm_head"]))
    held = tensors_of(written(weights, tmp_path / "model.gguf", "f32"))
    embedding = open_checkpoint(base).shards[0].read("model.embed_tokens.weight")
    assert np.array_equal(held["token_embd.weight"].data, embedding)
    assert np.array_equal(held["output.weight"].data, whole_tensor(weights, "lm_head.weight"))
    assert (held["output.weight"].data != embedding).mean() > 0.5


@pytest.mark.parametrize("dtype", [tiny.FLOAT16, tiny.FLOAT32])
def test_bases_of_other_dtypes(tmp_path: Path, dtype: str) -> None:
    """A base in float16 or float32 is merged in its own dtype before it is encoded."""
    base = tiny.phi3(tmp_path / "base", hidden=HIDDEN, layers=1, dtype=dtype)
    tiny.tokenizer(base)
    weights = opened(base, tiny.adapter(base, tmp_path / "adapter"))
    held = tensors_of(written(weights, tmp_path / "model.gguf", "q8_0"))
    for name, array in merged(weights).items():
        assert held[name].data.tobytes() == b"".join(chunk.tobytes() for chunk in ggml.encode(array, 8))


def test_rows_that_no_k_quant_takes(tmp_path: Path) -> None:
    """A model whose rows are no multiple of 256 falls back, tensor by tensor, to smaller blocks."""
    base = tiny.phi3(tmp_path / "base", hidden=96, layers=1)
    tiny.tokenizer(base)
    weights = opened(base, tiny.adapter(base, tmp_path / "adapter"))
    held = tensors_of(written(weights, tmp_path / "model.gguf", "q4_k_m"))
    assert held["output.weight"].tensor_type.name == "Q8_0"
    assert held["token_embd.weight"].tensor_type.name == "Q5_0"
    array = merged(weights)["blk.0.attn_output.weight"]
    kind = gguf.GGMLQuantizationType.Q5_0
    assert held["blk.0.attn_output.weight"].tensor_type == kind
    assert held["blk.0.attn_output.weight"].data.tobytes() == gguf.quants.quantize(array, kind).tobytes()


# Refused


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A Llama with its tokenizer and an adapter beside it."""
    base = tiny.llama(tmp_path / "base", layers=1)
    tiny.tokenizer(base)
    tiny.adapter(base, tmp_path / "adapter")
    return base


def refused(base: Path, kind: type[ReleaseError]) -> ReleaseError:
    weights = opened(base, base.parent / "adapter")
    with pytest.raises(kind) as caught:
        write_ggufs(weights, base, {"q8_0": base.parent / "model.gguf"}, METADATA, lambda _: None)
    return caught.value


def test_unknown_architecture(small: Path) -> None:
    """An architecture that llama.cpp does not know is its own failure, with a remedy."""
    tiny.edit_json(small / "config.json", architectures=["NoSuchForCausalLM"])
    error = refused(small, ReleaseError)
    assert "NoSuchForCausalLM" in str(error)
    assert error.remedy
    assert "LLAMA_CPP_DIR" in error.remedy


def test_tokenizer_that_cannot_be_converted(small: Path) -> None:
    """A model without a tokenizer is the converter's failure, not ours."""
    for path in small.glob("tokenizer*"):
        path.unlink()
    assert refused(small, ToolError).remedy


def test_adapter_that_is_not_finite(small: Path) -> None:
    """An adapter with a NaN is refused by its tensor, also when it is met while the file is written."""
    path = small.parent / "adapter" / "adapter_model.safetensors"
    header = read_adapter(small.parent / "adapter").weights
    tensors = {name: header.read(name) for name in header.tensors}
    broken = next(name for name in tensors if "down_proj.lora_B" in name)
    tensors[broken][0, 0] = np.nan
    tiny.write_tensors(path, tensors)
    assert broken in str(refused(small, ReleaseError))


def test_adapted_tensor_that_the_converter_leaves_out(small: Path) -> None:
    """Where the converter drops a tensor that the adapter changes, as those of images, the export is refused."""
    (shard,) = open_checkpoint(small).shards
    tensors = {name: shard.read(name) for name in shard.tensors}
    tensors["visual.proj.weight"] = tensors["model.layers.0.self_attn.q_proj.weight"]
    tiny.write_tensors(shard.path, tensors)
    path = small.parent / "adapter" / "adapter_model.safetensors"
    header = read_adapter(small.parent / "adapter").weights
    lora = {name: header.read(name) for name in header.tensors}
    for side in "AB":
        like = f"base_model.model.model.layers.0.self_attn.q_proj.lora_{side}.weight"
        lora[f"base_model.model.visual.proj.lora_{side}.weight"] = lora[like]
    tiny.write_tensors(path, lora)
    assert str(refused(small, ReleaseError)).endswith("what the adapter changes: visual.proj.weight")


# Goldens


def formula_phi3(folder: Path) -> MergedWeights:
    """A Phi-3 whose every number comes from a formula, and an adapter whose merge is exact in float32.

    Neither random numbers nor the order of a sum decide a byte of it.
    """
    from transformers import Phi3Config

    base = folder / "base"
    inner, rank = HIDDEN, 4
    Phi3Config(
        architectures=["Phi3ForCausalLM"],
        vocab_size=tiny.VOCABULARY,
        hidden_size=HIDDEN,
        intermediate_size=inner,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        original_max_position_embeddings=128,
        bos_token_id=1,
        eos_token_id=3,
        pad_token_id=3,
    ).save_pretrained(base)
    tiny.tokenizer(base)
    shapes = {"model.embed_tokens": (tiny.VOCABULARY, HIDDEN), "lm_head": (tiny.VOCABULARY, HIDDEN)}
    norms, adapted = ["model.norm"], {}
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}"
        adapted |= {
            f"{prefix}.self_attn.qkv_proj": (2 * HIDDEN, HIDDEN),
            f"{prefix}.self_attn.o_proj": (HIDDEN, HIDDEN),
            f"{prefix}.mlp.gate_up_proj": (2 * inner, HIDDEN),
            f"{prefix}.mlp.down_proj": (HIDDEN, inner),
        }
        norms += [f"{prefix}.input_layernorm", f"{prefix}.post_attention_layernorm"]
    return of_formulas(folder, shapes, adapted, norms, rank=rank)


def of_formulas(
    folder: Path,
    matrices: Mapping[str, tuple[int, int]],
    adapted: Mapping[str, tuple[int, int]],
    norms: Sequence[str],
    *,
    rank: int,
) -> MergedWeights:
    """A base and an adapter for some of its matrices, by their names and shapes, all of formulas."""
    from ml_dtypes import bfloat16

    tensors = {
        f"{name}.weight": tiny.formula(shape, number) / 4096
        for number, (name, shape) in enumerate({**matrices, **adapted}.items())
    }
    tensors |= {f"{name}.weight": 1 + tiny.formula((HIDDEN,), 500 + i, bits=5) / 128 for i, name in enumerate(norms)}
    path = folder / "base" / "model.safetensors"
    tiny.write_tensors(path, {name: array.astype(bfloat16) for name, array in tensors.items()})
    return opened(folder / "base", tiny.exact_lora(folder / "adapter", adapted, rank=rank))


def digest(reader: Any) -> str:
    """The SHA-256 of all tensors by their names: name, type and bytes of each."""
    total = hashlib.sha256()
    for name, tensor in sorted(tensors_of(reader).items()):
        total.update(f"{name} {tensor.tensor_type.name}\n".encode())
        total.update(tensor.data.tobytes())
    return total.hexdigest()


# Made with llama.cpp at revision 0c1e57098: `formula_phi3` merged into safetensors, converted by
# `convert_hf_to_gguf.py --outtype bf16`, and that GGUF quantized by `llama-quantize`, type by type.
GOLDEN: Mapping[str, str] = {
    "f32": "1ba6cee50b850caedffee58f937a268cb76f5ea8857cf1dcec65e86debc3282e",
    "f16": "656f26622a69a04b16b5459f283bcaa3aa3ce8e63be80b414502c627b1907833",
    "bf16": "aa157ae16e1775266cbe3efd2153c40ddab3e1ae3993d109acf0da8a1cc6a8ba",
    "q8_0": "087c24cd379354db9440a8e80a89ddff5665eec422bdb79d2373a4075169f1fb",
    "q6_k": "2d76dcd656f14382ec8be4c9a532546ec3a464e6c62fa5bf2126a17788fa190c",
    "q5_k_m": "b535fd414a89785e08c432bd7b9bd99e9fefa53ccd9b786d1027dc9fe1406e2f",
    "q5_k_s": "9f339bb9885e5e6175a638056c311721160714ab178296dec38ec7cdbb2cb29c",
    "q4_k_m": "543aa98cb4dcd0ecfd8ebde4bc547b01d671bc7908ad695f3dfc5c629cd0f1ca",
    "q4_k_s": "b15e5d9af1646e40bfd6651e1e76ee232808c9a9fb44c2d481fd6820abb8c6fe",
    "q4_0": "59b40b0244f0fefc302a7c877590304a83b19b99920ac222c1b2b916b8fa47fb",
    "iq4_nl": "91d24c7f8cc92b8e3b7894b4f3311ba89fac71580cfe770add89da8f20eaa4c0",
    "iq4_xs": "eb580eab31aeadd9ce33c740d95ea4028ccb5a27b2ff3d32e7c7b82f30fb7c79",
    "q3_k_m": "bd3add10358275037b9728aba39eb105e9bcd1c4bb2ce9090a9e2652b682d62d",
    "iq3_m": "11a7887f8e2d952d9b136f5f8ef852695a0b3dcc99318b20f00e93824bcc977c",
    "iq3_s": "ab02233bd3630515531e3cca52cd9fb4dd684cc2cbf865855bc90e34a70ef9c3",
    "q2_k": "949a5b4f94d13a6e8fb0c71736d3727bc866a4caccf6c7b6f708ae61db6a7906",
}


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="ggml's encoders round otherwise where multiply-add is fused"
)
@pytest.mark.parametrize("encode", [ggml.encode, k_quants.encode], ids=["ggml", "quick"])
def test_bytes_of_llama_quantize(tmp_path: Path, encode: Any) -> None:
    """Every quantization type has the tensors that llama.cpp's own converter and llama-quantize write, bit by bit,
    whether ggml encodes them or what is quicker."""
    weights = formula_phi3(tmp_path)
    targets = {quant: tmp_path / f"{quant}.gguf" for quant in UNWEIGHED}
    write_ggufs(weights, weights.base.folder, targets, METADATA, lambda _: None, encode=encode)
    found = {quant: digest(gguf.GGUFReader(target)) for quant, target in targets.items()}
    assert found == GOLDEN, json.dumps(found, indent=4)


def test_pages(tmp_path: Path) -> None:
    """Of quantization types that are written together, each says where it will be itself."""
    weights = formula_phi3(tmp_path)
    pages = {quant: f"https://huggingface.co/acme/it-{quant}" for quant in ("q8_0", "f16")}
    targets = {quant: tmp_path / f"{quant}.gguf" for quant in pages}
    metadata = replace(METADATA, pages=pages)
    write_ggufs(weights, weights.base.folder, targets, metadata, lambda _: None)
    found = {quant: value(gguf.GGUFReader(target), "general.repo_url") for quant, target in targets.items()}
    assert found == pages


# Importance matrices, and experts


MIXTURE_LAYERS, EXPERTS = 8, 3


def formula_mixtral(folder: Path) -> MergedWeights:
    """A Mixtral of formulas, as `formula_phi3`: with enough layers that the first ones differ, and adapted experts."""
    from transformers import MixtralConfig

    base = folder / "base"
    MixtralConfig(
        architectures=["MixtralForCausalLM"],
        vocab_size=tiny.VOCABULARY,
        hidden_size=HIDDEN,
        intermediate_size=HIDDEN,
        num_hidden_layers=MIXTURE_LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=EXPERTS,
        max_position_embeddings=128,
        bos_token_id=1,
        eos_token_id=3,
    ).save_pretrained(base)
    tiny.tokenizer(base)
    square = (HIDDEN, HIDDEN)
    matrices = {"model.embed_tokens": (tiny.VOCABULARY, HIDDEN), "lm_head": (tiny.VOCABULARY, HIDDEN)}
    norms, adapted = ["model.norm"], {}
    for layer in range(MIXTURE_LAYERS):
        prefix = f"model.layers.{layer}"
        halves = dict.fromkeys(("k_proj", "v_proj"), (HIDDEN // 2, HIDDEN))
        matrices |= {f"{prefix}.self_attn.{name}": shape for name, shape in halves.items()}
        matrices[f"{prefix}.block_sparse_moe.gate"] = (EXPERTS, HIDDEN)
        adapted |= {f"{prefix}.self_attn.{name}": square for name in ("q_proj", "o_proj")}
        moe = f"{prefix}.block_sparse_moe.experts"
        adapted |= {f"{moe}.{expert}.w{part}": square for expert in range(EXPERTS) for part in (1, 2, 3)}
        norms += [f"{prefix}.input_layernorm", f"{prefix}.post_attention_layernorm"]
    return of_formulas(folder, matrices, adapted, norms, rank=4)


def importances() -> dict[str, tuple[Array, Array]]:
    """Sums and counts for the tensors of `formula_mixtral`; one expert of each layer was never used."""
    found = {}
    for layer in range(MIXTURE_LAYERS):
        for number, name in enumerate(("attn_q", "attn_k", "attn_v", "attn_output")):
            found[f"blk.{layer}.{name}.weight"] = 1, 10 * layer + number
        for number, name in enumerate(("ffn_gate_exps", "ffn_up_exps", "ffn_down_exps")):
            found[f"blk.{layer}.{name}.weight"] = EXPERTS, 10 * layer + 5 + number
    counts = np.array([512, 0, 256], np.float32)
    return {
        name: ((tiny.formula((experts, HIDDEN), salt) + 129) ** 2, counts[:experts])
        for name, (experts, salt) in found.items()
    }


def imatrix_file(path: Path) -> Path:
    """`importances` as llama-imatrix writes them today."""
    writer = gguf.GGUFWriter(path, "imatrix")
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", ["texts/some.txt"])
    writer.add_uint32("imatrix.chunk_count", 7)
    writer.add_uint32("imatrix.chunk_size", 512)
    for name, (sums, counts) in importances().items():
        writer.add_tensor(f"{name}.in_sum2", sums)
        writer.add_tensor(f"{name}.counts", counts[:, None])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


# As GOLDEN, of `formula_mixtral`, without and with `--imatrix`; by llama.cpp b11434.
GOLDEN_MIXTURE: Mapping[str, str] = {
    "f32": "ab9dd97ae76a0928090de8304c78cf2b8775e8f5c3c0f8de6907835cd2be97b1",
    "f16": "78da9172a1be0c0fe06b330b3248dee86720bb53b2f5a9cb9ad9a8a4582087a1",
    "bf16": "44f57708ab660c30fae1bfe9eb097caab9948846e0053abec7a3af29e7ee7771",
    "q8_0": "8b6d6837d829de60779e945c25bd64458eb2d79f0a080f88d5ef8967d4f02425",
    "q6_k": "d39fff3521ed3b859c0f9ad91ad2d1276c50d2af2c361aeb3b9e6c2404be97cc",
    "q5_k_m": "3c4490610547ac2b59428a8ec40f4c91a7e1afc7f38df798b8de0fde9e4afc74",
    "q5_k_s": "9ab2300c6175396972429fc07a37976e7ea5e1e788ab7a7029a6d4e9aeb6c11f",
    "q4_k_m": "8915ea3720f8b6ddee3153f8cb9f700508df07e4ba466ed4dd4cae5c8fcb15ff",
    "q4_k_s": "63890700c110ad87d7b756fd27c417cf25460b818d4bbfe0e4e3fd3d31e39a8b",
    "q4_0": "05d9860b804c8a43bc2b95df4a3d9c44989a41435eb6f34085a440b10f33bce3",
    "iq4_nl": "29e1cb58140088388e152dcb17071a8bd8353b4c3918bd3286c2d5888f89b71c",
    "iq4_xs": "edcc09bda7600e6ababa665307fee8e97d4783d96552c00cfcdd9eadcb562d4b",
    "q3_k_m": "cc676a06ddc0ff05d2ee396dd51d395c420a28110cca05ff9b4294b32fdf150e",
    "iq3_m": "f5257fc057649095cf75cf80645d9cbe93298074bcccca92d3b9c00504e047fc",
    "iq3_s": "2173367b9aa067095e4d76eec78bdeee5962ddc011c45bacc66c87f69b404c48",
    "q2_k": "fe8da3040506f33ecdce76310c016de3e7d3acda93f8699b687ba8f3e2e1a4ad",
}
GOLDEN_IMATRIX: Mapping[str, str] = {
    "f32": "ab9dd97ae76a0928090de8304c78cf2b8775e8f5c3c0f8de6907835cd2be97b1",
    "f16": "78da9172a1be0c0fe06b330b3248dee86720bb53b2f5a9cb9ad9a8a4582087a1",
    "bf16": "44f57708ab660c30fae1bfe9eb097caab9948846e0053abec7a3af29e7ee7771",
    "q8_0": "8b6d6837d829de60779e945c25bd64458eb2d79f0a080f88d5ef8967d4f02425",
    "q6_k": "a17e5b97cbf9599666371222d6eda1752f3a20b6b66017a4fc796442012f90ff",
    "q5_k_m": "ed4cf31ab83e3675f8eb91ecde52e9aeb8d9a846ee9384052120d827509ef87c",
    "q5_k_s": "9c34023c515ae9b7972550710b2497b8822929cdc3990ebf8cb39960249c9973",
    "q4_k_m": "a9e6559675286e7f39dc2a7511522ad19458cf45a1d2de0fc420a7348b948b0c",
    "q4_k_s": "df4dfb08e08a5c3da805c35b7c50737573a48fea766ae0cb0d9346bc725a76b5",
    "q4_0": "3d333afbeea43d147ee18a2e7071175015b5a1f6319ae6fa42dfe5733731fdfd",
    "iq4_nl": "5332cdb914920a579dc68d3c36dcdeaf529ae98e5e1d33a74e08414d0bec99b0",
    "iq4_xs": "e16f7d99bf4f0a1c7cca998b60364bfeecfe9fdf3a4c831d1dab5e36fdc1287a",
    "q3_k_m": "b2e8ddddd5e55efc54697147c5f58df0e09826c5b0d8fe229a0591f175719710",
    "iq3_m": "7c2aaed72f10426993b2cc9dbfd5ba678156af23aafc86deee824a6b7d40340f",
    "iq3_s": "0413bb5f31fc91685f0456bf7859743a62fefb7d21dd290a29b6961ecfe6aa53",
    "iq3_xs": "e4ca8b4aeb7b246a1bfd19e261bce9ff5e883f9b52d7a2048859bec9737062ac",
    "iq3_xxs": "ce33f77a9fb127536a1f47cb1e56796d8207f68e23be49a9b85de88bae0fc13f",
    "q2_k": "4445a334a69672d9af5545194b45576554f2b77527236013d754230fe4dd6a07",
    "iq2_m": "a8499aba6b42ae02df378da655e674d85f0b844e007543bd51993a7b159bfb27",
    "iq2_s": "b52eafaf448ed177a3cad9203f0b25f7db6068ac2a67d9fb974a5db57ad7b61b",
    "iq2_xs": "6f63cc127ec817ec9a8305a7d08dde14163507f8c484f3524c2e475eeee91c97",
    "iq2_xxs": "f61771df7d2f72681b9651bc8b6634f8f9b3ee351e6903794d8f1b080ff29678",
    "iq1_m": "ae7ea08f8ef606fb6fc2912858bf074ca3cac9915c724d2b5d37a56165e6d9c7",
    "iq1_s": "5d4c988fe4a700638af9798845e80ea3563932659c40ce1767ce6db733d88d4e",
}


@pytest.mark.long
@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="ggml's encoders round otherwise where multiply-add is fused"
)
@pytest.mark.parametrize("measured", [False, True])
def test_bytes_of_llama_quantize_for_experts(tmp_path: Path, measured: bool) -> None:
    """A mixture of experts has the tensors that llama-quantize writes, with an importance matrix and without."""
    weights = formula_mixtral(tmp_path)
    imatrix = read_imatrix(imatrix_file(tmp_path / "imatrix.gguf")) if measured else None
    targets = {quant: tmp_path / f"{quant}.gguf" for quant in (QUANTS if measured else UNWEIGHED)}
    write_ggufs(weights, weights.base.folder, targets, METADATA, lambda _: None, imatrix=imatrix)
    found = {quant: digest(gguf.GGUFReader(target)) for quant, target in targets.items()}
    assert found == (GOLDEN_IMATRIX if measured else GOLDEN_MIXTURE), json.dumps(found, indent=4)


# The same by `llama-quantize --tensor-type` of b11434, on the mixture with its matrix and on Phi-3 without.
CHOSEN = (("token_embd", "Q6_K"), (r"^output\.", "IQ4_XS"), ("attn", "Q5_1"), (r"blk\.0\.", "F16"))
GOLDEN_CHOSEN = {
    (False, "q4_k_m"): "86c276b672abfe2f0005f12569525b3ff023133188a975604c6bb07934d88a37",
    (False, "q3_k_m"): "372182ce219a06f3b1ac72875e6779659571c961e53359b52c8f5fb743b20456",
    (True, "q4_k_m"): "a6d44921656dd6f72f5257a9807698e7a66ae1b8d382bc3ae890f0ed86a7ea1f",
    (True, "q3_k_m"): "4ecb9e9e1d59a028206c41140398dd2c7a6eaf223d76d657194e4f7271f5a7fa",
}


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="ggml's encoders round otherwise where multiply-add is fused"
)
@pytest.mark.parametrize("measured", [False, True])
def test_bytes_of_llama_quantize_for_chosen_types(tmp_path: Path, measured: bool) -> None:
    """Where types are chosen for tensors by patterns, the bytes are those of llama-quantize with the same ones."""
    weights = formula_mixtral(tmp_path) if measured else formula_phi3(tmp_path)
    imatrix = read_imatrix(imatrix_file(tmp_path / "imatrix.gguf")) if measured else None
    choices = tuple(TensorChoice(*choice) for choice in CHOSEN)
    mixes = {quant: Mix(quant=quant, choices=choices) for of, quant in GOLDEN_CHOSEN if of is measured}
    targets = {quant: tmp_path / f"{quant}.gguf" for quant in mixes}
    write_ggufs(weights, weights.base.folder, targets, METADATA, lambda _: None, mixes=mixes, imatrix=imatrix)
    found = {(measured, quant): digest(gguf.GGUFReader(target)) for quant, target in targets.items()}
    assert found.items() <= GOLDEN_CHOSEN.items(), found


def test_refuses_a_type_that_needs_importance(tmp_path: Path) -> None:
    """A type of few bits is refused without an importance matrix, and with one that lacks a tensor, before a byte is
    written; llama.cpp's encoder would end the process."""
    weights = formula_mixtral(tmp_path)
    targets = {"iq2_xs": tmp_path / "m.gguf"}
    with pytest.raises(ReleaseError, match=r"^blk\.0\.\S+ is to be IQ2_XS, which takes an importance matrix") as caught:
        write_ggufs(weights, weights.base.folder, targets, METADATA, lambda _: None)
    assert '[export] imatrix = "make"' in str(caught.value.remedy)
    measured = read_imatrix(imatrix_file(tmp_path / "imatrix.gguf"))
    lacking = {name: values for name, values in measured.values.items() if name != "blk.1.ffn_up_exps.weight"}
    with pytest.raises(ReleaseError, match=r"^blk\.1\.ffn_up_exps\.weight is to be IQ2_XS"):
        imatrix = replace(measured, values=lacking)
        write_ggufs(weights, weights.base.folder, targets, METADATA, lambda _: None, imatrix=imatrix)
    assert not list(tmp_path.glob("*m.gguf"))


def test_computed_tensors_are_let_go(tmp_path: Path) -> None:
    """What the converter permutes is whole in memory one tensor at a time, however many layers there are."""
    from conversion.base import LazyTorchTensor

    base = tiny.llama(tmp_path / "base", layers=6)
    tiny.tokenizer(base)
    weights = opened(base, tiny.adapter(base, tmp_path / "adapter"))
    held: list[int] = []

    def count(_: int) -> None:
        held.append(sum(type(thing) is LazyTorchTensor and thing._data is not None for thing in gc.get_objects()))

    write_ggufs(weights, base, {"q8_0": tmp_path / "m.gguf"}, METADATA, count)
    # A tensor, and the steps that it was computed in.
    assert max(held) <= 6, held
