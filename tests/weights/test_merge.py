"""Base + adapter into merged weights, held against float64 and against PEFT's own merge."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from msgspec import Struct
from tagship.system.errors import ReleaseError
from tagship.system.files import new_folder
from tagship.weights.changes import LowRank
from tagship.weights.checkpoint import INDEX_FILE, Checkpoint, open_checkpoint
from tagship.weights.lora import Adapter, read_adapter
from tagship.weights.merge import MergedWeights
from tagship.weights.merge_writer import write_merged
from tagship.weights.merged_rows import whole_tensor

from tests import tiny

Array = np.ndarray[Any, np.dtype[Any]]
Build = Callable[..., Path]
SHARD = "60KB"


class Case(Struct, frozen=True, kw_only=True):
    """A base and an adapter for it, and what write_merged made of them."""

    base_folder: Path
    adapter_folder: Path
    merged_folder: Path
    base: Checkpoint
    adapter: Adapter
    merged: Checkpoint


def merge(base_folder: Path, adapter_folder: Path, merged_folder: Path) -> Case:
    base, adapter = open_checkpoint(base_folder), read_adapter(adapter_folder)
    merged_folder.mkdir()
    write_merged([(MergedWeights(base, adapter), merged_folder)])
    return Case(
        base_folder=base_folder,
        adapter_folder=adapter_folder,
        merged_folder=merged_folder,
        base=base,
        adapter=adapter,
        merged=open_checkpoint(merged_folder),
    )


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((tiny.phi3, tiny.BFLOAT16, SHARD, {}), id="phi3-bf16-sharded"),
        pytest.param((tiny.phi3, tiny.FLOAT16, "1GB", {"dtype": tiny.BFLOAT16}), id="phi3-f16-bf16-adapter"),
        pytest.param((tiny.llama, tiny.BFLOAT16, "1GB", {"dtype": tiny.FLOAT16, "use_rslora": True}), id="llama-bf16"),
        pytest.param((tiny.llama, tiny.FLOAT32, SHARD, {}), id="llama-f32-sharded"),
        pytest.param(
            (
                tiny.llama,
                tiny.FLOAT16,
                SHARD,
                {"rank_pattern": {"q_proj": 8, r"layers\.0\.mlp\..*": 2}, "alpha_pattern": {"down_proj": 3}},
            ),
            id="llama-f16-patterns",
        ),
        pytest.param((tiny.gpt2, tiny.FLOAT32, "1GB", {}), id="gpt2-f32"),
        pytest.param((tiny.gpt2, tiny.BFLOAT16, SHARD, {}), id="gpt2-bf16-sharded"),
    ],
)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    build, dtype, shard, lora = request.param
    folder = tmp_path_factory.mktemp("merge")
    base = build(folder / "base", dtype=dtype, shard=shard)
    return merge(base, tiny.adapter(base, folder / "adapter", **lora), folder / "merged")


def exact(base: Checkpoint, adapter: Adapter, name: str) -> tuple[Array, Array]:
    """A merged tensor in float64, and the sum of the magnitudes that were added up for each element."""
    (low,) = MergedWeights(base, adapter).outputs[name].changes
    assert isinstance(low, LowRank)
    a, b = (adapter.weights.read(entry.name).astype(np.float64) for entry in (low.a, low.b))
    added, size = low.scale * (b @ a), abs(low.scale) * (np.abs(b) @ np.abs(a))
    if low.transposed:
        added, size = added.T, size.T
    values = read(base, name).astype(np.float64)
    return values + added, np.abs(values) + size


def read(checkpoint: Checkpoint, name: str) -> Array:
    owner = checkpoint.owner(name)
    assert owner is not None
    return owner.read(name)


def half_ulp(values: Array) -> Array:
    """Half the distance to the next number of a dtype, as float64."""
    return np.spacing(np.abs(values)).astype(np.float64) / 2


def test_merged_tensors_are_rounded_once(case: Case) -> None:
    """Each merged number is the base's nearest one to the sum in float64, but for float32's own error."""
    assert len(case.adapter.changes) >= 8
    for name in case.adapter.changes:
        expected, size = exact(case.base, case.adapter, name)
        got = read(case.merged, name)
        bound = half_ulp(got) + 8 * np.finfo(np.float32).eps * size
        assert (np.abs(got.astype(np.float64) - expected) <= bound).all(), name


def test_merged_tensors_are_changed(case: Case) -> None:
    """The adapter is really in the merged tensors: most of their numbers are not the base's."""
    for name in case.adapter.changes:
        assert (read(case.merged, name) != read(case.base, name)).mean() > 0.5, name


