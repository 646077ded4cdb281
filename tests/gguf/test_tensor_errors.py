"""What tensors lose in types, measured in an unquantized GGUF; and other numbers in its place for a while."""

from pathlib import Path

import numpy as np
import pytest
from tagship.gguf.imatrix import Imatrix
from tagship.gguf.unquantized import Unquantized
from tagship.system.errors import ReleaseError

gguf = pytest.importorskip("gguf")
pytest.importorskip("xllamacpp")

from tagship.gguf.tensor_errors import lossy, measure_errors, types_for  # noqa: E402


def written(folder: Path, **tensors: np.ndarray) -> Path:
    path = folder / "model.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    for name, values in tensors.items():
        writer.add_tensor(name.replace("_w", ".weight").replace("L", "blk.0."), values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def matrix_of(path: Path, columns: int, experts: int = 1) -> Imatrix:
    importance = np.random.default_rng(1).uniform(0.1, 3, experts * columns).astype(np.float32)
    return Imatrix(name="m", values={"blk.0.ffn_down.weight": importance}, dataset=None, chunks=1)


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float16)


@pytest.mark.parametrize("shape", [(96, 256), (3, 96, 256)])
def test_losses_are_those_of_the_rows(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """A loss is the weighed square of what is lost, as a share of that of the weights: of all rows where they are few,
    of each expert by its own importance; more bits lose less. Bytes are all of the tensor's."""
    values = random(*shape)
    path = written(tmp_path, Lffn_down_w=values)
    imatrix = matrix_of(path, 256, shape[0] if len(shape) > 2 else 1)
    (table,) = measure_errors(Unquantized(path), imatrix, lambda _: None).values()
    importance = imatrix.of("blk.0.ffn_down.weight", shape)
    assert importance is not None
    lost = whole = 0.0
    for rows, columns in zip(values.reshape(-1, *shape[-2:]).astype(np.float32), importance, strict=True):
        lost += float((np.square(rows - lossy(rows, "Q4_K", columns)) @ columns).sum())
        whole += float((np.square(rows) @ columns).sum())
    losses = {each.type: each.loss for each in table}
    assert losses["Q4_K"] == pytest.approx(lost / whole, rel=1e-4)
    assert losses["Q8_0"] < losses["Q6_K"] < losses["Q5_K"] < losses["Q4_K"] < losses["Q2_K"]
    assert {each.type: each.size for each in table}["Q8_0"] == values.size * 34 // 32


def test_many_rows_stand_for_all(tmp_path: Path) -> None:
    """Of many rows some are encoded, and what is told is nearly what all of them lose."""
    values = random(4096, 256)
    path = written(tmp_path, Lffn_down_w=values)
    imatrix = matrix_of(path, 256)
    (table,) = measure_errors(Unquantized(path), imatrix, lambda _: None).values()
    columns = imatrix.values["blk.0.ffn_down.weight"]
    rows = values.astype(np.float32)
    whole = float((np.square(rows - lossy(rows, "Q4_K", columns)) @ columns).sum())
    told = next(each.loss for each in table if each.type == "Q4_K")
    assert told == pytest.approx(whole / float((np.square(rows) @ columns).sum()), rel=0.02)


def test_types_that_rows_take() -> None:
    """Rows that are no multiple of 256 have types of other blocks, or none; types that ggml encodes by an importance
    matrix alone are left out without one."""
    assert "Q4_K" in types_for(512, weighed=True)
    assert set(types_for(96, weighed=True)) == {"IQ4_NL", "Q4_1", "Q5_0", "Q5_1", "Q8_0"}
    assert types_for(50, weighed=True) == ()
    assert {"IQ2_XXS", "IQ2_S", "IQ3_XXS"} == set(types_for(512, weighed=True)) - set(types_for(512, weighed=False))


def test_numbers_are_put_back(tmp_path: Path) -> None:
    """Within the block the file has other rows, and after it, or after an error in it, its own bytes again."""
    path = written(tmp_path, Lffn_down_w=random(96, 256))
    before, model = path.read_bytes(), Unquantized(path)
    (matrix,) = model.matrices.values()
    zeros = np.zeros((2, 256), np.float32)
    with model.replaced([(matrix, 0, 5, zeros), (matrix, 0, 94, zeros)]):
        changed = model.rows(matrix, 0)
        assert not changed[5:7].any() and not changed[94:].any() and changed[7:94].any()
    assert path.read_bytes() == before
    with pytest.raises(KeyError), model.replaced([(matrix, 0, 0, zeros)]):
        raise KeyError
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_what_is_quantized_is_refused(tmp_path: Path) -> None:
    """A GGUF in 8 bits is no model to measure types in."""
    path = tmp_path / "q.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    data = gguf.quants.quantize(random(8, 256).astype(np.float32), gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("blk.0.ffn_down.weight", data, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ReleaseError, match="quantized already"):
        Unquantized(path)


def test_a_matrix_of_another_model(tmp_path: Path) -> None:
    """An importance matrix that has numbers for none of the tensors is refused."""
    path = written(tmp_path, Lattn_q_w=random(64, 256))
    with pytest.raises(ReleaseError, match="no numbers for any tensor"):
        measure_errors(Unquantized(path), matrix_of(path, 256), lambda _: None)
