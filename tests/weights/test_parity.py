"""Every kind of adapter that PEFT saves, merged, gives the model that PEFT runs: base + adapter, number by number."""

import copy
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct, field
from tagship.formats.model_folder import with_changes
from tagship.system.errors import ReleaseError
from tagship.weights.checkpoint import open_checkpoint
from tagship.weights.lora import read_adapter
from tagship.weights.merge import MergedWeights
from tagship.weights.merge_writer import write_merged

from tests import tiny

torch = pytest.importorskip("torch")
pytest.importorskip("peft")

pytestmark = pytest.mark.slow

VOCABULARY, HIDDEN = 64, 32
F32, F16, BF16, F64 = "float32", "float16", "bfloat16", "float64"
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": HIDDEN,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
QV = ["q_proj", "v_proj"]
# torch's grouped products of experts know no float64.
EAGER: dict[str, Any] = {"experts_implementation": "eager"}
IDS = torch.tensor([[5, 9, 3, 7]])
TIED: dict[str, Any] = {"tie_word_embeddings": True}


class Case(Struct, frozen=True, kw_only=True):
    """A base and an adapter for it: the model's class and what its configuration adds, LoRA's options,
    and how the two are saved."""

    lora: Mapping[str, Any]
    model: str = "Llama"
    config: Mapping[str, Any] = field(default_factory=dict)
    base_dtype: str = F32
    adapter_dtype: str = F32
    resized: int | None = None
    saves_embeddings: bool | str = False
    shard: str = "1GB"
    on_disk: Callable[[str], str] | None = None
    wide: str | None = None


def llama(**lora: Any) -> Case:
    return Case(lora={"target_modules": QV} | lora)


def tied(**lora: Any) -> Case:
    return Case(lora={"target_modules": QV} | lora, config=TIED)


def resized(rows: int, config: Mapping[str, Any] | None = None, **lora: Any) -> Case:
    return Case(lora={"target_modules": QV} | lora, config=config or {}, resized=rows, saves_embeddings="auto")