def test_at_most_one_number_away_from_the_correctly_rounded(case: Case) -> None:
    """In 16 bits all but a few merged numbers are the correctly rounded sum, and those few are its neighbour."""
    for name in case.adapter.changes:
        got = read(case.merged, name)
        if got.dtype == np.float32:
            continue
        expected = exact(case.base, case.adapter, name)[0].astype(np.float32).astype(got.dtype)
        differing = got != expected
        assert differing.mean() < 0.001, name
        steps = np.abs(got[differing].astype(np.float64) - expected[differing].astype(np.float64))
        assert (steps <= 2 * half_ulp(expected[differing])).all(), name


def test_no_less_exact_than_peft(case: Case) -> None:
    """The mean error over all adapted tensors is not above that of PEFT's merge_and_unload."""
    by_peft = tiny.merged_by_peft(case.base_folder, case.adapter_folder)
    ours, theirs = [], []
    for name in case.adapter.changes:
        expected, _ = exact(case.base, case.adapter, name)
        ours.append(np.abs(read(case.merged, name).astype(np.float64) - expected).mean())
        theirs.append(np.abs(by_peft[name] - expected).mean())
    # Where both round once they differ by float32's own noise.
    noise = 1.05 if next(iter(case.merged.entries().values())).dtype == "F32" else 1.0001
    assert np.mean(ours) <= noise * np.mean(theirs)


def test_what_the_adapter_leaves_alone_is_bit_identical(case: Case) -> None:
    """Every other tensor has the base's bytes."""
    untouched = case.base.entries().keys() - case.adapter.changes.keys()
    assert untouched
    for name in untouched:
        assert read(case.merged, name).tobytes() == read(case.base, name).tobytes()


def test_shards_have_the_headers_of_the_base(case: Case) -> None:
    """Shards keep their names, their headers byte by byte and their sizes; the index is the base's."""
    assert [shard.path.name for shard in case.merged.shards] == [shard.path.name for shard in case.base.shards]
    for ours, theirs in zip(case.merged.shards, case.base.shards, strict=True):
        length = theirs.data_start
        assert ours.path.read_bytes()[:length] == theirs.path.read_bytes()[:length]
        assert ours.path.stat().st_size == theirs.path.stat().st_size
    assert index_of(case.merged_folder) == index_of(case.base_folder)


def index_of(folder: Path) -> bytes | None:
    path = folder / INDEX_FILE
    return path.read_bytes() if path.exists() else None


def test_one_tensor_is_what_the_file_holds(case: Case) -> None:
    """A tensor merged on its own has the bytes that write_merged wrote."""
    weights = MergedWeights(case.base, case.adapter)
    for name in case.adapter.changes:
        assert whole_tensor(weights, name).tobytes() == read(case.merged, name).tobytes()


def test_transformers_loads_what_was_merged(tmp_path: Path) -> None:
    """The merged shards with the base's config.json load as a model whose weights are the merged ones."""
    import torch
    from transformers import AutoModelForCausalLM

    base = tiny.llama(tmp_path / "base", shard=SHARD)
    made = merge(base, tiny.adapter(base, tmp_path / "adapter"), tmp_path / "merged")
    (made.merged_folder / "config.json").write_bytes((base / "config.json").read_bytes())
    with tiny.foreign_warnings():
        model = AutoModelForCausalLM.from_pretrained(made.merged_folder, dtype="auto")
    for name, tensor in model.state_dict().items():
        assert tensor.view(torch.int16).numpy().tobytes() == read(made.merged, name).tobytes(), name


