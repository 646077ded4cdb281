"""Base + adapter into a GGUF file in one pass: no merged copy and no f16 GGUF touches the disk.

llama.cpp's converter decides names, shapes, order and metadata. Its tensors are lazy, so it is
given merged ones that are computed when they are written; each is then encoded by ggml.
"""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from tagship.gguf import ggml, k_quants
from tagship.gguf.failures import converter_errors
from tagship.gguf.imatrix import Imatrix
from tagship.gguf.llama_cpp import class_for, import_converter, remote_code
from tagship.gguf.merged_tensors import MergedTensors
from tagship.gguf.quant_mix import QUANTS, GgufTensor, Mix, ModelFacts, needs_importance, tensor_types
from tagship.gguf.tensor_categories import may_be_quantized
from tagship.gguf.tensor_choices import check_patterns
from tagship.gguf.writer import Encode, no_importance, write_tensors
from tagship.system.files import write_json
from tagship.system.json_files import read_object
from tagship.system.progress import Advance
from tagship.weights.merge import MergedWeights

# The converter's output type that keeps a base of this dtype as it is.
_SOURCE_TYPES = {"BF16": "MOSTLY_BF16", "F16": "MOSTLY_F16"}

# Where only the converter's part is done, one type is as good as any.
_ANY_QUANT = "f32"


class GgufMetadata(Struct, frozen=True, kw_only=True):
    """What the file says of itself: `general.…` keys by name, its license, and whether the runtime
    is to put the token that begins a text, or a space, before a prompt (None: as the converter says). `pages` are where
    each quantization type will be, as far as that is known."""

    general: Mapping[str, Any]
    license: str
    add_bos: bool | None = None
    space_prefix: bool | None = None
    pages: Mapping[str, str] = field(default_factory=dict)

    def general_of(self, quant: str) -> dict[str, Any]:
        """The keys of one quantization type."""
        page = self.pages.get(quant)
        return {**self.general, **({"general.repo_url": page} if page else {})}


def write_ggufs(
    weights: MergedWeights,
    model: Path,
    targets: Mapping[str, Path],
    metadata: GgufMetadata,
    advance: Advance,
    *,
    mixes: Mapping[str, Mix] | None = None,
    max_shard: int | None = None,
    imatrix: Imatrix | None = None,
    encode: Encode | None = None,
    trust_remote_code: bool = False,
) -> dict[Path, str]:
    """Write GGUFs of base + adapter, one for each quantization type, reading and merging but once; returns the SHA-256,
    in hexadecimal, of those that were written now.

    `targets` are files by quantization type, or by what else is the key of one of `mixes`; one with tensors of more
    than `max_shard` bytes is divided into files whose names end in `-00001-of-00002.gguf` and so on. Those that are
    there are kept. `model` is a folder of ours with the configuration, the tokenizer and links to the base's weights;
    code in it is run only where `trust_remote_code` says so. `imatrix` weighs what is
    lost, `encode` is what encodes rows without one (None: ggml, or what writes the same more quickly). `advance`
    counts bytes of encoded tensors. Raises ToolError when llama.cpp cannot convert the model,
    ReleaseError when it does not know the architecture, or a GGUF would lack what the adapter changes.
    """
    import_converter()
    import torch

    merged = MergedTensors(weights, sees=_sees(model))
    with torch.inference_mode(), remote_code(trust_remote_code):
        with converter_errors(_title(metadata, model)):
            writings = _prepare_all(merged, model, targets, metadata)
            for writing, quant in zip(writings, targets, strict=True):
                mix = (mixes or {}).get(quant) or Mix(quant=quant)
                _set_metadata(writing, mix.quant, metadata, imatrix)
                _check_mix(writing, mix, imatrix is not None)
                _set_types(writing, mix, imatrix is not None)
                if max_shard is not None:
                    _divide(writing.gguf_writer, max_shard)
        encode = encode or k_quants.encode
        every, digests = write_tensors(writings, weights, merged.streamed, encode, imatrix, advance)
    if every:
        written = {name for held in writings[0].gguf_writer.tensors for name in held}
        streamed = {held for name, names in merged.streamed.items() if name in written for held in names}
        merged.check(merged.computed | streamed)
    return digests


