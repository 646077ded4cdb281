"""How large a GGUF is foreseen to be: what plan and gates say of it, against the files that are made."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tagship.formats.model_folder import open_weights
from tagship.formats.ollama.export import mix_of
from tagship.formats.ollama.format import FORMAT
from tagship.formats.ollama.settings import OllamaSettings
from tagship.formats.ollama.size import gguf_size
from tagship.gguf.header import read_gguf_header
from tagship.gguf.layout import foreseen_size, foreseen_tensors
from tagship.gguf.quant_mix import Mix
from tagship.gguf.tensor_choices import TensorChoice
from tagship.system.json_files import read_object

from tests import tiny
from tests.formats import jobs

CHOICES = ((None, TensorChoice("ffn_down", "F32")), ("q4_k_m", TensorChoice("^token_embd", "F16")))
MODELS = {
    "phi3": (lambda folder: tiny.phi3(folder, hidden=256), {}),
    "llama": (lambda folder: tiny.llama(folder), {}),
    "mixtral": (lambda folder: tiny.mixtral(folder), {"target_modules": ["q_proj", "v_proj"]}),
}


def job_of(folder: Path, model: Callable[[Path], Path], quant: str, **lora: Any) -> Any:
    base = tiny.tokenizer(model(folder / "base"))
    run = tiny.adapter(base, folder / "run", **lora)
    settings = OllamaSettings(quants=(quant,), template=None, imatrix=None, tensors=CHOICES)
    return jobs.job_of(base, run, variant=FORMAT.variants(settings, ())[0], settings=settings)


@pytest.mark.slow
@pytest.mark.parametrize("model", list(MODELS))
@pytest.mark.parametrize("quant", ["q4_k_m", "q2_k", "f16"])
def test_as_it_is_made(tmp_path: Path, model: str, quant: str) -> None:
    """Names, types and sizes of the tensors are those of the file that is made, with what was chosen for them; the
    whole file is no larger than was said."""
    pytest.importorskip("conversion")
    pytest.importorskip("xllamacpp")
    make, lora = MODELS[model]
    job = job_of(tmp_path, make, quant, **lora)
    weights = open_weights(job)
    tensors = foreseen_tensors({name: output.shape for name, output in weights.outputs.items()})
    assert tensors is not None
    size = foreseen_size(tensors, mix_of(job), read_object(job.base.path / "config.json"), imatrix=False)
    (tmp_path / "export").mkdir()
    FORMAT.export([(job, tmp_path / "export")], lambda _: None)
    (file,) = (tmp_path / "export").glob("*.gguf")
    header = read_gguf_header(file)
    matrices = {tensor.name: tensor.shape for tensor in tensors if len(tensor.shape) > 1}
    made = {tensor.name: tensor.shape[::-1] for tensor in header.tensors if len(tensor.shape) > 1}
    assert {name: tuple(shape) for name, shape in matrices.items()} == {k: tuple(v) for k, v in made.items()}
    assert size - 128 * len(tensors) == file.stat().st_size - header.data_start
    assert file.stat().st_size <= gguf_size(job, weights) == FORMAT.footprint(job).disk


def test_by_what_is_chosen(tmp_path: Path) -> None:
    """More bits for a tensor are more bytes, by just as many as it has numbers."""
    job = job_of(tmp_path, MODELS["phi3"][0], "q4_k_m")
    weights = open_weights(job)
    plain = replace(job, settings=replace(job.settings, tensors=CHOICES[1:]))
    downs = [output for name, output in weights.outputs.items() if "down_proj" in name]
    more = gguf_size(job, weights) - gguf_size(plain, weights)
    elements = sum(output.source.entry.elements for output in downs)
    assert elements * 3 < more < elements * 4


def test_text_of_a_model_that_sees() -> None:
    """Its numbers of layers and heads stand in a configuration of their own."""
    shapes = {f"model.layers.{layer}.self_attn.v_proj.weight": (256, 256) for layer in range(8)}
    tensors = foreseen_tensors(shapes)
    assert tensors is not None
    numbers = {"num_hidden_layers": 8, "num_attention_heads": 8, "num_key_value_heads": 1}
    mix = Mix(quant="q2_k")
    apart = foreseen_size(tensors, mix, {"model_type": "a", "text_config": numbers}, imatrix=False)
    assert apart == foreseen_size(tensors, mix, {"model_type": "a", **numbers}, imatrix=False)
    assert apart > foreseen_size(tensors, mix, {"model_type": "a"}, imatrix=False)


def test_names_that_are_not_known() -> None:
    """Nothing is foreseen of a model with a matrix that the converter may call, divide or stack as it likes."""
    assert foreseen_tensors({"model.layers.0.self_attn.kv_b_proj.weight": (4, 4)}) is None
    assert foreseen_tensors({"model.layers.0.mlp.experts.down_proj": (4, 4, 4)}) is None
    assert foreseen_tensors({"transformer.h.0.attn.c_attn.weight": (4, 4)}) is None