# Small, by hand


def write_pair(
    folder: Path,
    weight: Array,
    a: Array,
    b: Array,
    *,
    alpha: float = 1.0,
    **config: Any,
) -> tuple[Checkpoint, Adapter]:
    """A base with `proj.weight` and `other.weight`, and an adapter for the first."""
    (folder / "base").mkdir(parents=True)
    (folder / "adapter").mkdir()
    tiny.write_tensors(
        folder / "base" / "model.safetensors", {"other.weight": np.arange(6, dtype=np.float64), "proj.weight": weight}
    )
    key = "base_model.model.proj.lora_{}.weight"
    tiny.write_tensors(folder / "adapter" / "adapter_model.safetensors", {key.format("A"): a, key.format("B"): b})
    document = {"peft_type": "LORA", "r": a.shape[0], "lora_alpha": alpha, **config}
    (folder / "adapter" / "adapter_config.json").write_text(json.dumps(document), encoding="utf-8")
    return open_checkpoint(folder / "base"), read_adapter(folder / "adapter")


def ones(*shape: int, value: float = 1.0, dtype: Any = np.float32) -> Array:
    return np.full(shape, value, dtype)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
def test_by_hand(tmp_path: Path, dtype: Any) -> None:
    """W + alpha / r * B @ A, in each dtype that a base may have."""
    a, b = np.array([[1, 2], [0, 1]], np.float32), np.array([[1, 0], [0, 1], [2, 4]], np.float32)
    base, adapter = write_pair(tmp_path, ones(3, 2, dtype=dtype), a, b, alpha=1)
    merged = whole_tensor(MergedWeights(base, adapter), "proj.weight")
    assert merged.dtype == dtype
    assert merged.astype(np.float64).tolist() == [[1.5, 2.0], [1.0, 1.5], [2.0, 5.0]]


def test_transposed_by_hand(tmp_path: Path) -> None:
    """With fan_in_fan_out the transposed product is added to the (in, out) weight."""
    a, b = np.array([[1, 2]], np.float32), np.array([[1], [3], [5]], np.float32)
    base, adapter = write_pair(tmp_path, np.zeros((2, 3), np.float32), a, b, fan_in_fan_out=True)
    assert whole_tensor(MergedWeights(base, adapter), "proj.weight").tolist() == [[1, 3, 5], [2, 6, 10]]


def test_float64_is_merged_in_float64(tmp_path: Path) -> None:
    """A float64 base loses nothing to float32."""
    tiny_step = 2.0**-40
    base, adapter = write_pair(tmp_path, ones(2, 2, dtype=np.float64), ones(1, 2), ones(2, 1, value=tiny_step))
    assert (whole_tensor(MergedWeights(base, adapter), "proj.weight") == 1 + tiny_step).all()


def test_small_deltas_are_not_lost_before_the_sum(tmp_path: Path) -> None:
    """A delta is added before it is rounded: rounding it to bf16 first would give another number."""
    # 1 + 2**-8 + 2**-17 lies above the middle of 1 and 1 + 2**-7; the delta alone rounds to 2**-8, and the sum to 1.
    step = 2.0**-8 + 2.0**-17
    base, adapter = write_pair(tmp_path, ones(1, 1, dtype=ml_dtypes.bfloat16), ones(1, 1), ones(1, 1, value=step))
    assert whole_tensor(MergedWeights(base, adapter), "proj.weight").item() == 1 + 2.0**-7


