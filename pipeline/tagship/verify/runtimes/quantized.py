"""A model of torch whose matrices are made by a reader of ours as they are needed: dequantized, where its files hold it
quantized, and then what they are multiplied by is rounded where that is part of how they are run."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from copy import deepcopy
from functools import partial
from typing import Any

from tagship.system.errors import ReleaseError
from tagship.verify.runtimes.transformers_classes import KnownClass
from tagship.weights.checkpoint import Checkpoint
from tagship.weights.linear_tensors import of_expert
from tagship.weights.quantized_matrices import Matrix

_TORCH_DTYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}
_LARGEST = 448.0
# As vLLM has them: the least scale of a token, and the least magnitude in a group.
_LEAST_SCALE, _LEAST_IN_GROUP = 1 / (448 * 512), 1e-10


def load_quantized(known: KnownClass, checkpoint: Checkpoint, matrices: Mapping[str, Matrix], *, whole: bool) -> Any:
    """The model of a checkpoint that is quantized, as `load_made`. Raises ReleaseError where a matrix is nowhere in
    it."""
    parts = {part for matrix in matrices.values() for part in matrix.parts}
    others = slices_of(checkpoint, [name for name in checkpoint.entries() if name not in parts])
    model, missing = load_made(known, checkpoint.main_dtype, matrices, others, whole=whole)
    if missing:
        raise ReleaseError(
            f"{min(missing)} is no parameter of the model in transformers, so that what is computed with it elsewhere "
            "cannot be computed here",
            remedy="leave this quantization out of its format's table in release.toml",
        )
    return model


def load_made(
    known: KnownClass,
    dtype: str,
    matrices: Mapping[str, Matrix],
    others: Mapping[str, Any],
    *,
    whole: bool,
    in_bf16: Collection[str] = (),
) -> tuple[Any, set[str]]:
    """A model of `matrices` and of `others`, tensors or slices of files; in float32 when it is `whole`. Else it is in
    `dtype`, in safetensors' name, and its linear modules and embeddings have no weights of their own, but in
    `weight_blocks` and `weight_rows` what `streaming` asks for them; what transformers stacks as it loads, the weights
    of experts, is made whole. Of matrices `in_bf16` all numbers are bfloat16's, and are computed with as those. Comes
    with the names of the matrices that are nowhere in it."""
    import torch

    loading = _Loading(torch.float32 if whole else getattr(torch, _TORCH_DTYPES[dtype]), whole, in_bf16)
    config = deepcopy(known.config)
    for part in (config, config.get_text_config()):
        part.__dict__.pop("quantization_config", None)
    state = {**others, **{name: loading.tensor(name, held) for name, held in matrices.items()}}
    model = known.model.from_pretrained(None, config=config, state_dict=state, dtype=loading.dtype)
    return model, loading.attach(model, [name for name in matrices if not of_expert(name)])


class _Loading:
    """What is remembered of tensors from when transformers asks for them until they are in modules."""

    def __init__(self, dtype: Any, whole: bool, in_bf16: Collection[str]) -> None:
        self.dtype = dtype
        self._whole = whole
        self._in_bf16 = in_bf16
        self._given: dict[int, tuple[str, Matrix, Any]] = {}

    def tensor(self, name: str, matrix: Matrix) -> "_Tensor":
        return _Tensor(partial(self._made, name, matrix), matrix.shape, self.dtype)

    def attach(self, model: Any, names: list[str]) -> set[str]:
        """Have the modules of these matrices compute with them. Returns those that are nowhere."""
        missing = set(names)
        for module in model.modules():
            for parameter in module.parameters(recurse=False):
                if given := self._given.get(parameter.data_ptr()):
                    name, matrix, _ = given
                    missing.discard(name)
                    self._attach(module, parameter, matrix, name in self._in_bf16)
        return missing

    def _attach(self, module: Any, parameter: Any, matrix: Matrix, in_bf16: bool) -> None:
        import torch

        if not self._whole and isinstance(module, torch.nn.Linear | torch.nn.Embedding):
            module.weight_blocks = partial(_blocks, matrix, in_bf16)
            module.weight_rows = partial(_rows, matrix)
        elif not self._whole:  # what routes to experts, which is small
            parameter.data = torch.from_numpy(matrix.rows(0, matrix.shape[0]))
        if matrix.activations is not None:
            module.register_forward_pre_hook(partial(_round_given, matrix.activations))

    def _made(self, name: str, matrix: Matrix) -> Any:
        import torch

        if self._whole or of_expert(name):
            made = torch.from_numpy(matrix.rows(0, matrix.shape[0])).to(self.dtype)
        else:
            made = torch.zeros(1, dtype=self.dtype).expand(matrix.shape)  # which takes no memory
        if not of_expert(name):
            self._given[made.data_ptr()] = name, matrix, made
        return made


class _Tensor:
    """A tensor that is made when transformers asks for all of it, as it does of slices of files."""

    def __init__(self, make: Any, shape: tuple[int, int], dtype: Any) -> None:
        self._make = make
        self.shape = shape
        self.dtype = dtype

    def __getitem__(self, which: Any) -> Any:
        return self._make()[which]

    def get_shape(self) -> list[int]:
        return list(self.shape)


def slices_of(checkpoint: Checkpoint, names: Iterable[str]) -> dict[str, Any]:
    """Tensors that are in files as they are, as transformers reads them."""
    from safetensors import safe_open

    wanted = set(names)
    found: dict[str, Any] = {}
    for shard in checkpoint.shards:
        file: Any = safe_open(shard.path, framework="pt")
        found |= {name: file.get_slice(name) for name in shard.tensors if name in wanted}
    return found


def _blocks(matrix: Matrix, in_bf16: bool, rows: int) -> Iterator[Any]:
    import torch

    height = matrix.shape[0]
    for start in range(0, height, rows):
        made = torch.from_numpy(matrix.rows(start, min(start + rows, height)))
        yield made.bfloat16() if in_bf16 else made


def _rows(matrix: Matrix, which: Any) -> Any:
    import numpy as np
    import torch

    return torch.from_numpy(np.concatenate([matrix.rows(row, row + 1) for row in which.tolist()]))


def _round_given(group: int, module: Any, given: tuple[Any, ...]) -> tuple[Any, ...]:
    """Round what a module is given to FP8: for each token by its largest number, or for so many of its numbers each."""
    import torch

    numbers = given[0].float()
    groups = numbers.unflatten(-1, (-1, group or numbers.shape[-1]))
    largest = groups.abs().amax(dim=-1, keepdim=True)
    scales = largest.clamp(min=_LEAST_IN_GROUP) / _LARGEST if group else (largest / _LARGEST).clamp(min=_LEAST_SCALE)
    rounded = (groups / scales).clamp(-_LARGEST, _LARGEST).to(torch.float8_e4m3fn).float() * scales
    return (rounded.flatten(-2), *given[1:])