def gpt2(**lora: Any) -> Case:
    return Case(model="GPT2", lora={"target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True} | lora)


def experts(model: str, config: Mapping[str, Any], *parameters: str, **more: Any) -> Case:
    """A mixture of four experts, whose parameters are adapted each by itself, and its attention."""
    names = parameters or ("experts.gate_up_proj", "experts.down_proj")
    lora = {"target_modules": ["q_proj"], "target_parameters": list(names)} | more.pop("lora", {})
    return Case(model=model, lora=lora, config={"num_experts_per_tok": 2} | config, **more)


LOCAL: dict[str, Any] = {"num_local_experts": 4}
QWEN: dict[str, Any] = {"num_experts": 4, "moe_intermediate_size": 24, "head_dim": 8}
GPT_OSS: dict[str, Any] = LOCAL | {"head_dim": 8, "layer_types": ["full_attention", "sliding_attention"]}


def saved(base: str, adapter: str, **more: Any) -> Case:
    return Case(lora={"target_modules": "all-linear"}, base_dtype=base, adapter_dtype=adapter, **more)


EVERYWHERE = {"target_modules": "all-linear"}
CASES = {
    # Architectures
    "phi3": Case(model="Phi3", lora=EVERYWHERE),
    "llama": Case(lora=EVERYWHERE),
    "qwen2": Case(model="Qwen2", lora=EVERYWHERE),
    "qwen3-tied": Case(model="Qwen3", lora=EVERYWHERE, config=TIED | {"head_dim": 8}),
    "gemma-tied": Case(model="Gemma", lora=EVERYWHERE, config={"head_dim": 8}),
    "mistral": Case(model="Mistral", lora=EVERYWHERE),
    "gpt2": Case(model="GPT2", lora=EVERYWHERE),
    # Mixtures of experts: one tensor for each expert in the files, or one for all
    "mixtral": experts("Mixtral", LOCAL),
    "mixtral-router": experts("Mixtral", LOCAL, "gate.weight", "experts.down_proj"),
    "mixtral-one-parameter": experts("Mixtral", LOCAL, "experts.gate_up_proj"),
    "mixtral-saved": Case(
        model="Mixtral", lora={"target_modules": ["q_proj"], "modules_to_save": ["experts"]}, config=LOCAL
    ),
    "qwen3-moe": experts("Qwen3Moe", QWEN),
    "qwen3-moe-patterns": experts(
        "Qwen3Moe", QWEN, lora={"rank_pattern": {"gate_up_proj": 2}, "alpha_pattern": {"down_proj": 3}}
    ),
    "qwen3-moe-rslora-bf16": experts("Qwen3Moe", QWEN, lora={"use_rslora": True}, base_dtype=BF16),
    "qwen2-moe-shared": experts("Qwen2Moe", QWEN | {"shared_expert_intermediate_size": 40}),
    "olmoe": experts("Olmoe", {"num_experts": 4}, "gate_up_proj", "down_proj"),
    "granitemoe": experts("GraniteMoe", LOCAL),
    "gpt-oss": experts("GptOss", GPT_OSS),
    "gpt-oss-square": experts("GptOss", GPT_OSS | {"intermediate_size": 32}),
    "gpt-oss-square-alone": experts("GptOss", GPT_OSS | {"intermediate_size": 32}, "experts.down_proj"),
    "jamba": experts(
        "Jamba",
        {
            "num_experts": 4,
            "attn_layer_offset": 0,
            "attn_layer_period": 1,
            "expert_layer_offset": 0,
            "expert_layer_period": 1,
            "use_mamba_kernels": False,
        },
    ),
    "nemotron-h": experts(
        "NemotronH",
        {
            "layers_block_type": ["attention", "moe"],
            "n_routed_experts": 4,
            "moe_intermediate_size": 24,
            "moe_shared_expert_intermediate_size": 24,
            "head_dim": 8,
        },
        "experts.up_proj",
        "experts.down_proj",
    ),
    # Scales
    "rslora": llama(use_rslora=True),
    "patterns": llama(rank_pattern={"q_proj": 2}, alpha_pattern={r"layers\.1\..*v_proj": 3}),
    "rslora-patterns": llama(use_rslora=True, rank_pattern={"q_proj": 2}, alpha_pattern={"q_proj": 3}),
    "layers_to_transform": llama(layers_to_transform=[1]),
    "exclude_modules": llama(target_modules="all-linear", exclude_modules=["q_proj"]),
    "mica": llama(init_lora_weights="mica"),
    # Orientation
    "fan_in_fan_out": gpt2(),
    "fan_in_fan_out-with-head": gpt2(target_modules=["c_proj", "lm_head"]),
    "fan_in_fan_out-dora": gpt2(use_dora=True),
    "fan_in_fan_out-bias": gpt2(bias="all"),
    "fan_in_fan_out-lora_bias": gpt2(lora_bias=True),
    # DoRA
    "dora": llama(use_dora=True),
    "dora-rslora": llama(target_modules="all-linear", use_dora=True, use_rslora=True),
    "dora-embedding": llama(target_modules=["embed_tokens", "q_proj"], use_dora=True),
    # Biases
    "bias-all": Case(lora={"target_modules": QV, "bias": "all"}, config={"attention_bias": True}),
    "bias-lora_only": Case(lora={"target_modules": QV, "bias": "lora_only"}, config={"attention_bias": True}),
    "lora_bias": Case(lora={"target_modules": QV, "lora_bias": True}, config={"attention_bias": True}),
    "bias-all-lora_bias": Case(
        lora={"target_modules": QV, "lora_bias": True, "bias": "all"}, config={"attention_bias": True}
    ),
    # Modules that are saved whole
    "saved-norms": llama(modules_to_save=["input_layernorm"]),
    "saved-mlp": llama(modules_to_save=["mlp"], target_modules=["q_proj", "down_proj"]),
    "saved-both": llama(modules_to_save=["embed_tokens", "lm_head"]),
    "saved-and-targeted": llama(modules_to_save=["lm_head"], target_modules=["q_proj", "lm_head"]),
    "saved-embedding-tied": tied(modules_to_save=["embed_tokens"]),
    "saved-head-tied": tied(modules_to_save=["lm_head"]),
    "saved-both-tied": tied(modules_to_save=["embed_tokens", "lm_head"]),
    "saved-stays-tied": tied(modules_to_save=["embed_tokens"], ensure_weight_tying=True),
    # Embeddings and heads
    "embedding-and-head": llama(target_modules=["embed_tokens", "lm_head", "q_proj"]),
    "embedding-tied": tied(target_modules=["embed_tokens", "q_proj"]),
    "head-tied": tied(target_modules=["lm_head", "q_proj"]),
    "both-tied": tied(target_modules=["embed_tokens", "lm_head", "q_proj"]),
    "both-kept-tied": tied(target_modules=["embed_tokens", "q_proj"], ensure_weight_tying=True),
    "both-kept-tied-dora": tied(target_modules=["embed_tokens", "q_proj"], ensure_weight_tying=True, use_dora=True),
    "embedding-and-saved-head-tied": tied(target_modules=["embed_tokens", "q_proj"], modules_to_save=["lm_head"]),
    "gpt2-embedding-tied": gpt2(target_modules=["wte", "c_attn"]),
    # Tokens
    "tokens": llama(trainable_token_indices=[9, 1, 5]),
    "tokens-by-module": llama(trainable_token_indices={"embed_tokens": [1, 5], "lm_head": [2]}),
    "tokens-tied": tied(trainable_token_indices=[9, 1, 5]),
    "tokens-tied-by-module": tied(trainable_token_indices={"embed_tokens": [1, 5], "lm_head": [1, 5]}),
    "tokens-tied-unlike": tied(trainable_token_indices={"embed_tokens": [1, 5], "lm_head": [2]}),
    "tokens-tied-of-the-head": tied(trainable_token_indices={"lm_head": [1, 5]}),
    "tokens-tied-below-a-lora": tied(target_modules=["q_proj", "lm_head"], trainable_token_indices=[1, 5]),
    # save_embedding_layers
    "saves-embeddings": Case(lora={"target_modules": QV}, saves_embeddings=True),
    "saves-embeddings-tied": Case(lora={"target_modules": QV}, config=TIED, saves_embeddings=True),
    "saves-embeddings-with-lora": Case(
        lora={"target_modules": ["q_proj", "embed_tokens", "lm_head"]}, saves_embeddings=True
    ),
    "saves-embeddings-with-saved": Case(
        lora={"target_modules": QV, "modules_to_save": ["embed_tokens"]}, saves_embeddings=True
    ),
    "saves-embeddings-with-tokens": Case(
        lora={"target_modules": QV, "trainable_token_indices": {"embed_tokens": [3]}},
        config=TIED,
        saves_embeddings=True,
    ),
    "saves-embeddings-kept-tied": Case(
        lora={"target_modules": QV, "modules_to_save": ["embed_tokens", "lm_head"], "ensure_weight_tying": True},
        config=TIED,
        saves_embeddings=True,
    ),
    # Resized vocabularies
    "larger": resized(70),
    "larger-tied": resized(70, TIED),
    "larger-saved": resized(70, modules_to_save=["embed_tokens", "lm_head"]),
    "smaller-saved": resized(50, modules_to_save=["embed_tokens", "lm_head"]),
    "larger-saved-embedding-tied": resized(70, TIED, modules_to_save=["embed_tokens"]),
    "larger-saved-head-tied": resized(70, TIED, modules_to_save=["lm_head"]),
    "larger-lora": resized(70, target_modules=["q_proj", "embed_tokens", "lm_head"]),
    "larger-embedding-tied": resized(70, TIED, target_modules=["q_proj", "embed_tokens"]),
    "larger-head-tied": resized(70, TIED, target_modules=["q_proj", "lm_head"]),
    "larger-tokens": resized(70, trainable_token_indices=[1, 66]),
    "larger-tokens-tied": resized(70, TIED, trainable_token_indices=[1, 66]),
    # Files
    "f32-f64": saved(F32, F64),
    "f16-f32": saved(F16, F32),
    "f16-f16": saved(F16, F16, shard="20KB"),
    "bf16-f32": saved(BF16, F32, shard="20KB"),
    "bf16-bf16": saved(BF16, BF16),
    "bf16-f16": saved(BF16, F16),
    "bf16-with-f32-layers": saved(BF16, F32, wide="down_proj"),
    "f32-sharded": saved(F32, F32, shard="20KB"),
    "bf16-dora": Case(lora={"target_modules": "all-linear", "use_dora": True}, base_dtype=BF16),
    "bf16-saved-tied": Case(
        lora={"target_modules": QV, "modules_to_save": ["lm_head"]}, config=TIED, base_dtype=BF16, shard="10KB"
    ),
    # Names in the files that are not those of the model
    "gpt2-without-prefix": Case(model="GPT2", lora=EVERYWHERE, on_disk=lambda name: name.removeprefix("transformer.")),
    "gpt2-without-prefix-head-tied": Case(
        model="GPT2",
        lora={"target_modules": ["c_attn", "lm_head"]},
        on_disk=lambda name: name.removeprefix("transformer."),
    ),
    "llama-without-prefix": Case(
        lora={"target_modules": QV, "modules_to_save": ["embed_tokens"]},
        config=TIED,
        on_disk=lambda name: name.removeprefix("model."),
    ),
}


class Made(Struct, frozen=True, kw_only=True):
    """Base and adapter on disk, and the adapted model in memory in the base's dtype."""

    base: Path
    adapter: Path
    model: Any

    @property
    def kind(self) -> Any:
        return type(self.model.get_base_model())

    def doubled(self) -> Any:
        """The adapted model in float64."""
        return copy.deepcopy(self.model).double().eval()


def make(case: Case, folder: Path) -> Made:
    import transformers
    from peft import LoraConfig

    torch.manual_seed(0)
    sizes = {"vocab_size": VOCABULARY, "n_embd": HIDDEN, "n_layer": 2, "n_head": 4, "bos_token_id": 1}
    sizes = sizes | {"eos_token_id": 2} if case.model == "GPT2" else SIZES
    kind = getattr(transformers, f"{case.model}{'LMHeadModel' if case.model == 'GPT2' else 'ForCausalLM'}")
    model = kind(getattr(transformers, f"{case.model}Config")(**sizes | dict(case.config)))
    for parameter in model.parameters():
        parameter.data.normal_(0, 0.2)
    with tiny.foreign_warnings():
        model.to(getattr(torch, case.base_dtype)).save_pretrained(folder / "base", max_shard_size=case.shard)
        rewrite(case, folder / "base")
        model = kind.from_pretrained(folder / "base", dtype=F32 if case.wide else "auto", **EAGER)
        if case.resized:
            model.resize_token_embeddings(case.resized, mean_resizing=False)
        lora = LoraConfig(**{"r": 4, "lora_alpha": 8, "task_type": "CAUSAL_LM"} | case.lora)
        adapted = trained(model, lora, case.adapter_dtype)
        adapted.save_pretrained(folder / "adapter", save_embedding_layers=case.saves_embeddings)
    return Made(base=folder / "base", adapter=folder / "adapter", model=adapted)


def trained(model: Any, lora: Any, dtype: str = F32) -> Any:
    """A model with an adapter whose every trained parameter was moved."""
    from peft import get_peft_model

    adapted = get_peft_model(model, lora)
    for module in adapted.modules():  # PEFT keeps views of tied adapters, of which there are no copies
        getattr(module, "kwargs", {}).pop("tied_adapter", None)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data = (torch.randn(parameter.shape) * 0.2).to(getattr(torch, dtype))
    return adapted.eval()


def rewrite(case: Case, folder: Path) -> None:
    """Give a base's tensors the names that they have on disk, and some of them another dtype."""
    if not (case.on_disk or case.wide):
        return
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    tensors = {(case.on_disk or str)(name): tensor for name, tensor in load_file(path).items()}
    save_file({n: t.float() if case.wide and case.wide in n else t for n, t in tensors.items()}, path, {"format": "pt"})


def written(weights: MergedWeights, folder: Path) -> Path:
    """A merged folder: the weights, and the configuration that goes with them."""
    folder.mkdir()
    write_merged([(weights, folder)])
    config = json.loads((weights.base.folder / "config.json").read_text(encoding="utf-8"))
    config = with_changes(config, weights.config_changes())
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def merged(made: Made, folder: Path) -> Any:
    """The merged model, as transformers loads it."""
    written(MergedWeights(open_checkpoint(made.base), read_adapter(made.adapter)), folder)
    with tiny.foreign_warnings():
        model, report = made.kind.from_pretrained(
            folder, dtype=next(made.model.parameters()).dtype, output_loading_info=True, **EAGER
        )
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    return model


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def test_merged_is_base_and_adapter(case: Case, tmp_path: Path) -> None:
    """The merged folder, loaded by transformers, has the logits of base + adapter, but for the rounding of
    its weights; and no changed tensor is further from the exact merge than PEFT's own."""
    made = make(case, tmp_path)
    loaded = merged(made, tmp_path / "merged")
    compare_logits(case, made, loaded)
    compare_tensors(case, made, loaded)


def compare_logits(case: Case, made: Made, loaded: Any) -> None:
    last = min(case.resized or VOCABULARY, VOCABULARY)
    ids = torch.tensor([[*range(0, last, 7), 9, 5, 3, *range(VOCABULARY, case.resized or 0)]])
    with torch.no_grad(), tiny.foreign_warnings():
        expected = made.doubled()(ids).logits
        got = copy.deepcopy(loaded).double().eval()(ids).logits
        before = made.kind.from_pretrained(made.base, dtype=F64, **EAGER).eval()(ids[ids < VOCABULARY][None]).logits
    assert got.shape == expected.shape
    size = expected.std()
    step = torch.finfo(getattr(torch, case.base_dtype)).eps
    assert (got - expected).abs().max() <= 20 * step * size
    seen, rows = before.shape[1], min(before.shape[2], expected.shape[2])
    moved = (expected[:, :seen, :rows] - before[..., :rows]).abs().max()
    assert moved > 40 * step * size, "the adapter changes too little to be seen"


def compare_tensors(case: Case, made: Made, loaded: Any) -> None:
    """PEFT merges into the one matrix of tied embeddings, so that theirs is no reference there."""
    with tiny.foreign_warnings():
        exact = made.doubled().merge_and_unload().state_dict()
        theirs = copy.deepcopy(made.model).merge_and_unload().state_dict()
    compared = 0
    for name, got in loaded.state_dict().items():
        shared = made.model.config.tie_word_embeddings and any(part in name for part in ("embed", "wte", "lm_head"))
        if shared or (case.wide and case.wide not in name):
            continue
        ours = (got.double() - exact[name]).abs().mean()
        # What is summed in float32 differs by its noise, which is below what is rounded off at the end.
        noise = 2.0**-25 * exact[name].abs().mean() if got.dtype == torch.float32 else 1e-4 * ours
        assert ours <= (theirs[name].double() - exact[name]).abs().mean() + noise, name
        compared += 1
    assert compared > 1


def test_head_that_the_base_has_not(tmp_path: Path) -> None:
    """A classifier that was trained beside the adapter is in the merged folder, and classifies as PEFT does."""
    from peft import LoraConfig
    from transformers import LlamaForSequenceClassification

    base = make(llama(), tmp_path).base
    with tiny.foreign_warnings():
        model = LlamaForSequenceClassification.from_pretrained(base, num_labels=3)
        adapted = trained(model, LoraConfig(r=4, lora_alpha=8, task_type="SEQ_CLS", target_modules=QV))
        adapted.save_pretrained(tmp_path / "classifier")
        weights = MergedWeights(open_checkpoint(base), read_adapter(tmp_path / "classifier"))
        loaded = LlamaForSequenceClassification.from_pretrained(written(weights, tmp_path / "merged"), num_labels=3)
        assert_same(loaded.eval()(IDS).logits, adapted(IDS).logits)
    assert weights.outputs["score.weight"].shape == (3, HIDDEN)
    assert weights.config_changes() == {}


def test_adapter_of_the_model_without_its_head(tmp_path: Path) -> None:
    """An adapter that was trained on the model without its head fits the base with one, by names without the prefix."""
    from peft import LoraConfig
    from transformers import LlamaForCausalLM, LlamaModel

    base = make(llama(), tmp_path).base
    with tiny.foreign_warnings():
        adapted = trained(LlamaModel.from_pretrained(base), LoraConfig(r=4, target_modules=QV))
        adapted.save_pretrained(tmp_path / "headless")
        weights = MergedWeights(open_checkpoint(base), read_adapter(tmp_path / "headless"))
        loaded = LlamaForCausalLM.from_pretrained(written(weights, tmp_path / "merged")).model
        assert_same(loaded.eval()(IDS).last_hidden_state, adapted(IDS).last_hidden_state)


def assert_same(got: Any, expected: Any) -> None:
    assert (got - expected).abs().max() < 1e-4 * expected.abs().max()


def test_language_model_of_a_multimodal_one(tmp_path: Path) -> None:
    """Where the files name the language model otherwise than transformers does, what was trained finds its tensors."""
    from peft import LoraConfig
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=8, patch_size=4
    )
    config = LlavaConfig(vision_config=vision, text_config=LlamaConfig(**SIZES), image_token_index=63)
    torch.manual_seed(0)
    with tiny.foreign_warnings():
        model = LlavaForConditionalGeneration(config)
        for parameter in model.parameters():
            parameter.data.normal_(0, 0.2)
        model.save_pretrained(tmp_path / "base")
        lora = LoraConfig(r=4, target_modules=r".*language_model.*q_proj|lm_head", modules_to_save=["linear_1"])
        adapted = trained(model, lora)
        adapted.save_pretrained(tmp_path / "adapter")
        weights = MergedWeights(open_checkpoint(tmp_path / "base"), read_adapter(tmp_path / "adapter"))
        loaded = LlavaForConditionalGeneration.from_pretrained(written(weights, tmp_path / "merged")).eval()
        assert_same(loaded(IDS).logits, adapted(IDS).logits)
    assert weights.outputs.keys() == weights.base.entries().keys()
    assert not set(read_adapter(tmp_path / "adapter").parameters) <= weights.outputs.keys()


@pytest.mark.parametrize(
    "lora",
    [
        {"target_modules": ["q_proj", "embed_tokens"]},
        {"target_modules": ["q_proj", "lm_head"]},
        {"target_modules": QV, "modules_to_save": ["lm_head"]},
        {"target_modules": QV, "trainable_token_indices": [1, 5]},
        {"target_modules": QV, "modules_to_save": ["embed_tokens"], "ensure_weight_tying": True},
    ],
    ids=["embedding", "head", "saved-head", "tokens", "kept-tied"],
)
def test_tied_base_that_has_both(lora: dict[str, Any], tmp_path: Path) -> None:
    """A tied base whose files hold the head, too, as converted ones do, is tied all the same."""
    from safetensors.torch import load_file, save_file

    made = make(Case(lora=lora, config=TIED), tmp_path)
    path = made.base / "model.safetensors"
    tensors = load_file(path)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, path, {"format": "pt"})
    compare_logits(Case(lora=lora, config=TIED), made, merged(made, tmp_path / "merged"))


def test_vocabulary_that_was_resized_and_not_saved(tmp_path: Path) -> None:
    """Where the vocabulary was resized and one side of it was not saved, there is no whole model."""
    made = make(
        Case(lora={"target_modules": QV, "modules_to_save": ["embed_tokens"]}, resized=70, saves_embeddings=False),
        tmp_path,
    )
    with pytest.raises(ReleaseError, match=r"model\.embed_tokens\.weight would have 70 rows and lm_head\.weight"):
        MergedWeights(open_checkpoint(made.base), read_adapter(made.adapter))