def try_conversion(
    weights: MergedWeights,
    model: Path,
    metadata: GgufMetadata,
    *,
    mixes: Sequence[Mix] = (),
    imatrix: bool = False,
    trust_remote_code: bool = False,
) -> None:
    """Have the converter do all that it does before weights are read: find a place for each tensor, read the tokenizer
    and the configuration. Writes nothing but into `model`; raises what `write_ggufs` would, and ReleaseError for what
    `mixes` choose of tensors that are not there, or need an `imatrix` for and there will be none."""
    import_converter()
    import torch

    merged = MergedTensors(weights, sees=_sees(model))
    with (
        torch.inference_mode(),
        remote_code(trust_remote_code),
        converter_errors(_title(metadata, model)),
    ):
        (writing,) = _prepare_all(merged, model, {_ANY_QUANT: model / "tried.gguf"}, metadata)
        _set_metadata(writing, _ANY_QUANT, metadata, None)
    for mix in mixes:
        _check_mix(writing, mix, imatrix)


def _sees(model: Path) -> bool:
    """Whether a model has parts that see or hear."""
    config = read_object(model / "config.json")
    return any(config.get(part) for part in ("vision_config", "audio_config"))


def _title(metadata: GgufMetadata, model: Path) -> str:
    return str(metadata.general.get("general.name", model.name))


def _prepare_all(merged: MergedTensors, model: Path, targets: Mapping[str, Path], metadata: GgufMetadata) -> list[Any]:
    writings = []
    for quant, target in targets.items():
        override = model / f"gguf_metadata_{quant}.json"
        write_json(override, metadata.general_of(quant))
        writings.append(_prepare(merged, model, target, override))
    return writings


def _prepare(merged: MergedTensors, model: Path, target: Path, override: Path) -> Any:
    """The converter's model, with every tensor known and none computed."""
    import gguf

    source_type = gguf.LlamaFileType[_SOURCE_TYPES.get(merged.weights.main_dtype, "ALL_F32")]
    known = class_for(model, source_type, target)
    streaming = type(f"Merged{known.__name__}", (known,), _overrides(known, merged))
    writing = streaming(model, source_type, target, metadata_override=override)
    writing.prepare_tensors()
    merged.handed.clear()  # each would keep what is computed of it
    merged.check(merged.taken)
    return writing


def _overrides(known: Any, merged: MergedTensors) -> dict[str, Any]:
    """Where a subclass of the converter's model differs: its tensors come merged, and what will
    be quantized comes in float32."""
    import gguf

    def filter_tensors(cls: Any, item: tuple[str, Callable[[], Any]]) -> Any:
        name, generate = item
        generate = merged.generator(name) or generate
        kept = known.filter_tensors.__func__(cls, (name, generate))
        if kept and kept[1] is generate:  # under another name, perhaps
            merged.known_as[kept[0]] = name
        return kept

    def modify_tensors(self: Any, data_torch: Any, name: str, bid: int | None) -> Any:
        if name in merged.known_as:
            merged.handed[id(data_torch)] = data_torch, merged.known_as[name]
        for new_name, tensor in known.modify_tensors(self, data_torch, name, bid):
            if sources := merged.sources_of(tensor):
                merged.streamed[new_name] = sources
            yield new_name, tensor

    def index_tensors(self: Any, remote_hf_model_id: str | None = None) -> dict[str, Callable[[], Any]]:
        tensors: dict[str, Callable[[], Any]] = known.index_tensors(self, remote_hf_model_id)
        for name in merged.added:  # those that no file of the base has
            if item := self.filter_tensors((name, lambda: None)):
                tensors[item[0]] = item[1]
        return tensors

    def tensor_force_quant(self: Any, name: str, new_name: str, bid: int | None, n_dims: int) -> Any:
        forced = known.tensor_force_quant(self, name, new_name, bid, n_dims)
        if forced is False and may_be_quantized(new_name, (2,) * n_dims):
            return gguf.GGMLQuantizationType.F32
        return forced

    return {
        "model_arch": known.model_arch,
        "filter_tensors": classmethod(filter_tensors),
        "index_tensors": index_tensors,
        "modify_tensors": modify_tensors,
        "tensor_force_quant": tensor_force_quant,
    }


