"""How tensors in files differ from what they should be: which are zero, in each other's place, or changed too much."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from tagship.gguf.header import read_gguf_header
from tagship.system.errors import ReleaseError
from tagship.system.files import BLOCK
from tagship.weights.checkpoint import open_checkpoint
from tagship.weights.safetensors import read_header

_FLOATS = ("F32", "F16", "BF16")
# Of the size of a change, squared, what rounding to 16 bits may take away; below which share of it nothing is left of
# it; and how far apart the same number of times may be.
_ROUNDING, _NOTHING, _ALIKE = 0.5, 0.02, 0.2


def has_tensors(name: str) -> bool:
    """Whether a file of this name has tensors."""
    return Path(name).suffix in _READERS


def differing_tensors(pairs: Iterable[tuple[Path, Path]], base: Path | None) -> list[str]:
    """What the tensors in files are otherwise than in those that are expected, in sentences. `base` is the folder of
    the model whose tensors were changed to those."""
    told: list[str] = []
    there: dict[str, _Tensor] = {}
    wanted: dict[str, _Tensor] = {}
    for path, expected in pairs:
        read = _READERS[expected.suffix]
        try:
            there |= read(path)
        except ReleaseError:
            told.append(f"{path.name} is damaged")
        else:
            wanted |= read(expected)
    told += [f"{name} is missing" for name in sorted(wanted.keys() - there.keys())]
    told += [f"{name} should not be there" for name in sorted(there.keys() - wanted.keys())]
    both = {name: (there[name], wanted[name]) for name in wanted if name in there}
    alike = {name: pair for name, pair in both.items() if pair[0].form == pair[1].form}
    told += [f"{name} is {has} and not {should}" for name, (has, should) in both.items() if name not in alike]
    return told + list(_other_numbers(alike, base))


class _Tensor(Struct, frozen=True, kw_only=True):
    """A tensor in a file: `form` is the name of its type and its shape."""

    path: Path
    start: int
    nbytes: int
    form: tuple[str, tuple[int, ...]]

    def __str__(self) -> str:
        return f"{self.form[0]} {list(self.form[1])}"

    def blocks(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            file.seek(self.start)
            for at in range(0, self.nbytes, BLOCK):
                yield file.read(min(BLOCK, self.nbytes - at))

    def digest(self) -> str:
        digest = hashlib.sha256()
        for block in self.blocks():
            digest.update(block)
        return digest.hexdigest()

    def is_zero(self) -> bool:
        return not any(block.strip(b"\0") for block in self.blocks())

    def beginning(self) -> Any:
        """Some of its numbers, in float32."""
        import numpy as np

        from tagship.weights.dtypes import DTYPES

        return np.frombuffer(next(self.blocks(), b""), DTYPES[self.form[0]]).astype(np.float32)


def _of_safetensors(path: Path) -> dict[str, _Tensor]:
    return {
        name: _Tensor(path=path, start=entry.start, nbytes=entry.nbytes, form=(entry.dtype, tuple(entry.shape)))
        for name, entry in read_header(path).tensors.items()
    }


def _of_gguf(path: Path) -> dict[str, _Tensor]:
    header = read_gguf_header(path)
    return {
        tensor.name: _Tensor(
            path=path,
            start=header.data_start + tensor.offset,
            nbytes=tensor.nbytes,
            form=(tensor.type_name, tuple(tensor.shape)),
        )
        for tensor in header.tensors
    }


_READERS: Mapping[str, Callable[[Path], dict[str, _Tensor]]] = {".safetensors": _of_safetensors, ".gguf": _of_gguf}


def _other_numbers(pairs: Mapping[str, tuple[_Tensor, _Tensor]], base: Path | None) -> Iterator[str]:
    digests = {name: (has.digest(), should.digest()) for name, (has, should) in pairs.items()}
    others = {name: digest for name, digest in digests.items() if digest[0] != digest[1]}
    whose = {should: name for name, (_, should) in others.items()}
    rest = []
    for name, (has, _) in others.items():
        if pairs[name][0].is_zero():
            yield f"{name} is all zero in {pairs[name][0].path.name}"
        elif has in whose:
            yield f"{name} has the numbers of {whose[has]}"
        else:
            rest.append(name)
    if rest:
        yield _changed(rest, pairs, base)


def _changed(names: Sequence[str], pairs: Mapping[str, tuple[_Tensor, _Tensor]], base: Path | None) -> str:
    """What is said of tensors with other numbers: how many times the change is in them, where that is the same for
    all."""
    which = names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")
    before = _of_checkpoint(base) if base else {}
    times = [_times(*pairs[name], before.get(name)) for name in names]
    known = [number for number in times if number is not None]
    if len(known) < len(names) or max(known) - min(known) > _ALIKE:
        return f"{which} {'has' if len(names) == 1 else 'have'} other numbers"
    mean = sum(known) / len(known)
    return f"the adapter's change is {f'{mean:.2g} times' if abs(mean) > _ALIKE else 'not'} in {which}"


def _of_checkpoint(folder: Path) -> dict[str, _Tensor]:
    return {
        name: tensor for shard in open_checkpoint(folder).shards for name, tensor in _of_safetensors(shard.path).items()
    }


def _times(there: _Tensor, wanted: _Tensor, base: _Tensor | None) -> float | None:
    """How many times the difference of `wanted` and `base` is in `there`; None where it is something else."""
    if base is None or base.form != there.form or base.form[0] not in _FLOATS:
        return None
    has, should, was = (tensor.beginning() for tensor in (there, wanted, base))
    change, found = should - was, has - was
    size = float(change @ change)
    if not size:
        return None
    times = float(found @ change) / size
    rest = found - times * change
    return times if float(rest @ rest) <= max(_ROUNDING * float(found @ found), _NOTHING * size) else None
