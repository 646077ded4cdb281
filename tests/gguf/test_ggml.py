"""ggml's own encoder, called in a shared object: its bytes are those of llama.cpp's tools."""

from typing import Any

import numpy as np
import pytest
from tagship.gguf import ggml
from tagship.system.errors import ReleaseError

from tests import tiny

gguf = pytest.importorskip("gguf")
pytest.importorskip("xllamacpp")

QUANTIZED = ("Q8_0", "Q4_0", "Q5_0", "Q5_1", "IQ4_NL", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_XS")
TYPES = ("F32", "F16", "BF16", *QUANTIZED)


def values(rows: int, columns: int = 256) -> np.ndarray[Any, np.dtype[np.float32]]:
    return tiny.formula((rows, columns), 7, bits=15) / np.float32(4096)


def encoded(array: np.ndarray[Any, Any], name: str) -> bytes:
    return ggml.encode(array, gguf.GGMLQuantizationType[name].value).tobytes()


@pytest.mark.parametrize("name", ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q5_0", "Q5_1"])
@pytest.mark.parametrize("columns", [32, 256, 288])
def test_equals_the_python_encoder(name: str, columns: int) -> None:
    """Where gguf-py has an encoder of its own, ggml writes the same bytes."""
    array = values(40, columns)
    expected = gguf.quants.quantize(array, gguf.GGMLQuantizationType[name])
    assert encoded(array, name) == expected.tobytes()


@pytest.mark.parametrize("name", QUANTIZED)
def test_decodes_to_what_was_encoded(name: str) -> None:
    """What is encoded decodes, by gguf-py, to the same numbers up to the type's own precision."""
    kind = gguf.GGMLQuantizationType[name]
    array = values(8)
    data = np.frombuffer(encoded(array, name), np.uint8).reshape(8, -1)
    decoded = gguf.quants.dequantize(data, kind)
    bits = 8 * data.shape[1] / array.shape[1]
    step = (array.max() - array.min()) / 2 ** (bits - 1)
    assert np.abs(decoded.reshape(array.shape) - array).max() <= 2 * step


@pytest.mark.parametrize("name", TYPES)
def test_row_size(name: str) -> None:
    """A row takes the bytes that gguf-py's table says, and so do all rows together."""
    kind = gguf.GGMLQuantizationType[name]
    block, size = gguf.GGML_QUANT_SIZES[kind]
    assert ggml.row_size(kind.value, 512) == 512 // block * size
    assert len(encoded(values(3, 512), name)) == 3 * 512 // block * size


@pytest.mark.parametrize("name", QUANTIZED)
def test_rows_are_encoded_one_by_one(name: str) -> None:
    """A block of rows has the bytes of its rows, encoded one by one, however it is cut."""
    array = values(9, 1024)
    assert encoded(array, name) == b"".join(encoded(array[row : row + 1], name) for row in range(9))


def test_views_are_encoded_as_copies() -> None:
    """Rows that do not lie together in memory, or are of another float type, are encoded all the same."""
    array = values(16, 512)
    strided = array[::2, ::2]
    assert encoded(strided, "Q8_0") == encoded(strided.copy(), "Q8_0")
    assert encoded(array.astype(np.float64), "Q8_0") == encoded(array, "Q8_0")


def test_no_rows() -> None:
    """A tensor without rows has no bytes."""
    assert encoded(values(0), "Q4_K") == b""


@pytest.mark.parametrize(("name", "columns"), [("Q8_0", 40), ("Q4_K", 288), ("IQ4_XS", 32), ("Q6_K", 0), ("F16", 0)])
def test_rows_that_the_type_cannot_take(name: str, columns: int) -> None:
    """A row that the type's blocks do not fill is refused before ggml, which would end the process, sees it."""
    kind = gguf.GGMLQuantizationType[name].value
    with pytest.raises(ReleaseError, match=f"not {columns}$"):
        ggml.row_size(kind, columns)
    with pytest.raises(ReleaseError, match=f"not {columns}$"):
        ggml.encode(np.zeros((2, columns), np.float32), kind)