def test_blocks_of_rows(tmp_path: Path) -> None:
    """A tensor of more than one block of rows is merged in all of its rows, and the bytes are counted."""
    rows, columns = 2500, 1024  # 5 MB in float16: more than one block of 4 MiB
    weight = tiny.formula((rows, columns), 1).astype(np.float16)
    a, b = tiny.formula((2, columns), 2, bits=2), tiny.formula((rows, 2), 3, bits=2)
    base, adapter = write_pair(tmp_path, weight, a, b, alpha=2)
    counted: list[int] = []
    (tmp_path / "merged").mkdir()
    write_merged([(MergedWeights(base, adapter), tmp_path / "merged")], counted.append)
    merged = read(open_checkpoint(tmp_path / "merged"), "proj.weight")
    assert np.array_equal(merged, (weight.astype(np.float32) + b @ a).astype(np.float16))
    assert len(counted) > 2
    assert sum(counted) == sum(entry.nbytes for entry in base.entries().values())


def test_unknown_tensor(tmp_path: Path) -> None:
    """A tensor that the base has not is a KeyError: asking for it is a mistake of the program."""
    base, adapter = write_pair(tmp_path, ones(2, 2), ones(1, 2), ones(2, 1))
    with pytest.raises(KeyError):
        whole_tensor(MergedWeights(base, adapter), "gone.weight")


# Failures


def fails(base: Checkpoint, adapter: Adapter, tmp_path: Path) -> ReleaseError:
    """Merge into a new folder; it must fail and leave nothing."""
    target = tmp_path / "export" / "final"
    with pytest.raises(ReleaseError) as caught, new_folder(target) as folder:
        write_merged([(MergedWeights(base, adapter), folder)])
    assert list(target.parent.iterdir()) == []
    with pytest.raises(ReleaseError, match="proj"):
        whole_tensor(MergedWeights(base, adapter), "proj.weight")
    return caught.value


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("side", ["A", "B"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_adapter_that_is_not_finite(tmp_path: Path, side: str, bad: float, dtype: Any) -> None:
    """A NaN or an infinity in the adapter is told by its tensor, with a remedy, and nothing is left."""
    sides = {"A": ones(2, 4, dtype=dtype), "B": ones(3, 2, dtype=dtype)}
    sides[side][1, 1] = bad
    error = fails(*write_pair(tmp_path, ones(3, 4, dtype=np.float16), sides["A"], sides["B"]), tmp_path)
    assert f"proj.lora_{side}.weight" in str(error)
    assert error.remedy


@pytest.mark.parametrize(
    ("dtype", "value", "a", "b"),
    [
        pytest.param(np.float16, 65000, 32.0, 32.0, id="f16"),
        pytest.param(np.float16, -65000, -32.0, 32.0, id="f16-negative"),
        pytest.param(ml_dtypes.bfloat16, 3e38, 1e19, 1e19, id="bf16"),
        pytest.param(np.float32, 0, 1e30, 1e30, id="f32-product"),
        pytest.param(np.float32, 3e38, 1e19, 1e19, id="f32-sum"),
        pytest.param(np.float32, np.inf, 1.0, 1.0, id="base"),
    ],
)
def test_sum_that_overflows(tmp_path: Path, dtype: Any, value: float, a: float, b: float) -> None:
    """A sum that the base's dtype cannot hold is told by the tensor and the dtype, and nothing is left."""
    pair = write_pair(tmp_path, ones(3, 4, value=value, dtype=dtype), ones(1, 4, value=a), ones(3, 1, value=b))
    message = str(fails(*pair, tmp_path))
    assert "proj.weight is not finite" in message
    assert {"float16": "F16", "bfloat16": "BF16", "float32": "F32"}[np.dtype(dtype).name] in message


def test_scaled_adapter_that_overflows(tmp_path: Path) -> None:
    """An adapter whose scale takes it out of float32 is told by the tensor."""
    base, adapter = write_pair(tmp_path, ones(3, 4), ones(1, 4), ones(3, 1, value=1e38), alpha=1000)
    assert "proj.weight is not finite" in str(fails(base, adapter, tmp_path))


def test_float64_adapter_out_of_range(tmp_path: Path) -> None:
    """A float64 adapter that float32 cannot hold is told by the tensor."""
    huge = ones(3, 1, value=1e200, dtype=np.float64)
    base, adapter = write_pair(tmp_path, ones(3, 4), ones(1, 4), huge)
    assert "proj.weight is not finite" in str(fails(base, adapter, tmp_path))


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("proj.weight", {}),
        ("proj.lora_magnitude_vector", {"use_dora": True}),
        ("proj.token_adapter.trainable_tokens_delta", {"trainable_token_indices": [1]}),
        ("proj.lora_B.bias", {}),
        ("proj.bias", {}),
        ("score.weight", {}),
    ],
)
def test_any_part_that_is_not_finite(tmp_path: Path, name: str, config: dict[str, Any], dtype: Any, bad: float) -> None:
    """A NaN or an infinity in whatever the adapter brings is told by its tensor, also where it would only be copied."""
    whole = {"proj.lora_magnitude_vector": (3,), "proj.lora_B.bias": (3,), "proj.bias": (3,), "score.weight": (2, 4)}
    shape = (1, 4) if "delta" in name else whole.get(name, (3, 4))
    values = ones(*shape, dtype=dtype)
    values.reshape(-1)[-1] = bad
    base, adapter = write_pair(tmp_path, ones(3, 4, dtype=np.float16), ones(2, 4), ones(3, 2))
    tiny.edit_json(adapter.folder / "adapter_config.json", **config)
    tensors = {kept: adapter.weights.read(kept) for kept in adapter.weights.tensors} if config or "B." in name else {}
    tensors |= {f"base_model.model.{name}": values}
    bias = {"proj.bias": ones(3, dtype=np.float16)}
    tiny.write_tensors(base.shards[0].path, {"proj.weight": ones(3, 4, dtype=np.float16)} | bias)
    tiny.write_tensors(adapter.weights.path, tensors)
    with pytest.raises(ReleaseError, match=f"{name} of the adapter adapter holds NaN or infinity") as caught:
        weights = MergedWeights(open_checkpoint(base.folder), read_adapter(adapter.folder))
        (tmp_path / "merged").mkdir()
        write_merged([(weights, tmp_path / "merged")])
    assert caught.value.remedy


