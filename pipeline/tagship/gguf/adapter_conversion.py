"""A LoRA adapter into a GGUF that llama.cpp loads beside a GGUF of its base.

llama.cpp's converter decides names and order, and what is done to weights; it is given each change of low rank in place
of the weight that it changes. llama.cpp scales every tensor by alpha, of which there is one in the file, over the
tensor's own rank: where an adapter's scales are others, B has the difference.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tagship.gguf import ggml
from tagship.gguf.conversion import GgufMetadata
from tagship.gguf.factored import FactoredTensor, NotFactored
from tagship.gguf.failures import converter_errors, left_out
from tagship.gguf.llama_cpp import class_for, import_converter, remote_code
from tagship.gguf.writer import write_tensors
from tagship.system.errors import ReleaseError
from tagship.system.files import write_json
from tagship.system.progress import Advance
from tagship.weights.changes import LowRank
from tagship.weights.merge import MergedWeights
from tagship.weights.merged_rows import AdapterTensors
from tagship.weights.safetensors import TensorEntry

ADAPTER_QUANTS = {"f16": "MOSTLY_F16", "bf16": "MOSTLY_BF16", "f32": "ALL_F32", "q8_0": "MOSTLY_Q8_0"}
"""The types that an adapter may have, with the converter's names for them."""

# The first number that is infinite in float16, which also holds the scales of q8_0's blocks, of 127 steps.
_OVERFLOWS = {"f16": 65520.0, "q8_0": 65520.0}
# What llama.cpp b11434 multiplies with without looking for an adapter (ggml_mul_mat in src/models): attention with
# latent keys and values, and recurrent parts; and by architecture, what only some of them do so with.
_NOT_LOOKED_FOR = re.compile(
    r"\.(?:attn_(?:q_a|q_b|kv_a_mqa|kv_b|k_b|v_b)|time_mix_\w+|ssm_(?:beta|f_a|f_b|g|g_a|g_b))\.weight$"
)
_PASSED_OVER_THERE = {
    "bailingmoe3": ("attn_output", "attn_q", "output"),
    "deepseek2": ("attn_q", "output"),
    "deepseek32": ("output",),
    "glm-dsa": ("output",),
    "kimi-linear": ("attn_output", "attn_q", "attn_qkv", "output"),
    "plm": ("attn_q",),
}
# Where only the converter's part is done.
_ANY_QUANT = "f16"


def write_adapter(
    weights: MergedWeights,
    model: Path,
    targets: Mapping[str, Path],
    metadata: GgufMetadata,
    advance: Advance,
    *,
    trust_remote_code: bool = False,
) -> dict[Path, str]:
    """Write GGUFs of an adapter, one for each type of ADAPTER_QUANTS in `targets`; those that are there are kept.
    Returns the SHA-256, in hexadecimal, of the others.

    `weights` are base + adapter, of which every change must be a LowRank of a matrix. `model` is a folder of ours with
    the base's configuration, without weights. `advance` counts the bytes that are read, for each file the adapter's.
    One tensor is in memory at a time. Raises ToolError when llama.cpp cannot convert the model, ReleaseError when it
    does not know the architecture, does something to a weight that a pair of matrices does not follow, or would leave
    out what the adapter changes.
    """
    import_converter()
    import torch

    digests: dict[Path, str] = {}
    for quant, target in targets.items():
        if target.exists():
            advance(weights.adapter.weights.size)
            continue
        with torch.inference_mode(), remote_code(trust_remote_code):
            writing = _prepared(weights, model, target, quant, metadata, advance)
            digests |= write_tensors([writing], weights, {}, ggml.encode, None, advance)[1]
    return digests


def try_adapter(
    weights: MergedWeights, model: Path, metadata: GgufMetadata, *, trust_remote_code: bool = False
) -> None:
    """Have the converter do all that it does before numbers are read; raises what `write_adapter` would."""
    import_converter()
    import torch

    with torch.inference_mode(), remote_code(trust_remote_code):
        _prepared(weights, model, model / "tried.gguf", _ANY_QUANT, metadata, lambda _: None)


