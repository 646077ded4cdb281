"""What each tensor costs in each type, in nats: its own error, times what an error there does to the model.

Errors are measured for each tensor (`gguf/tensor_errors.py`). What they do differs between tensors by a factor of
hundreds, which no error tells: so one tensor after another is put into a low type, all others left as they are, and
what the model then says is compared along a text. Of models with many tensors those of one kind in layers beside each
other are measured together. Divergences of several tensors add up, nearly.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from msgspec import Struct, to_builtins

from tagship.formats.ollama.along import Along
from tagship.gguf.allocation import Cost, Table
from tagship.gguf.header import read_gguf_header
from tagship.gguf.imatrix import Imatrix
from tagship.gguf.tensor_errors import Coded, coded, lossy, measure_errors, types_for
from tagship.gguf.unquantized import Matrix, Unquantized
from tagship.system.errors import ReleaseError
from tagship.system.files import write_json
from tagship.system.json_files import read_object
from tagship.system.pool import in_order
from tagship.system.progress import Advance
from tagship.verify.measured_text import first_tokens
from tagship.weights.scratch import Array

COSTS_FILE = "costs.json"
# What tensors are put into: low enough that it shows, and not so low that divergences do not add up.
_LOW = ("Q3_K", "IQ4_NL")
# Parts of a model that are measured apart, at most; tokens that are computed for all of them together, about; for one
# of them, at least and at most; and in how many passages of the text these are.
MOST_PARTS, _ALL_TOKENS, _LEAST_TOKENS, MOST_TOKENS, _PASSAGES = 256, 16384, 64, 1024, 4
_LAYER = re.compile(r"^blk\.(\d+)\.")
# Numbers that a core has in memory at a time.
_BLOCK = 1 << 20


class Part(Struct, frozen=True, kw_only=True):
    """Tensors that were measured together, by their `names`: their `losses` in a low type, summed up, and the mean
    divergence `kl` in nats that they make."""

    names: tuple[str, ...]
    losses: float
    kl: float

    @property
    def factor(self) -> float:
        """Nats for a loss."""
        return self.kl / self.losses if self.losses else 0.0


class TensorCosts(Struct, frozen=True, kw_only=True):
    """A model's `table` of types, the `parts` that were measured along so many `tokens`, the bytes of the file's
    tensors that are in no table (`others`), and how many numbers all of its tensors have (`elements`)."""

    table: Table
    parts: tuple[Part, ...]
    tokens: int
    others: int
    elements: int

    def cost(self) -> Cost:
        """What a tensor costs in a type, in nats."""
        factors = {name: part.factor for part in self.parts for name in part.names}
        return lambda name, coded: factors[name] * coded.loss

    def bits(self, size: int) -> float:
        """For each number of the file, where the tensors of the table take `size` bytes."""
        return 8 * (size + self.others) / self.elements

    def budget(self, bits: float) -> int:
        """The bytes of the table's tensors in a file with so many bits for each number."""
        return int(bits * self.elements / 8) - self.others


def parts_of(names: Sequence[str], most: int = MOST_PARTS) -> list[tuple[str, ...]]:
    """Tensors that are measured together: each by itself, where there are few enough; else those that are called alike
    in layers beside each other."""
    layers = 1 + max((int(match[1]) for name in names if (match := _LAYER.match(name))), default=-1)
    for together in range(1, layers + 1):
        parts: dict[tuple[str, int], list[str]] = {}
        for name in names:
            match = _LAYER.match(name)
            key = (name[match.end() :], int(match[1]) // together) if match else (name, -1)
            parts.setdefault(key, []).append(name)
        if len(parts) <= most:
            break
    return [tuple(part) for part in parts.values()] if layers else [(name,) for name in names]


def tokens_for(parts: int) -> int:
    """Along how many tokens each part is measured."""
    return min(max(_ALL_TOKENS // max(parts, 1), _LEAST_TOKENS), MOST_TOKENS)


def measure_costs(
    gguf: Path, imatrix: Imatrix, spelled: Iterable[Sequence[int]], folder: Path, advance: Advance
) -> TensorCosts:
    """Measure an unquantized GGUF, which is changed meanwhile, along a text in its tokens. `advance` counts twice its
    bytes. Raises ReleaseError for an importance matrix of another model, and for a model without tensors that a type
    fits."""
    model = Unquantized(gguf)
    table = measure_errors(model, imatrix, advance)
    if not table:
        raise ReleaseError("no tensor of this model fits a type", remedy="leave [formats.ollama.mixes] out")
    size = gguf.stat().st_size
    advance(size - sum(matrix.nbytes for matrix in model.matrices.values()))
    together = parts_of(list(table))
    tokens = tokens_for(len(together))
    along = Along(gguf, first_tokens(spelled, tokens, 1 + -(-tokens // _PASSAGES)), folder)
    parts = []
    for number, names in enumerate(together):
        matrices = [model.matrices[name] for name in names]
        with model.replaced(_lost(model, matrices, imatrix)):
            kl = along.measured(gguf).kl
        losses = sum(coded(table[each.name], _low_type(each, imatrix)).loss for each in matrices)
        parts.append(Part(names=names, losses=losses, kl=kl))
        advance(size * (number + 1) // len(together) - size * number // len(together))
    tensors = read_gguf_header(gguf).tensors
    return TensorCosts(
        table=table,
        parts=tuple(parts),
        tokens=tokens,
        others=sum(tensor.nbytes for tensor in tensors if tensor.name not in table),
        elements=sum(tensor.elements for tensor in tensors),
    )


def _low_type(matrix: Matrix, imatrix: Imatrix) -> str:
    kinds = types_for(matrix.columns, weighed=imatrix.of(matrix.name, matrix.shape) is not None)
    return next(kind for kind in _LOW if kind in kinds)


def _lost(model: Unquantized, matrices: Sequence[Matrix], imatrix: Imatrix) -> Iterator[tuple[Matrix, int, int, Array]]:
    """Tensors as they come out of a low type, in blocks of rows."""

    def blocks() -> Iterator[tuple[Matrix, int, int]]:
        for matrix in matrices:
            step = max(1, _BLOCK // matrix.columns)
            for number in range(matrix.matrices):
                yield from ((matrix, number, first) for first in range(0, matrix.rows, step))

    def lost(block: tuple[Matrix, int, int]) -> tuple[Matrix, int, int, Array]:
        matrix, number, first = block
        importance = imatrix.of(matrix.name, matrix.shape)
        rows = model.rows(matrix, number, slice(first, first + max(1, _BLOCK // matrix.columns)))
        return (*block, lossy(rows, _low_type(matrix, imatrix), None if importance is None else importance[number]))

    return in_order(lost, blocks())


def write_costs(folder: Path, costs: TensorCosts) -> None:
    """Write what was measured into a folder."""
    table = {name: [[each.type, each.size, each.loss] for each in rows] for name, rows in costs.table.items()}
    write_json(folder / COSTS_FILE, to_builtins(costs) | {"table": table})


def read_costs(folder: Path) -> TensorCosts:
    """Read it again."""
    document = read_object(folder / COSTS_FILE)
    table = {
        name: tuple(Coded(type=kind, size=size, loss=loss) for kind, size, loss in rows)
        for name, rows in document["table"].items()
    }
    parts = tuple(Part(**part | {"names": tuple(part["names"])}) for part in document["parts"])
    return TensorCosts(**document | {"table": table, "parts": parts})
