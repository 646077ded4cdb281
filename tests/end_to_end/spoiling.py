"""Ways to spoil an export on purpose: each takes its folder."""

import json
import shutil
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

from msgspec.structs import replace
from tagship.gguf.header import GgufTensor, read_gguf_header
from tagship.runs.run import Run
from tagship.weights.safetensors import TensorEntry, read_header

from tests import tiny

Spoil = Callable[[Path], object]
INDEX = "model.safetensors.index.json"


# Files of text


def removed(name: str) -> Spoil:
    return lambda folder: (folder / name).unlink()


def written(name: str, text: str) -> Spoil:
    return lambda folder: (folder / name).write_text(text)


def without_key(name: str, key: str) -> Spoil:
    def drop(folder: Path) -> None:
        document = json.loads((folder / name).read_text())
        del document[key]
        (folder / name).write_text(json.dumps(document))

    return drop


def replaced(name: str, old: str, new: str) -> Spoil:
    def replace_in(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))

    return replace_in


# Bytes of tensors


def overwrite(path: Path, start: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(data)


def flip(path: Path, at: int) -> None:
    """Change a bit of one byte, counted from the end where `at` is below zero."""
    data = path.read_bytes()
    overwrite(path, at % len(data), bytes([data[at] ^ 1]))


def truncated(folder: Path) -> None:
    path = next(path for path in sorted(folder.iterdir(), reverse=True) if path.suffix in (".safetensors", ".gguf"))
    path.write_bytes(path.read_bytes()[:-100])


def _shard_of(folder: Path, tensor: str) -> tuple[Path, TensorEntry]:
    found = {path: read_header(path).tensors.get(tensor) for path in sorted(folder.glob("*.safetensors"))}
    return next((path, entry) for path, entry in found.items() if entry)


def zeroed(tensor: str) -> Spoil:
    def zero(folder: Path) -> None:
        path, entry = _shard_of(folder, tensor)
        overwrite(path, entry.start, bytes(entry.nbytes))

    return zero


def swapped(one: str, other: str) -> Spoil:
    def swap(folder: Path) -> None:
        places = [_shard_of(folder, name) for name in (one, other)]
        data = [path.read_bytes()[entry.start : entry.end] for path, entry in places]
        for (path, entry), other_data in zip(places, reversed(data), strict=True):
            overwrite(path, entry.start, other_data)

    return swap


def shifted(tensor: str) -> Spoil:
    """Give a tensor other numbers of the same size."""

    def shift(folder: Path) -> None:
        path, entry = _shard_of(folder, tensor)
        data = path.read_bytes()[entry.start : entry.end]
        overwrite(path, entry.start, data[512:] + data[:512])

    return shift


def without_tensor(name: str) -> Spoil:
    """Take a tensor out of the files and of their index."""

    def lose(folder: Path) -> None:
        path, _ = _shard_of(folder, name)
        held = read_header(path).tensors
        data = path.read_bytes()
        kept = {key: data[entry.start : entry.end] for key, entry in held.items() if key != name}
        header: dict[str, Mapping[str, object]] = {}
        end = 0
        for key, part in kept.items():
            entry, start, end = held[key], end, end + len(part)
            header[key] = {"dtype": entry.dtype, "shape": list(entry.shape), "data_offsets": [start, end]}
        tiny.write_raw(path, header, b"".join(kept.values()))
        index = json.loads((folder / INDEX).read_text())
        del index["weight_map"][name]
        (folder / INDEX).write_text(json.dumps(index))

    return lose


# GGUF


def gguf_of(folder: Path) -> Path:
    return next(folder.glob("*.gguf"))


def _place_of(path: Path, name: str) -> tuple[int, GgufTensor]:
    header = read_gguf_header(path)
    tensor = next(tensor for tensor in header.tensors if tensor.name == name)
    return header.data_start + tensor.offset, tensor


def zeroed_in_gguf(name: str) -> Spoil:
    def zero(folder: Path) -> None:
        start, tensor = _place_of(gguf_of(folder), name)
        overwrite(gguf_of(folder), start, bytes(tensor.nbytes))

    return zero


def swapped_in_gguf(one: str, other: str) -> Spoil:
    def swap(folder: Path) -> None:
        path = gguf_of(folder)
        (first, tensor), (second, like) = _place_of(path, one), _place_of(path, other)
        assert tensor.kind == like.kind
        data = path.read_bytes()
        overwrite(path, first, data[second : second + tensor.nbytes])
        overwrite(path, second, data[first : first + tensor.nbytes])

    return swap


def renamed(*names: tuple[str, str]) -> Spoil:
    """Give keys or tensors in a GGUF other names of the same length, by which nobody finds them."""

    def rename(folder: Path) -> None:
        data = gguf_of(folder).read_bytes()
        for old, new in names:
            assert len(old) == len(new) and old.encode() in data
            data = data.replace(old.encode(), new.encode())
        gguf_of(folder).write_bytes(data)

    return rename


def with_file_type(number: int) -> Spoil:
    """Have a GGUF say that it is of another type, as `llama_ftype` numbers them."""

    def say(folder: Path) -> None:
        data = gguf_of(folder).read_bytes()
        key = b"general.file_type" + struct.pack("<I", 4)
        overwrite(gguf_of(folder), data.index(key) + len(key), struct.pack("<I", number))

    return say


# What exports are made of


def with_alpha(run: Run, folder: Path, alpha: float) -> Run:
    """The same adapter by another scale."""
    shutil.copytree(run.path, folder)
    tiny.edit_json(folder / "adapter_config.json", lora_alpha=alpha)
    return replace(run, path=folder, adapter=replace(run.adapter, alpha=alpha))
