"""The tensors of a merged model as mlx-lm has them: by its names, experts stacked, quantized or not."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from tagship.system.errors import ReleaseError
from tagship.weights.affine import Affine
from tagship.weights.linear_tensors import WEIGHT
from tagship.weights.merge import MergedWeights, Output, Target
from tagship.weights.mlx_models import (
    ALWAYS,
    HEAD,
    MODELS,
    NEVER,
    UNTIED,
    UNUSED,
    MlxModel,
    is_known,
    module_of,
    stack_of,
)
from tagship.weights.safetensors import FLOATS
from tagship.weights.scheme_tensors import Packing
from tagship.weights.tied_embeddings import says_tied

# What files say that they are for.
MLX = "mlx"
_EIGHT_BITS = Affine(bits=8)
_REMEDY = "leave mlx out of this release: vllm and ollama hold the model"
_MOST = 4


def mlx_model(config: Mapping[str, Any]) -> MlxModel:
    """What mlx-lm knows of a model by its config.json. Raises ReleaseError for what is not held against it, and where
    it would read positions otherwise than the model was trained to."""
    kind = str(config.get("model_type"))
    model = MODELS.get(kind)
    if model is None:
        raise ReleaseError(
            f"exports for MLX were not held against mlx-lm for models of the type {kind}, only for {', '.join(MODELS)}",
            remedy=f"{_REMEDY}; `mlx_lm.convert` on the folder of the vllm export may know it",
        )
    scaling = scaling_of(config)
    if scaling is not None and scaling not in model.scalings:
        raise ReleaseError(
            f"the base's rotary embeddings are stretched by {scaling}, which mlx-lm does not do for {kind} as "
            "transformers does, in which it was trained",
            remedy=_REMEDY,
        )
    return model


def scaling_of(config: Mapping[str, Any]) -> str | None:
    """How rotary embeddings are stretched for texts beyond what a model began with; None where they are not."""
    for key in ("rope_scaling", "rope_parameters"):
        said = config.get(key)
        # transformers 5 has one for each kind of layer, where there are several.
        parts = [said, *said.values()] if isinstance(said, dict) else []
        kinds = [part.get("rope_type", part.get("type")) for part in parts if isinstance(part, dict)]
        for kind in kinds:
            if kind not in (None, "default"):
                return str(kind)
    return None


def as_mlx(weights: MergedWeights, config: Mapping[str, Any], affine: Affine | None) -> MergedWeights:
    """A merged model as mlx-lm has it, quantized where `affine` says how. `config` is the merged model's config.json.

    Raises ReleaseError, by name, for what mlx-lm has no place for, and where nothing can be quantized."""
    model = mlx_model(config)
    kept = dict(_without_unused(weights.outputs, model, config))
    _check(kept, model, config)
    outputs = {name: output for group in _stacked(kept, model) for name, output in group}
    if affine:
        outputs = {name: _packed(output, model, affine) for name, output in outputs.items()}
        if not any(output.packing for output in outputs.values()):
            raise ReleaseError(
                f"no matrix of this model has a multiple of {affine.width} columns: {affine.name} would quantize none",
                remedy="choose a smaller [formats.mlx] group_size (32, 64 or 128), or bf16",
            )
    return weights.arranged(outputs, MLX)


def quantization_of(weights: MergedWeights, model: MlxModel, affine: Affine) -> dict[str, Any]:
    """What config.json says of a model that is quantized so; a module with bits of its own is named."""
    others = {
        output.written_as.removesuffix(WEIGHT): {"group_size": found.scheme.width, "bits": found.scheme.bits}
        for output in weights.outputs.values()
        if (found := output.packing) and module_of(output.name) in model.eight_bits
    }
    return {**affine.described, **others}


def has_head(names: Iterable[str]) -> bool:
    """Whether a model has a head of its own."""
    return HEAD in names


def _without_unused(
    outputs: Mapping[str, Output], model: MlxModel, config: Mapping[str, Any]
) -> Iterator[tuple[str, Output]]:
    tied = says_tied(config)
    has_none = (model.head == UNTIED and tied) or (model.head == NEVER and tied is not False)
    for name, output in outputs.items():
        if not (UNUSED.fullmatch(name) or (name == HEAD and has_none)):
            yield name, output


def _check(outputs: Mapping[str, Output], model: MlxModel, config: Mapping[str, Any]) -> None:
    problems = [f"no place for {name}" for name in outputs if name != HEAD and not is_known(model, name)]
    if has_head(outputs) and model.head == NEVER:
        problems.append(f"no head of its own ({HEAD}), and the adapter gives the model one")
    if not has_head(outputs) and (model.head == ALWAYS or (model.head == UNTIED and says_tied(config) is False)):
        problems.append(f"always a head of its own ({HEAD}), and this model has none")
    if problems:
        listed = "; ".join(problems[:_MOST])
        more = f"; and {len(problems) - _MOST} more" if len(problems) > _MOST else ""
        raise ReleaseError(f"mlx-lm's {config.get('model_type')} has {listed}{more}", remedy=_REMEDY)


def _stacked(outputs: Mapping[str, Output], model: MlxModel) -> Iterator[list[tuple[str, Output]]]:
    """The tensors, those that are stacked in one together. Raises ReleaseError where experts are missing or differ."""
    groups: dict[str, list[tuple[int, str, Output]]] = {}
    for name, output in outputs.items():
        stack, index = stack_of(model, name) or (name, -1)
        groups.setdefault(stack, []).append((index, name, output))
    for stack, found in groups.items():
        if found[0][0] < 0:
            yield [(name, output) for _, name, output in found]
            continue
        found.sort(key=lambda expert: expert[0])
        alike = {(output.shape, output.dtype) for _, _, output in found}
        if [index for index, _, _ in found] != list(range(len(found))) or len(alike) > 1:
            raise ReleaseError(
                f"the experts of {stack} are not all there, or not of one shape and dtype",
                remedy="fetch the base again",
            )
        yield [
            (name, replace(output, target=Target(name=stack, index=index, stacked=len(found))))
            for index, name, output in found
        ]


def _packed(output: Output, model: MlxModel, affine: Affine) -> Output:
    """Embeddings, the head, and all matrices of linear layers; those whose rows are no whole groups stay."""
    shape, scheme = output.shape, _EIGHT_BITS if module_of(output.name) in model.eight_bits else affine
    if len(shape) != 2 or output.dtype not in FLOATS or shape[1] % affine.width or shape[1] % scheme.width:
        return output
    return replace(output, packing=Packing(scheme=scheme))
