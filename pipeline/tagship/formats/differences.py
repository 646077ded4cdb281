"""How a folder of a model differs from what it should be: by file, and within files by key and by tensor."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tagship.formats.tensor_differences import differing_tensors, has_tensors
from tagship.gguf.header import LongList, read_gguf_header
from tagship.system.errors import ReleaseError
from tagship.system.files import BLOCK, files_below, sha256_of
from tagship.system.json_files import read_object

# Letters of a value in a message, and how many differences it tells.
_LONGEST = 60
_MOST = 4


class NotAsExported(ReleaseError):
    """An export is not what exporting makes; the message says where."""


def differences(folder: Path, expected: Path, base: Path | None = None) -> list[str]:
    """What a folder does not have as `expected` has it, in sentences; what it has beside that is not looked at. `base`
    is the folder of the model whose tensors were changed to what is expected: how much of that is there is told."""
    wanted = {path.relative_to(expected).as_posix(): path for path in files_below(expected)}
    told = [f"{name} is missing" for name in wanted if not (folder / name).is_file()]
    pairs = {name: (folder / name, path) for name, path in wanted.items() if (folder / name).is_file()}
    others = {name: pair for name, pair in pairs.items() if sha256_of(pair[0]) != sha256_of(pair[1])}
    told += differing_tensors([pair for name, pair in others.items() if has_tensors(name)], base)
    for name, pair in others.items():
        of_keys = [f"{each} in {name}" for each in _differing_documents(*pair)]
        told += of_keys if of_keys or has_tensors(name) else [f"{name} is another"]
    return told or [f"{name} is another" for name in others]


def file_differences(there: Path, wanted: Path) -> list[str]:
    """Where the bytes of a file are not those of `wanted`: in which tensors, keys or lines, or from which byte on; at
    least one place, for files that are not the same. Raises ReleaseError where one with tensors is damaged."""
    told = differing_tensors([(there, wanted)], None) if has_tensors(wanted.name) else []
    told += _differing_documents(there, wanted)
    return told or [_first_difference(there, wanted)]


def _first_difference(there: Path, wanted: Path) -> str:
    """The line, of text, or byte that is the first to differ; a file that ends earlier differs where it ends."""
    at = line = 0
    is_text = True
    with there.open("rb") as one, wanted.open("rb") as other:
        while True:
            has, should = one.read(BLOCK), other.read(BLOCK)
            same = next((i for i, (a, b) in enumerate(zip(has, should, strict=False)) if a != b), None)
            until = min(len(has), len(should)) if same is None else same
            is_text = is_text and b"\0" not in has[:until]
            line += has.count(b"\n", 0, until)
            if same is not None or len(has) != len(should) or not has:
                return f"line {line + 1} is another" if is_text else f"byte {at + until} is another"
            at += until


def listed(found: list[str]) -> str:
    """The first of them."""
    more = f"; and {len(found) - _MOST} more" if len(found) > _MOST else ""
    return "; ".join(found[:_MOST]) + more


def _gguf_keys(path: Path) -> Mapping[str, Any]:
    return read_gguf_header(path).metadata


_READERS: Mapping[str, Callable[[Path], Mapping[str, Any]]] = {".json": read_object, ".gguf": _gguf_keys}


def _differing_documents(there: Path, wanted: Path) -> Iterator[str]:
    if (read := _READERS.get(wanted.suffix)) is not None:
        with suppress(ReleaseError):  # a damaged file is another, and of one with tensors it is told what is wrong
            yield from _differing_keys(read(there), read(wanted))


def _differing_keys(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[str]:
    """What one document says otherwise than another, key by key."""
    for key in sorted(there.keys() | wanted.keys()):
        if key not in there:
            yield f"{key} is missing"
        elif key not in wanted:
            yield f"{key} should not be there"
        elif isinstance(there[key], dict) and isinstance(wanted[key], dict):
            yield from (f"{key}.{each}" for each in _differing_keys(there[key], wanted[key]))
        elif there[key] != wanted[key]:
            has, should = (_value(held[key]) for held in (there, wanted))
            yield f"{key} is {has} and not {should}" if has and should else f"{key} is another"


def _value(value: Any) -> str | None:
    """A value as a message has it; None for a long one."""
    text = "" if isinstance(value, LongList | dict | list) and value else repr(value)
    return text if 0 < len(text) <= _LONGEST else None