def test_copied_tensor_of_a_base_that_was_cut_off(tmp_path: Path) -> None:
    """A base that lost its end is told, too, where its bytes are only copied."""
    base, adapter = write_pair(tmp_path, ones(3, 4), ones(1, 4), ones(3, 1))
    path = base.shards[0].path
    path.write_bytes(path.read_bytes()[: base.entries()["other.weight"].start + 8])
    (tmp_path / "merged").mkdir()
    with pytest.raises(ReleaseError, match=r"the base ended while other\.weight was read"):
        write_merged([(MergedWeights(base, adapter), tmp_path / "merged")])


def test_base_cut_off_after_its_header_was_read(tmp_path: Path) -> None:
    """A base that lost its end since its header was read is told by the tensor, with a remedy."""
    base, adapter = write_pair(tmp_path, ones(3, 4), ones(1, 4), ones(3, 1))
    path = base.shards[0].path
    path.write_bytes(path.read_bytes()[:-1])
    error = fails(base, adapter, tmp_path)
    assert "the base ended while other.weight was read" in str(error)
    assert error.remedy


# Conversion


@pytest.mark.parametrize("to", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
def test_conversion(tmp_path: Path, dtype: Any, to: str) -> None:
    """With a dtype all floats are converted, merged ones and others, each rounded once; integers stay."""
    a, b = tiny.formula((2, 16), 2) / 100, tiny.formula((8, 2), 3) / 100
    weight = (tiny.formula((8, 16), 1) / 7).astype(dtype)
    base, adapter = write_pair(tmp_path, weight, a, b, alpha=2)
    other = (tiny.formula((5,), 4) / 7).astype(dtype)
    tiny.write_tensors(
        base.shards[0].path, {"proj.weight": weight, "other.weight": other, "ids": np.arange(3, dtype=np.int64)}
    )
    weights = MergedWeights(open_checkpoint(base.folder), adapter, to)
    (tmp_path / "merged").mkdir()
    write_merged([(weights, tmp_path / "merged")])
    merged = open_checkpoint(tmp_path / "merged")
    assert {name: entry.dtype for name, entry in merged.entries().items()} == {
        "proj.weight": to,
        "other.weight": to,
        "ids": "I64",
    }
    target = read(merged, "proj.weight").dtype
    exact_sum = weight.astype(np.float64) + b.astype(np.float64) @ a.astype(np.float64)
    assert (np.abs(read(merged, "proj.weight") - exact_sum) <= half_ulp(exact_sum.astype(target)) + 1e-6).all()
    assert np.array_equal(read(merged, "other.weight"), other.astype(target))
    assert weights.config_changes() == {"dtype": {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}[to]}


@pytest.mark.parametrize(
    ("dtype", "to", "value"),
    [
        (ml_dtypes.bfloat16, "F16", 70000),
        (np.float32, "F16", -65522),
        (np.float32, "BF16", 3.4e38),
        (np.float64, "F32", 1e39),
        (np.float64, "BF16", -1e300),
    ],
)
@pytest.mark.parametrize("name", ["proj.weight", "other.weight"])
def test_conversion_that_overflows(tmp_path: Path, dtype: Any, to: str, value: float, name: str) -> None:
    """A number that the chosen dtype cannot hold is told by its tensor and the dtype, also where nothing is merged."""
    tensors = {"proj.weight": ones(3, 4, dtype=dtype), "other.weight": ones(4, dtype=dtype)}
    tensors[name].reshape(-1)[1] = value
    base, adapter = write_pair(tmp_path, tensors["proj.weight"], ones(1, 4), ones(3, 1))
    tiny.write_tensors(base.shards[0].path, tensors)
    (tmp_path / "merged").mkdir()
    with pytest.raises(ReleaseError, match=f"{name} is not finite in {to}") as caught:
        write_merged([(MergedWeights(open_checkpoint(base.folder), adapter, to), tmp_path / "merged")])
    assert caught.value.remedy
    assert "[export] dtype" in caught.value.remedy


def test_largest_number_that_fits(tmp_path: Path) -> None:
    """What is rounded to the largest f16 still fits."""
    base, adapter = write_pair(tmp_path, ones(3, 4, value=65519), ones(1, 4, value=0), ones(3, 1))
    tiny.write_tensors(base.shards[0].path, {"proj.weight": ones(3, 4, value=65519)})
    weights = MergedWeights(open_checkpoint(base.folder), adapter, "F16")
    assert (whole_tensor(weights, "proj.weight") == 65504).all()


def test_new_tensor_of_a_quantized_base(tmp_path: Path) -> None:
    """A head that is new has the dtype of the base's floats, whatever most of its bytes are."""
    base, adapter = write_pair(tmp_path, ones(3, 4), ones(1, 4), ones(3, 1))
    quantized = {"proj.weight": ones(3, 4, dtype=ml_dtypes.bfloat16), "big.qweight": np.zeros((64, 64), np.uint8)}
    tiny.write_tensors(base.shards[0].path, quantized)
    tiny.write_tensors(adapter.weights.path, {"base_model.model.score.weight": ones(2, 4)})
    weights = MergedWeights(open_checkpoint(base.folder), read_adapter(adapter.folder))
    assert weights.outputs["score.weight"].dtype == "BF16"


def test_encoder_decoder_is_refused(tmp_path: Path) -> None:
    """An encoder-decoder is refused: its one embedding is read by both sides, which this merge does not know."""
    base, adapter = write_pair(tmp_path, ones(4, 4), ones(1, 4), ones(4, 1))
    (base.folder / "config.json").write_text(json.dumps({"model_type": "t5", "is_encoder_decoder": True}))
    with pytest.raises(ReleaseError, match="encoder-decoder") as caught:
        MergedWeights(base, adapter)
    assert "--format lora" in str(caught.value.remedy)
