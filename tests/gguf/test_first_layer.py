"""A GGUF of one layer of zeros says what the whole one says, and takes no room."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from tagship.gguf.first_layer import write_first_layer
from tagship.gguf.header import read_gguf_header

COUNT = "llama.block_count"
TOKENS = [f"token{number}" for number in range(2000)]


def whole(path: Path, alignment: int = 32, **more: Any) -> Path:
    """Three layers of 64 KiB, and a template that names what is changed."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint32(COUNT, 3)
    writer.add_array("tokenizer.ggml.tokens", TOKENS)
    writer.add_string("tokenizer.chat_template", f"ü {COUNT}")
    writer.add_custom_alignment(alignment)
    for key, value in more.items():
        writer.add_uint32(key.replace("_", "."), value)
    for name in ("blk.0.attn_q.weight", "output.weight", "blk.1.attn_q.weight", "blk.10.attn_q.weight"):
        writer.add_tensor(name, np.ones((128, 128), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_first_layer(tmp_path: Path) -> None:
    """Word by word the same but for the count of layers; of the tensors, those of the first layer and of none."""
    path, made = whole(tmp_path / "whole.gguf"), tmp_path / "first.gguf"
    assert write_first_layer(path, made)
    before, after = gguf.GGUFReader(path), gguf.GGUFReader(made)
    assert [tensor.name for tensor in after.tensors] == ["blk.0.attn_q.weight", "output.weight"]
    assert all(tensor.data.shape == (128, 128) and not tensor.data.any() for tensor in after.tensors)
    said = [
        {key: field.contents() for key, field in read.fields.items() if key != "GGUF.tensor_count"}
        for read in (before, after)
    ]
    assert said[0].pop(COUNT) == 3 and said[1].pop(COUNT) == 1
    assert said[0] == said[1] and said[0]["tokenizer.ggml.tokens"] == TOKENS
    assert made.stat().st_size == read_gguf_header(made).data_start + 2 * 65536
    assert made.stat().st_blocks * 512 < 65536 + read_gguf_header(made).data_start


@pytest.mark.parametrize("more", [{"split_count": 2}, {"alignment": 64}], ids=str)
def test_other_files(tmp_path: Path, more: dict[str, int]) -> None:
    """One of several files has not all that it says it has; another alignment is kept."""
    made = tmp_path / "first.gguf"
    assert write_first_layer(whole(tmp_path / "whole.gguf", **more), made) == ("split_count" not in more)
    if made.exists():
        assert [int(tensor.data_offset) % 64 for tensor in gguf.GGUFReader(made).tensors] == [0, 0]


def test_no_count(tmp_path: Path) -> None:
    """Of what does not say how many layers it has, nothing is made."""
    path = tmp_path / "whole.gguf"
    path.write_bytes(whole(tmp_path / "other.gguf").read_bytes().replace(b"llama.block_count", b"other.block_count", 1))
    assert not write_first_layer(path, tmp_path / "first.gguf")
    assert not (tmp_path / "first.gguf").exists()
