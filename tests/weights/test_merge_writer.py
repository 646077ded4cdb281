"""Several models of one base from one reading of it, and calls that finish what killed ones began."""

import errno
import os
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tagship.system.errors import ReleaseError
from tagship.system.files import sha256_of
from tagship.weights import merge_writer
from tagship.weights.checkpoint import open_checkpoint
from tagship.weights.layout import lay_out
from tagship.weights.lora import read_adapter
from tagship.weights.merge import MergedWeights
from tagship.weights.merge_writer import write_merged
from tagship.weights.schemes import SCHEMES

from tests import tiny

pytest.importorskip("torch")

KB = 1000
# An adapter of each kind that leaves other tensors of the base as they are.
ADAPTERS: Sequence[dict[str, Any]] = (
    {"target_modules": ["q_proj"]},
    {"target_modules": ["q_proj", "down_proj"], "use_dora": True},
    {"target_modules": ["v_proj"], "modules_to_save": ["lm_head"], "seed": 7},
    {"target_modules": ["embed_tokens", "lm_head"]},
)


def folder_of(path: Path) -> Path:
    path.mkdir()
    return path


def written(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def models(base: Path, adapters: Sequence[Path]) -> list[MergedWeights]:
    return [MergedWeights(open_checkpoint(base), read_adapter(adapter)) for adapter in adapters]


@pytest.fixture(scope="module", params=["60KB", "1GB"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.llama(tmp_path_factory.mktemp("base") / "base", shard=request.param)


@pytest.fixture(scope="module")
def adapters(base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return [tiny.adapter(base, folder / str(number), **lora) for number, lora in enumerate(ADAPTERS)]


@pytest.mark.parametrize("max_shard", [None, 100 * KB])
def test_several_models(base: Path, adapters: list[Path], tmp_path: Path, max_shard: int | None) -> None:
    """Models that are written together have the bytes that each has when it is written alone."""
    together = [(weights, folder_of(tmp_path / f"{number}")) for number, weights in enumerate(models(base, adapters))]
    counted: list[int] = []
    write_merged(together, counted.append, max_shard=max_shard)
    assert sum(counted) == sum(weights.nbytes for weights, _ in together)
    for number, weights in enumerate(models(base, adapters)):
        alone = folder_of(tmp_path / f"{number} alone")
        write_merged([(weights, alone)], max_shard=max_shard)
        assert written(tmp_path / f"{number}") == written(alone)


MANY = """
import sys
from pathlib import Path
from tagship.weights.checkpoint import open_checkpoint
from tagship.weights.lora import read_adapter
from tagship.weights.merge import MergedWeights
from tagship.weights.merge_writer import write_merged
folder = Path(sys.argv[1])
def read():
    return int(Path("/proc/self/io").read_text().split()[1])
before = read()
models = []
for adapter in sorted(folder.glob("adapter*")):
    (folder / "merged" / adapter.name).mkdir(parents=True)
    weights = MergedWeights(open_checkpoint(folder), read_adapter(adapter))
    models.append((weights, folder / "merged" / adapter.name))
write_merged(models)
print(read() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="only Linux counts what a process reads")
def test_the_base_is_read_once(tmp_path: Path) -> None:
    """Twenty adapters that change all of a base take one reading of it; what is made is read once, for its digest."""
    size, adapters = 1024, 20
    tiny.write_tensors(tmp_path / "model.safetensors", {"proj.weight": tiny.formula((size, size), 1)})
    for number in range(adapters):
        tiny.exact_lora(tmp_path / f"adapter{number}", {"proj": (size, size)}, rank=2)
    done = subprocess.run(
        [sys.executable, "-c", MANY, str(tmp_path)], capture_output=True, text=True, check=True, cwd=Path.cwd()
    )
    base = 4 * size * size
    assert base <= int(done.stdout) - adapters * base < 2 * base


def test_more_adapters_than_are_prepared_at_a_time(tmp_path: Path) -> None:
    """Adapters that are too large to be in memory together are merged in turns, to the same bytes."""
    rows, columns, rank = 4096, 64, 2048
    tiny.write_tensors(tmp_path / "model.safetensors", {"proj.weight": tiny.formula((rows, columns), 1)})
    shapes = {"proj": (rows, columns)}
    adapters = [tiny.exact_lora(tmp_path / f"adapter{number}", shapes, rank=rank) for number in range(3)]
    together = [folder_of(tmp_path / f"merged{number}") for number in range(3)]
    write_merged(list(zip(models(tmp_path, adapters), together, strict=True)))
    for weights, folder in zip(models(tmp_path, adapters), together, strict=True):
        write_merged([(weights, folder_of(folder / "alone"))])
        merged = (folder / "model.safetensors").read_bytes()
        assert (folder / "alone" / "model.safetensors").read_bytes() == merged


@pytest.mark.parametrize("max_shard", [None, 100 * KB])
def test_digests_of_what_was_written(base: Path, adapters: list[Path], tmp_path: Path, max_shard: int | None) -> None:
    """Each file has the digest that its bytes have, also where the numbers of tensors lie in several places of it."""
    schemes = [None, SCHEMES["fp8-dynamic"]]
    checkpoint, plain, moved = open_checkpoint(base), read_adapter(adapters[0]), read_adapter(adapters[2])
    merged = [MergedWeights(checkpoint, plain, scheme=scheme) for scheme in schemes] + [
        MergedWeights(checkpoint, moved),
        MergedWeights(checkpoint, plain, "F32"),
    ]
    made = [(weights, folder_of(tmp_path / f"{number}")) for number, weights in enumerate(merged)]
    digests = write_merged(made, max_shard=max_shard)
    files = [path for _, folder in made for path in folder.glob("*.safetensors")]
    assert digests == {path: sha256_of(path) for path in files}


def test_what_is_behind_is_waited_for(
    base: Path, adapters: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing may be written ahead of its digest, the bytes are the same."""
    monkeypatch.setattr(merge_writer, "_UNDIGESTED", 0)
    (weights,) = models(base, adapters[:1])
    digests = write_merged([(weights, folder_of(tmp_path / "made"))])
    assert digests and digests == {path: sha256_of(path) for path in digests}


# Resuming


def test_whole_files_are_kept(base: Path, adapters: list[Path], tmp_path: Path) -> None:
    """A second call writes the files that are missing, and leaves alone those that are there."""
    (weights,) = models(base, adapters[:1])
    folder = folder_of(tmp_path / "merged")
    write_merged([(weights, folder)], max_shard=60 * KB)
    expected = written(folder)
    shards = sorted(folder.glob("*.safetensors"))
    assert len(shards) > 3
    kept = {path: path.stat().st_mtime_ns for path in shards[:2]}
    for path in (*shards[2:], folder / "model.safetensors.index.json"):
        path.unlink()
    counted: list[int] = []
    digests = write_merged([(weights, folder)], counted.append, max_shard=60 * KB)
    assert written(folder) == expected
    assert digests.keys() == set(shards[2:])  # what was there may have been damaged since
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert sum(counted) == weights.nbytes


def test_failure_leaves_whole_files_alone(tmp_path: Path) -> None:
    """Where one tensor cannot be merged, files that were whole before stay, and nothing half-made is left."""
    bad = np.full((4, 4), np.nan, np.float32)
    tensors = {"a.weight": np.ones((4, 4), np.float32), "b.weight": bad, "c.weight": np.ones((4, 4), np.float32)}
    tiny.write_tensors(tmp_path / "model.safetensors", tensors)
    tiny.exact_lora(tmp_path / "adapter", {"a": (4, 4), "b": (4, 4)}, rank=1)
    folder = folder_of(tmp_path / "merged")
    whole = folder / "model-00001-of-00003.safetensors"
    whole.write_bytes(b"whole")
    with pytest.raises(ReleaseError, match=r"b\.weight is not finite"):
        write_merged([(models(tmp_path, [tmp_path / "adapter"])[0], folder)], max_shard=64)
    assert whole.read_bytes() == b"whole"
    assert {path.name for path in folder.iterdir()} <= {whole.name, "model-00003-of-00003.safetensors"}


FULL = """
import resource, sys
from pathlib import Path
from tagship.weights.checkpoint import open_checkpoint
from tagship.weights.lora import read_adapter
from tagship.weights.merge import MergedWeights
from tagship.weights.merge_writer import write_merged
folder = Path(sys.argv[1])
weights = MergedWeights(open_checkpoint(folder), read_adapter(folder / "adapter"))
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_merged([(weights, folder / "merged")])
except OSError as error:
    print(type(error).__name__, error.errno, list((folder / "merged").iterdir()))
"""


def test_a_disk_without_room(tmp_path: Path) -> None:
    """A file that there is no room for ends the call before anything is merged, and nothing is left."""
    tiny.write_tensors(tmp_path / "model.safetensors", {"proj.weight": tiny.formula((256, 256), 1)})
    tiny.exact_lora(tmp_path / "adapter", {"proj": (256, 256)}, rank=1)
    folder_of(tmp_path / "merged")
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=True, cwd=Path.cwd()
    )
    assert done.stdout == f"OSError {errno.EFBIG} []\n"


def test_room_is_set_aside_for_what_is_not_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file shares what is copied before its room is set aside: some file systems would keep both."""
    base = tiny.llama(tmp_path / "base")
    weights = MergedWeights(open_checkpoint(base), read_adapter(tiny.adapter(base, tmp_path / "adapter")))
    happened: list[tuple[int, ...]] = []
    set_length = os.ftruncate

    def shares(target: int, request: int, packed: bytes) -> None:
        _, start, length, at = struct.unpack("qQQQ", packed)
        happened.append((start, length, at))
        raise OSError(errno.EOPNOTSUPP, "no sharing here")

    def sets_length(descriptor: int, size: int) -> None:
        happened.append((size,))
        set_length(descriptor, size)

    monkeypatch.setattr("fcntl.ioctl", shares)
    monkeypatch.setattr(os, "ftruncate", sets_length)
    write_merged([(weights, folder_of(tmp_path / "merged"))])
    (shard,) = lay_out(weights).shards
    block = os.statvfs(tmp_path).f_frsize
    whole = [
        (first, last - first)
        for output, (at,) in shard.tensors
        if output.copied and (first := -(-at // block) * block) < (last := (at + output.nbytes) // block * block)
    ]
    assert whole
    # Nothing moves in this file: what is shared is in the same place of both.
    assert happened == [*((start, length, start) for start, length in whole), (shard.size,)]