def _set_metadata(writing: Any, quant: str, metadata: GgufMetadata, imatrix: Imatrix | None) -> None:
    import gguf

    writing.ftype = gguf.LlamaFileType[QUANTS[quant].file_type]
    writing.prepare_metadata(vocab_only=False)
    writer = writing.gguf_writer
    known = writer.kv_data[0]  # the writer warns of a key that is set twice
    known.pop(gguf.Keys.General.LICENSE, None)
    writer.add_license(metadata.license)  # the converter takes no license from the metadata file
    if imatrix is not None:  # as llama-quantize writes it, but for the folder
        writer.add_string("quantize.imatrix.file", imatrix.name)
        if imatrix.dataset:
            writer.add_string("quantize.imatrix.dataset", Path(imatrix.dataset).name)
        writer.add_uint32("quantize.imatrix.entries_count", len(imatrix.values))
        if imatrix.chunks > 0:
            writer.add_uint32("quantize.imatrix.chunks_count", imatrix.chunks)
    if metadata.add_bos is not None:
        known.pop(gguf.Keys.Tokenizer.ADD_BOS, None)
        writer.add_add_bos_token(metadata.add_bos)
    there = known.get(gguf.Keys.Tokenizer.ADD_PREFIX)
    if metadata.space_prefix is not None and metadata.space_prefix != (there.value if there else True):
        known.pop(gguf.Keys.Tokenizer.ADD_PREFIX, None)
        writer.add_add_space_prefix(metadata.space_prefix)


def _set_types(writing: Any, mix: Mix, imatrix: bool) -> None:
    """Choose each tensor's type, and give the writer its size before the first byte is written."""
    import gguf

    types = _types_of(writing, mix, imatrix)
    for name, info in writing.gguf_writer.tensors[0].items():
        if may_be_quantized(name, info.shape):
            info.dtype = gguf.GGMLQuantizationType[types[name]]
            info.nbytes = prod(info.shape[:-1]) * ggml.row_size(info.dtype.value, info.shape[-1])


def _types_of(writing: Any, mix: Mix, imatrix: bool) -> dict[str, str]:
    """The type of each tensor that the converter has, by name."""
    writer = writing.gguf_writer
    tensors = writer.tensors[0].items()
    described = [GgufTensor(name=name, shape=info.shape, type=info.dtype.name) for name, info in tensors]
    facts = ModelFacts.of(writer.arch, {key: held.value for key, held in writer.kv_data[0].items()})
    return tensor_types(mix, described, facts, imatrix=imatrix)


def _check_mix(writing: Any, mix: Mix, imatrix: bool) -> None:
    """Raise ReleaseError for choices that fit no tensor, or that need an importance matrix."""
    shapes = {name: info.shape for name, info in writing.gguf_writer.tensors[0].items()}
    check_patterns(mix.choices, shapes)
    for name, kind in _types_of(writing, mix, imatrix).items() if mix.choices and not imatrix else ():
        if may_be_quantized(name, shapes[name]) and needs_importance(name, kind):
            raise no_importance(name, kind)


def _divide(writer: Any, most: int) -> None:
    """Have the writer put no more than so many bytes of tensors into a file; a tensor is never divided."""
    (tensors,) = writer.tensors
    writer.tensors = [{}]
    size = 0
    for name, info in tensors.items():
        if writer.tensors[-1] and size + info.nbytes > most:
            writer.tensors.append({})
            size = 0
        writer.tensors[-1][name] = info
        size += info.nbytes
