"""A GGUF that is divided: its files hold what one file would, and llama.cpp loads them together."""

import errno
import logging
import resource
from pathlib import Path
from typing import Any

import pytest
from tagship.gguf.conversion import GgufMetadata, write_ggufs
from tagship.system.files import sha256_of
from tagship.weights.checkpoint import open_checkpoint
from tagship.weights.lora import read_adapter
from tagship.weights.merge import MergedWeights

from tests import tiny

pytest.importorskip("torch")
gguf = pytest.importorskip("gguf")

pytestmark = pytest.mark.slow

METADATA = GgufMetadata(general={"general.name": "tiny"}, license="mit", add_bos=None)
MB = 1_000_000


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """The converter logs each tensor."""
    caplog.set_level(logging.ERROR)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> MergedWeights:
    folder = tmp_path_factory.mktemp("llama")
    base = tiny.llama(folder / "base", hidden=256)  # with rows that the converter permutes
    tiny.tokenizer(base)
    return MergedWeights(open_checkpoint(base), read_adapter(tiny.adapter(base, folder / "adapter")))


def write(weights: MergedWeights, folder: Path, *quants: str, max_shard: int | None) -> int:
    """Write GGUFs; returns the bytes of encoded tensors that were counted."""
    folder.mkdir(exist_ok=True)
    counted: list[int] = []
    targets = {quant: folder / f"tiny-{quant.upper()}.gguf" for quant in quants}
    write_ggufs(weights, weights.base.folder, targets, METADATA, counted.append, max_shard=max_shard)
    return sum(counted)


def test_a_disk_without_room(weights: MergedWeights, tmp_path: Path) -> None:
    """A file that there is no room for is told with its cause, and not kept."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OSError, match="could be written") as caught:
            write(weights, tmp_path, "bf16", max_shard=None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.errno == errno.ENOSPC
    assert not list(tmp_path.glob("*.gguf"))


@pytest.mark.parametrize("max_shard", [None, 40 << 10])
def test_digests_of_what_was_written(weights: MergedWeights, tmp_path: Path, max_shard: int | None) -> None:
    """Each file has the digest that its bytes have, whatever its types; one that was there is read by who wants it."""
    targets = {quant: tmp_path / f"tiny-{quant}.gguf" for quant in ("q4_k_m", "q8_0", "bf16", "f32")}
    made = (weights, weights.base.folder, targets, METADATA, lambda _: None)
    digests = write_ggufs(*made, max_shard=max_shard)
    files = sorted(tmp_path.glob("*.gguf"))
    assert digests == {path: sha256_of(path) for path in files}
    assert max_shard is None or len(files) > len(targets)
    files[0].unlink()
    again = write_ggufs(*made, max_shard=max_shard)
    assert again == {files[0]: digests[files[0]]}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def tensors(paths: list[Path]) -> dict[str, tuple[int, bytes]]:
    held: dict[str, tuple[int, bytes]] = {}
    for path in paths:
        for tensor in gguf.GGUFReader(path).tensors:
            assert tensor.name not in held
            held[tensor.name] = (tensor.tensor_type.value, tensor.data.tobytes())
    return held


def value(path: Path, key: str) -> Any:
    field = gguf.GGUFReader(path).fields.get(key)
    return field.contents() if field else None


def test_divided_files(weights: MergedWeights, tmp_path: Path) -> None:
    """Each file is named and numbered as llama.cpp wants, none is too large, and together they hold every tensor."""
    write(weights, tmp_path / "one", "q8_0", "f16", max_shard=None)
    write(weights, tmp_path / "some", "q8_0", "f16", max_shard=MB)
    assert names(tmp_path / "one") == ["tiny-F16.gguf", "tiny-Q8_0.gguf"]
    counts = {}
    for quant in ("F16", "Q8_0"):
        parts = sorted((tmp_path / "some").glob(f"tiny-{quant}-*.gguf"))
        counts[quant] = len(parts)
        assert [part.name for part in parts] == [
            f"tiny-{quant}-{number:05}-of-{len(parts):05}.gguf" for number in range(1, len(parts) + 1)
        ]
        whole = tensors([tmp_path / "one" / f"tiny-{quant}.gguf"])
        assert tensors(parts) == whole
        for number, part in enumerate(parts):
            assert (value(part, "split.no"), value(part, "split.count")) == (number, len(parts))
            assert value(part, "split.tensors.count") == len(whole)
            assert value(part, "general.name") == ("tiny" if number == 0 else None)
            held = gguf.GGUFReader(part).tensors
            assert sum(int(tensor.n_bytes) for tensor in held) <= MB or len(held) == 1
    assert counts["F16"] > counts["Q8_0"] > 1
    assert len(names(tmp_path / "some")) == sum(counts.values())


def test_small_enough_for_one_file(weights: MergedWeights, tmp_path: Path) -> None:
    """What fits is not divided, and has the same bytes as without a limit."""
    write(weights, tmp_path / "one", "q8_0", max_shard=None)
    write(weights, tmp_path / "limited", "q8_0", max_shard=100 * MB)
    assert names(tmp_path / "limited") == ["tiny-Q8_0.gguf"]
    assert (tmp_path / "limited" / "tiny-Q8_0.gguf").read_bytes() == (tmp_path / "one" / "tiny-Q8_0.gguf").read_bytes()


def test_llama_cpp_loads_the_first_of_them(weights: MergedWeights, tmp_path: Path) -> None:
    """llama.cpp finds the other files by the first one's name, and answers as with one file."""
    pytest.importorskip("xllamacpp")
    from tagship.verify.runtimes.llama_api import LlamaModel

    write(weights, tmp_path, "f16", max_shard=None)
    write(weights, tmp_path, "f16", max_shard=MB)
    found = []
    for name in ("tiny-F16.gguf", names(tmp_path)[0]):
        with LlamaModel(tmp_path / name, context=64) as model:
            found.append(model.generate([model.tokens("hello")], 4))
    assert names(tmp_path)[0].startswith("tiny-F16-00001-of-")
    assert found[0] == found[1] != [[]]


def test_whole_files_are_kept(weights: MergedWeights, tmp_path: Path) -> None:
    """A second call writes the files that are missing, and leaves alone those that are there."""
    all_of_it = write(weights, tmp_path, "q8_0", "f16", max_shard=MB)
    expected = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for path in [path for path in tmp_path.iterdir() if "00002-of" in path.name]:
        path.unlink()
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert write(weights, tmp_path, "q8_0", "f16", max_shard=MB) == all_of_it
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == expected
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
