"""Models whose files were sent on, in the forward pass of transformers."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

from tagship.verify.questions import Tokens  # noqa: E402
from tagship.verify.runtimes import transformers as runtime  # noqa: E402
from tagship.verify.runtimes.protocol import Ingredients, Subject  # noqa: E402
from tagship.weights.checkpoint import open_checkpoint  # noqa: E402
from tagship.weights.lora import read_adapter  # noqa: E402
from tagship.weights.merge import MergedWeights  # noqa: E402
from tagship.weights.merge_writer import write_merged  # noqa: E402
from tagship.weights.remade import let_go  # noqa: E402

from tests import tiny  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::RuntimeWarning"),
]
IDS = tuple(range(5, 40))
# Of each kind the adapter changes something else: fused matrices, both ends of the vocabulary, experts that
# transformers stacks, matrices that are stored transposed.
KINDS: dict[str, tuple[Callable[..., Path], dict[str, Any]]] = {
    "phi3": (tiny.phi3, {"target_modules": ["qkv_proj", "down_proj"]}),
    "embedding": (tiny.llama, {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"]}),
    "mixtral": (tiny.mixtral, {"target_modules": ["q_proj", "v_proj"]}),
    "experts": (tiny.mixtral, {"target_modules": ["q_proj"], "target_parameters": ["experts.gate_up_proj"]}),
    "gpt2": (tiny.gpt2, {"target_modules": ["c_attn", "c_fc"], "fan_in_fan_out": True}),
}


def logits(folder: Path, **more: Any) -> np.ndarray:
    """What the runtime gives along some tokens."""
    model = runtime.RUNTIME.load(Subject(what="it", model=folder, **more))
    try:
        return np.concatenate(list(model.rows([Tokens(ids=IDS, since=1)])))
    finally:
        model.close()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_computed(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the headers of its files alone a model computes, to the bit, what it computes with the files,
    loaded as a whole and module by module."""
    make, lora = KINDS[kind]
    base = tiny.tokenizer(make(tmp_path / "base"))
    adapter = tiny.adapter(base, tmp_path / "adapter", **lora)
    weights, made = MergedWeights(open_checkpoint(base), read_adapter(adapter)), tmp_path / "made"
    shutil.copytree(base, made, ignore=shutil.ignore_patterns("*.safetensors*"))
    write_merged([(weights, made)])
    tiny.edit_json(made / "config.json", **weights.config_changes())
    expected = {}
    for small in (1 << 30, 0):
        monkeypatch.setattr(runtime, "_SMALL", small)
        expected[small] = logits(made)
    for path in made.glob("*.safetensors"):
        let_go(path)
    for small in expected:
        monkeypatch.setattr(runtime, "_SMALL", small)
        assert not np.array_equal(logits(made), expected[small])
        again = logits(made, made_of=Ingredients(base=base, adapter=adapter))
        np.testing.assert_array_equal(again, expected[small])
