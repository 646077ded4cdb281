"""Models that compute in float32 with weights of 16 bits."""

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

from tagship.verify.runtimes.streaming import stream  # noqa: E402
from tagship.weights import products  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::RuntimeWarning"),
]

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 96}
MODELS = {
    "llama": ("LlamaConfig", SIZES | {"num_key_value_heads": 2}),
    "qwen3": ("Qwen3Config", SIZES | {"num_key_value_heads": 2, "head_dim": 8, "tie_word_embeddings": True}),
    "gemma2": ("Gemma2Config", SIZES | {"num_key_value_heads": 2, "head_dim": 8}),
    "phi3": ("Phi3Config", SIZES | {"pad_token_id": 0}),
    "gpt2": ("GPT2Config", {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 96}),
    "mixtral": ("MixtralConfig", SIZES | {"num_key_value_heads": 2, "num_local_experts": 4}),
    "olmoe": ("OlmoeConfig", SIZES | {"num_experts": 4, "num_experts_per_tok": 2}),
}
# Whose experts PEFT adapts as parameters.
ADDED_TO_PARAMETERS = ("olmoe",)
TRAINED = r".*(q_proj|v_proj|qkv_proj|down_proj|c_attn|lm_head)"


def saved(name: str, folder: Path) -> Path:
    """A model of 16 bits on the disk."""
    config, sizes = MODELS[name]
    torch.manual_seed(1)
    model = transformers.AutoModelForCausalLM.from_config(getattr(transformers, config)(**sizes))
    model.to(torch.bfloat16).save_pretrained(folder)
    return folder


def adapted(model: Any, folder: Path) -> Any:
    """The model with an adapter, the same for each that is given the same folder."""
    if not folder.exists():
        torch.manual_seed(2)
        made = peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules=TRAINED, init_lora_weights=False))
        made.save_pretrained(folder)
        model = made.unload()
    return peft.PeftModel.from_pretrained(model, folder)


@pytest.fixture(params=[True, False], ids=["as they are", "cast"])
def products_or_not(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What multiplies bfloat16 as it is, where the processor has it, and a machine that has not."""
    if request.param and not products.can_multiply():
        pytest.skip("there is no loop for this processor, or nothing was compiled")
    monkeypatch.setattr(products, "can_multiply", lambda: request.param)


@pytest.mark.usefixtures("products_or_not")
@pytest.mark.parametrize("with_adapter", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_same_logits_as_in_float32(tmp_path: Path, name: str, with_adapter: bool) -> None:
    """They are those of the model that was loaded in float32, up to the order of sums; the weights stay as they are."""
    folder = saved(name, tmp_path / "model")
    ids = torch.randint(1, 95, (1, 12), generator=torch.Generator().manual_seed(3))
    made = []
    for dtype in ("float32", "auto"):
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
        if with_adapter:
            model = adapted(model, tmp_path / "adapter")
        model.eval()
        if dtype == "auto":
            before = {key: value.clone() for key, value in model.state_dict().items()}
            assert stream(model) == (name not in ADDED_TO_PARAMETERS or not with_adapter)
            assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
        with torch.inference_mode():
            made.append(model(input_ids=ids).logits)
    if with_adapter and name in ADDED_TO_PARAMETERS:
        return
    assert made[1].dtype == torch.float32
    assert torch.allclose(made[0], made[1], atol=1e-4, rtol=1e-4)


def test_head_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A matrix that is cast block by block gives the same."""
    monkeypatch.setattr(products, "can_multiply", lambda: False)
    monkeypatch.setattr("tagship.verify.runtimes.streaming._BLOCK", 7 * 4 * 32)
    test_same_logits_as_in_float32(tmp_path, "llama", with_adapter=True)


def test_weights_that_others_use(tmp_path: Path) -> None:
    """A model that reads a weight of another module ends with an error: two dtypes meet."""

    class Odd(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = torch.nn.Embedding(8, 4, dtype=torch.bfloat16)
            self.other = torch.nn.Linear(4, 8, dtype=torch.bfloat16)

        def forward(self, input_ids: Any, use_cache: bool = False) -> Any:
            made = torch.nn.functional.linear(self.embedding(input_ids), self.other.weight)
            return transformers.modeling_outputs.CausalLMOutput(logits=made)

    odd = Odd()
    assert stream(odd)
    with pytest.raises(RuntimeError, match="dtype"):
        odd(torch.ones((1, 2), dtype=torch.long))