def low_rank(weights: MergedWeights) -> dict[str, LowRank]:
    """The changes of low rank by the names of the base's weights."""
    changed = {name: output.changes for name, output in weights.outputs.items() if name in weights.changed}
    return {name: made for name, changes in changed.items() for made in changes if isinstance(made, LowRank)}


def alpha_of(changes: Mapping[str, LowRank]) -> float:
    """The alpha of the file: that by which most changes have the scale that they were trained with. It is never 0,
    which llama.cpp takes for a scale of 1."""
    wanted = Counter(alpha for change in changes.values() if (alpha := _own_alpha(change)))
    return wanted.most_common(1)[0][0] if wanted else 1.0


def _own_alpha(change: LowRank) -> float:
    """In the precision of the file."""
    return float(np.float32(change.scale * change.a.shape[0]))


class _Factors:
    """A change of low rank as the converter gets it: A and B are read when they are written, and checked."""

    def __init__(self, weights: MergedWeights, alpha: float, quant: str, advance: Advance) -> None:
        self._header, self._checks = weights.adapter.weights, AdapterTensors(weights.adapter)
        self._alpha, self._quant, self._advance = alpha, quant, advance

    def of(self, change: LowRank) -> FactoredTensor:
        """As the base has the weight: where that is transposed, so is the product."""
        a = self._lazy(change.a, 1.0)
        b = self._lazy(change.b, _own_alpha(change) / self._alpha)
        tensor = FactoredTensor(a, b)
        return tensor.T if change.transposed else tensor

    def _lazy(self, entry: TensorEntry, factor: float) -> Any:
        import torch
        from conversion.base import LazyTorchTensor

        stored = LazyTorchTensor._dtype_str_map[entry.dtype]
        dtype = stored if factor == 1 else torch.float32

        def compute(_: str) -> Any:
            values = self._header.read(entry.name)
            floats = values.astype(np.float32, copy=False)
            self._checks.check(entry.name, values, floats)
            self._advance(entry.nbytes)
            scaled = floats if factor == 1 else floats * np.float32(factor)
            self._check_range(entry.name, scaled)
            made = values if factor == 1 else scaled
            return torch.from_numpy(made.reshape(-1).view(np.uint8)).view(dtype).reshape(entry.shape)

        meta = LazyTorchTensor.meta_with_dtype_and_shape(dtype, entry.shape)
        return LazyTorchTensor(meta=meta, args=(entry.name,), func=compute)

    def _check_range(self, name: str, values: Any) -> None:
        if values.size and np.abs(values).max() >= _OVERFLOWS.get(self._quant, np.inf):
            raise ReleaseError(
                f"{name} of the adapter has numbers that float16 does not hold", remedy="export it as bf16 or f32"
            )


def _prepared(
    weights: MergedWeights, model: Path, target: Path, quant: str, metadata: GgufMetadata, advance: Advance
) -> Any:
    """The converter's model of an adapter, with every tensor known and none read."""
    import gguf

    low = low_rank(weights)
    alpha = alpha_of(low)
    factors = _Factors(weights, alpha, quant, advance)
    tensors = {name: factors.of(change) for name, change in low.items()}
    override = model / "gguf_metadata.json"
    write_json(override, metadata.general_of(quant))
    emitted: dict[str, FactoredTensor] = {}
    with converter_errors(str(metadata.general.get("general.name", model.name))):
        file_type = gguf.LlamaFileType[ADAPTER_QUANTS[quant]]
        known = class_for(model, file_type, target)
        adapted = type(f"Adapter{known.__name__}", (known,), _overrides(known, tensors, alpha, emitted))
        writing = adapted(model, file_type, target, metadata_override=override)
        writing.prepare_tensors()
        _check_whole(low, emitted)
        _check_applied(emitted, writing.gguf_writer.arch)
        emitted.clear()  # each would keep what is computed of it
        writing.prepare_metadata(vocab_only=False)
    known_keys = writing.gguf_writer.kv_data[0]
    known_keys.pop(gguf.Keys.General.LICENSE, None)
    writing.gguf_writer.add_license(metadata.license)
    return writing


