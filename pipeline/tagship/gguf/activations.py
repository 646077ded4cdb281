"""What the matrices of a model are multiplied with, summed while llama.cpp computes: `llama-imatrix`'s own collection.

Read from `tools/imatrix/imatrix.cpp` of llama.cpp at b11434 (`IMatrixCollector::collect_imatrix`). Sums are of float64
where that has float32, so that they do not depend on how a text is divided into batches. Head and embeddings are left
out, as there.
"""

import ctypes
from collections.abc import Callable
from ctypes import c_bool, c_void_p
from typing import Any

import numpy as np
from msgspec import Struct

from tagship.gguf.ggml_tensor import GgmlTensor, ggml_functions
from tagship.system.errors import ReleaseError

Floats = np.ndarray[Any, np.dtype[np.float64]]
# What a file's float32 holds.
_MOST = float(np.finfo(np.float32).max)
_DENSE, _OF_EXPERTS = b"MUL_MAT", b"MUL_MAT_ID"
_Watch = ctypes.CFUNCTYPE(c_bool, c_void_p, c_bool, c_void_p)


class Sums(Struct, kw_only=True):
    """Of one tensor: `squares` and `plain` are the sums of its inputs' squares and of its inputs, shape (matrices,
    columns); `counts` is of how many tokens, for each expert of a mixture, or in one number for all matrices."""

    squares: Floats
    plain: Floats
    counts: "np.ndarray[Any, np.dtype[np.int64]]"

    def add(self, matrix: int, rows: "np.ndarray[Any, np.dtype[np.float32]]") -> None:
        """Add inputs of a matrix, shape (tokens, columns)."""
        self.squares[matrix] += np.square(rows, dtype=np.float64).sum(axis=0)
        self.plain[matrix] += rows.sum(axis=0, dtype=np.float64)


class Activations:
    """The sums of all matrices of layers, by the tensors' names; `callback` is what llama.cpp is given as `cb_eval`.

    Raises as `ggml_functions`.
    """

    def __init__(self) -> None:
        self.sums: dict[str, Sums] = {}
        self._name_of_op: Callable[[int], bytes] = ggml_functions().ggml_op_name
        self._error: BaseException | None = None
        self._watch = _Watch(self._watched)  # kept: llama.cpp has its address alone
        self.callback = ctypes.cast(self._watch, c_void_p)

    def check(self) -> None:
        """Raise what went wrong while llama.cpp computed, which it cannot pass on: it only stops."""
        if self._error is not None:
            raise self._error
        for name, sums in self.sums.items():
            if not (sums.squares <= _MOST).all():
                raise ReleaseError(
                    f"what {name} is multiplied with is not finite",
                    remedy="the merged model computes no numbers there: look at the adapter, or leave imatrix out",
                )

    def _watched(self, address: int, asks: bool, _: int) -> bool:
        """First whether a result of the graph is wanted before others overwrite it; then, with `asks` false, that
        result, and whether to go on."""
        try:
            result = GgmlTensor.from_address(address)
            op = self._name_of_op(result.op)
            if asks:
                return op == _OF_EXPERTS or (op == _DENSE and _is_wanted(result))
            self._add_experts(result) if op == _OF_EXPERTS else self._add(result)
        except BaseException as error:  # noqa: BLE001  (it would be lost in C)
            self._error = error
            return False
        return True

    def _of(self, weight: GgmlTensor, matrices: int, counted: int) -> Sums:
        name, shape = weight.text(), (matrices, int(weight.ne[0]))
        if name not in self.sums:
            counts = np.zeros(counted, np.int64)
            self.sums[name] = Sums(squares=np.zeros(shape), plain=np.zeros(shape), counts=counts)
        return self.sums[name]

    def _add(self, result: GgmlTensor) -> None:
        weight, given = result.source(0), result.source(1)
        _, _, depth, breadth = weight.ne
        sums = self._of(weight, depth * breadth, 1)
        inputs = given.values()
        for outer, of_outer in enumerate(inputs):
            for inner, rows in enumerate(of_outer):
                sums.add((outer % breadth) * depth + inner % depth, rows)
        sums.counts += inputs.shape[0] * inputs.shape[1] * inputs.shape[2] // (depth * breadth)

    def _add_experts(self, result: GgmlTensor) -> None:
        """Each token's input counts for the experts that it was sent to."""
        weight, given, chosen = result.source(0), result.source(1), result.source(2)
        sums = self._of(weight, int(weight.ne[2]), int(weight.ne[2]))
        inputs, experts = given.values()[0], chosen.values()[0, 0]  # (tokens, 1 or used, columns), (tokens, used)
        for place in range(experts.shape[1]):
            rows = inputs[:, place % inputs.shape[1]]
            for expert in np.unique(experts[:, place]):
                sent = experts[:, place] == expert
                sums.add(int(expert), rows[sent])
                sums.counts[expert] += int(sent.sum())


def _is_wanted(result: GgmlTensor) -> bool:
    return result.source(0).text().startswith("blk.") and result.source(1).is_float
