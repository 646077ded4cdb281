"""Adapters that PEFT loads without effect, by names and shapes of their tensors; each is refused by what wrote it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tagship.system.errors import ReleaseError
from tagship.weights.lora import read_weights

from tests import tiny

ATTENTION = "base_model.model.model.layers.0.self_attn"
A, B = f"{ATTENTION}.q_proj.lora_A.weight", f"{ATTENTION}.q_proj.lora_B.weight"
ONES = np.ones((4, 4), np.float32)

Rename = Callable[[str], str]


def written(folder: Path, tensors: dict[str, np.ndarray[Any, Any]]) -> Path:
    tiny.write_tensors(folder / "adapter_model.safetensors", tensors)
    return folder


def refused(folder: Path) -> ReleaseError:
    with pytest.raises(ReleaseError) as caught:
        read_weights(folder)
    assert caught.value.remedy
    return caught.value


@pytest.mark.parametrize(
    ("rename", "words", "remedy"),
    [
        (lambda name: name.replace(".weight", ".default.weight"), "the name of the adapter", "cut .default"),
        (lambda name: name.replace("_A.", "_A.chat."), "the name of the adapter", "cut .chat"),
        (lambda name: name.removeprefix("base_model.model."), "do not begin with base_model.model.", "put base_model."),
        (lambda name: "module." + name, "do not begin with base_model.model.", "save_pretrained"),
        (lambda name: name.replace(".self", "._fsdp_wrapped_module.self"), "the wrapper of FSDP", "trainer.save_model"),
        (lambda name: name.replace(".0.", ".0._checkpoint_wrapped_module."), "activation checkpointing", "unwrapped"),
        (
            lambda name: name.replace("model.model", "model._orig_mod.model"),
            "the wrapper of torch.compile",
            "cut ._orig",
        ),
    ],
)
def test_names_that_peft_passes_over(tmp_path: Path, rename: Rename, words: str, remedy: str) -> None:
    """Names as a state dict has them, of a wrapped model or of one without PEFT, are told by what wrote them, with a
    tensor that has such a name."""
    error = refused(written(tmp_path, {rename(name): ONES for name in (A, B)}))
    assert "adapter_model.safetensors has names that PEFT passes over" in str(error) and words in str(error)
    assert rename(A) in str(error)
    assert remedy in str(error.remedy)


def test_one_wrong_name(tmp_path: Path) -> None:
    """One tensor that is passed over among others is enough."""
    odd = B.replace(".weight", ".default.weight")
    assert str(refused(written(tmp_path, {A: ONES, B: ONES, odd: ONES}))).endswith(odd)


@pytest.mark.parametrize(
    "name",
    [
        f"{ATTENTION}.q_proj.lora_magnitude_vector",
        f"{ATTENTION}.q_proj.lora_magnitude_vector.weight",
        f"{ATTENTION}.q_proj.lora_B.bias",
        "base_model.model.model.embed_tokens.lora_embedding_A",
        "base_model.model.model.layers.0.mlp.experts.base_layer.lora_A.weight",
        "base_model.model.lm_head.weight",
        "base_model.model.default.q_proj.lora_A.weight",
    ],
)
def test_names_of_peft(tmp_path: Path, name: str) -> None:
    """What PEFT writes is no such name."""
    assert name in read_weights(written(tmp_path, {A: ONES, B: ONES, name: ONES})).tensors


def test_file_without_tensors(tmp_path: Path) -> None:
    """A file of no tensors, as ZeRO-3 leaves it, is refused with the way to gather them."""
    error = refused(written(tmp_path, {}))
    assert "has no tensors" in str(error) and "ZeRO-3" in str(error.remedy)


def test_tensors_without_numbers(tmp_path: Path) -> None:
    """So are tensors of size zero, among others too."""
    error = refused(written(tmp_path, {A: ONES, B: np.zeros(0, np.float32)}))
    assert str(error).endswith(f"tensors without numbers, so that the adapter does nothing: {B}")
    assert "gather" in str(error.remedy)