def _overrides(
    known: Any, tensors: Mapping[str, FactoredTensor], alpha: float, emitted: dict[str, FactoredTensor]
) -> dict[str, Any]:
    """Where a subclass of the converter's model differs: its tensors are an adapter's, of which those that it gives are
    noted, and it has no vocabulary and no more metadata than llama.cpp asks an adapter for."""
    import gguf

    def get_tensors(self: Any) -> Iterator[tuple[str, Any]]:
        for name, tensor in tensors.items():
            if kept := self.filter_tensors((name, lambda: tensor)):  # noqa: B023, it is not kept
                yield kept[0], tensor

    def modify_tensors(self: Any, data_torch: Any, name: str, bid: int | None) -> Iterator[tuple[str, Any]]:
        try:
            made = list(known.modify_tensors(self, data_torch, name, bid))
        except NotFactored as error:
            raise ReleaseError(
                f"llama.cpp cannot apply what the adapter changes in {name}: {error}",
                remedy="release merged weights instead (vllm, ollama), and leave the format out",
            ) from error
        for new_name, tensor in made:
            emitted[new_name] = tensor
            yield f"{new_name}.lora_a", tensor.a
            yield f"{new_name}.lora_b", tensor.b

    def set_type(self: Any) -> None:
        self.gguf_writer.add_type(gguf.GGUFType.ADAPTER)
        self.gguf_writer.add_string(gguf.Keys.Adapter.TYPE, "lora")

    def set_gguf_parameters(self: Any) -> None:
        self.gguf_writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)

    return {
        "model_arch": known.model_arch,
        "index_tensors": lambda self, remote_hf_model_id=None: {},
        "get_tensors": get_tensors,
        "modify_tensors": modify_tensors,
        "generate_extra_tensors": lambda self: (),
        "set_vocab": lambda self: None,
        "set_type": set_type,
        "set_gguf_parameters": set_gguf_parameters,
    }


def _check_whole(changes: Mapping[str, LowRank], emitted: Mapping[str, FactoredTensor]) -> None:
    """Raise ReleaseError where a change is in no tensor of the GGUF."""
    held: set[str] = set()
    for tensor in emitted.values():
        held |= _read_for(tensor.a) | _read_for(tensor.b)
    if left := {name for name, change in changes.items() if not {change.a.name, change.b.name} <= held}:
        raise left_out(left, sees=False)


def _read_for(tensor: Any) -> set[str]:
    """The adapter's tensors that a lazy one is made of, by name."""
    found: set[str] = set()
    due, seen = [tensor], set()
    while due:
        each = due.pop()
        if isinstance(each, str):
            found.add(each)
        elif isinstance(each, list | tuple):
            due += each
        elif id(each) not in seen and hasattr(each, "_args"):
            seen.add(id(each))
            due += each._args
    return found


def _check_applied(names: Iterable[str], architecture: str) -> None:
    """Raise ReleaseError for tensors whose adapters llama.cpp would load and pass over."""
    there = _PASSED_OVER_THERE.get(architecture, ())
    leaves = {name: name.removesuffix(".weight").rpartition(".")[2] for name in names}
    if found := [name for name, leaf in leaves.items() if _NOT_LOOKED_FOR.search(name) or leaf in there]:
        first, *more = sorted(found)
        raise ReleaseError(
            f"llama.cpp passes over what an adapter changes in {first}" + (f" and {len(more)} more" if more else ""),
            remedy="release merged weights instead (vllm, ollama), and leave the format out",
        )
