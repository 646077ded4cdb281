"""A low-rank change of a weight that llama.cpp's converter takes for it: what it does to the weight is done to A and B.

The converter permutes, splits, stacks and transposes weights. Each of these is done to the rows of B or to the columns
of A alone, so that the product of both stays what became of `B @ A`; what is not is refused. convert_lora_to_gguf.py of
llama.cpp goes the same way.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from typing import Any, ClassVar

from tagship.system.errors import ReleaseError


class NotFactored(ReleaseError):
    """Something is done to a weight that no pair of matrices follows."""


class FactoredTensor:
    """`B @ A` in place of a tensor (…, out, in): A is (…, rank, in), B is (…, out, rank); both are torch's tensors, or
    lazy ones. What A has in front may be 1 where B has more: all of those share it."""

    def __init__(self, a: Any, b: Any, *, rows_of: object = None) -> None:
        """`rows_of` is what tensors have in common whose A is the same (rank, in)."""
        self.rows_of = rows_of or object()
        if a.dtype != b.dtype:
            import torch

            a, b = a.to(torch.float32), b.to(torch.float32)
        self.a, self.b = a, b

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.b.shape[:-1], self.a.shape[-1])

    @property
    def rank(self) -> int:
        return int(self.b.shape[-1])

    @property
    def dtype(self) -> Any:
        return self.a.dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def T(self) -> "FactoredTensor":
        return self.transpose(0, 1)

    def dim(self) -> int:
        return self.ndim

    def size(self, dim: int | None = None) -> Any:
        return self.shape if dim is None else self.shape[dim]

    # What changes no number

    def to(self, *arguments: Any, **more: Any) -> "FactoredTensor":
        return FactoredTensor(self.a.to(*arguments, **more), self.b.to(*arguments, **more))

    def float(self) -> "FactoredTensor":
        return FactoredTensor(self.a.float(), self.b.float())

    def contiguous(self) -> "FactoredTensor":
        return FactoredTensor(self.a.contiguous(), self.b.contiguous())

    def clone(self) -> "FactoredTensor":
        return FactoredTensor(self.a.clone(), self.b.clone())

    # What moves rows or columns

    def reshape(self, *shape: Any) -> "FactoredTensor":
        new = tuple(shape[0]) if isinstance(shape[0], Sequence) else shape
        if -1 in new:
            whole = prod(self.shape) // -prod(new)
            new = tuple(whole if size == -1 else size for size in new)
        if len(new) < 2 or new[-1] != self.shape[-1] or prod(self.a.shape[:-2]) != 1:
            raise _refused(f"reshaped from {list(self.shape)} to {list(new)}")
        a = self.a.reshape(*(1 for _ in new[:-2]), self.rank, new[-1])
        return FactoredTensor(a, self.b.reshape(*new[:-1], self.rank), rows_of=self.rows_of)

    view = reshape

    def reshape_as(self, other: Any) -> "FactoredTensor":
        return self.reshape(*other.shape)

    def permute(self, *dims: Any) -> "FactoredTensor":
        order = tuple(dims[0]) if isinstance(dims[0], Sequence) else dims
        order = tuple(dim % self.ndim for dim in order)
        last = self.ndim - 1
        if order == (*range(last - 1), last, last - 1):  # transposed: the two change places
            return FactoredTensor(self.b.transpose(-1, -2), self.a.transpose(-1, -2))
        if order[-1] != last or prod(self.a.shape[:-2]) != 1:
            raise _refused(f"permuted by {list(order)}")
        return FactoredTensor(self.a, self.b.permute(*order), rows_of=self.rows_of)

    def transpose(self, first: int, second: int) -> "FactoredTensor":
        order = list(range(self.ndim))
        order[first], order[second] = order[second], order[first]
        return self.permute(*order)

    swapaxes = transpose

    def __getitem__(self, index: Any) -> "FactoredTensor":
        given = index if isinstance(index, tuple) else (index,)
        if Ellipsis in [each if each is Ellipsis else None for each in given]:
            at = next(place for place, each in enumerate(given) if each is Ellipsis)
            given = (*given[:at], *[slice(None)] * (self.ndim - len(given) + 1), *given[at + 1 :])
        whole = (*given, *[slice(None)] * (self.ndim - len(given)))
        if any(isinstance(each, int) or each is None for each in whole[-2:]) or None in map(_none, whole):
            raise _refused("cut down to a vector, or given another dimension")
        *before, _, columns = whole
        of_a = [_of_shared(each, size) for each, size in zip(before, self.a.shape[:-2], strict=True)]
        same = prod(self.a.shape[:-2]) == 1 and isinstance(columns, slice) and columns == slice(None)
        a, b = self.a[(*of_a, slice(None), columns)], self.b[(*whole[:-1], slice(None))]
        return FactoredTensor(a, b, rows_of=self.rows_of if same else None)

    def split(self, sizes: int | Sequence[int], dim: int = 0) -> tuple["FactoredTensor", ...]:
        dim %= self.ndim
        if isinstance(sizes, int):
            sizes = [min(sizes, self.shape[dim] - at) for at in range(0, self.shape[dim], sizes)]
        return tuple(self[(*[slice(None)] * dim, part)] for part in _slices(sizes))

    def chunk(self, chunks: int, dim: int = 0) -> tuple["FactoredTensor", ...]:
        return self.split(-(-self.shape[dim] // chunks), dim)

    # What scales all of it

    def __mul__(self, factor: Any) -> "FactoredTensor":
        if not isinstance(factor, int | float):
            raise _refused("multiplied number by number")
        return FactoredTensor(self.a, self.b * factor)

    __rmul__ = __mul__

    def __truediv__(self, divisor: Any) -> "FactoredTensor":
        if not isinstance(divisor, int | float):
            raise _refused("divided number by number")
        return FactoredTensor(self.a, self.b / divisor)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise _refused(f"asked for its {name}")

    # torch's own functions

    _METHODS: ClassVar = ("permute", "reshape", "transpose", "swapaxes", "split", "chunk")

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], types: Any, arguments: Any = (), more: Mapping[str, Any] | None = None
    ) -> Any:
        name = getattr(function, "__name__", str(function))
        if name in cls._METHODS:
            return getattr(cls, name)(*arguments, **more or {})
        if name in ("stack", "cat") and all(isinstance(each, cls) for each in arguments[0]):
            dim = (arguments[1:] or [(more or {}).get("dim", 0)])[0]
            return _joined(name, arguments[0], dim)
        raise _refused(f"given to torch.{name}")


def _joined(how: str, parts: Sequence[FactoredTensor], dim: int) -> FactoredTensor:
    """Several, stacked as the experts of a layer are, or one after the other."""
    import torch

    if dim == 0 and len({part.rank for part in parts}) == 1:
        if how == "stack":
            return FactoredTensor(torch.stack([part.a for part in parts]), torch.stack([part.b for part in parts]))
        if all(part.ndim > 2 and part.a.shape[:-2] == part.b.shape[:-2] for part in parts):
            return FactoredTensor(torch.cat([part.a for part in parts]), torch.cat([part.b for part in parts]))
        if len({id(part.rows_of) for part in parts}) == 1:
            return FactoredTensor(parts[0].a, torch.cat([part.b for part in parts]), rows_of=parts[0].rows_of)
    raise _refused("put together with others of another A or rank")


def _of_shared(index: Any, size: int) -> Any:
    """An index of what A has in front: where that is 1, all share it."""
    if size != 1:
        return index
    return 0 if isinstance(index, int) else slice(None)


def _none(index: Any) -> Any:
    """None for None alone: tensors are not to be compared with it."""
    return None if index is None else True


def _slices(sizes: Sequence[int]) -> Iterator[slice]:
    at = 0
    for size in sizes:
        yield slice(at, at + size)
        at += size


def _refused(how: str) -> NotFactored:
    return NotFactored(f"in llama.cpp's converter its weight is {how}, which a change of low rank does not follow")
