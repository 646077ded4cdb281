"""Fuzzes the readers of files that come from elsewhere, guided by the code that they reach.

Run as `python -m bench.fuzz {header,adapter,imatrix,index} [SECONDS]`; it needs `pip install atheris`. Any input is
read or refused by a ReleaseError: what else is raised, or takes long, is a bug, and its input is kept.
"""

import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["tagship.weights", "tagship.gguf", "json", "gguf"]):
    from tagship.gguf.imatrix import read_imatrix
    from tagship.system.errors import ReleaseError
    from tagship.weights.adapter_config import CONFIG_FILE, WEIGHTS_FILE
    from tagship.weights.checkpoint import INDEX_FILE, open_checkpoint
    from tagship.weights.lora import read_adapter
    from tagship.weights.safetensors import read_header

_HEADER = b'{"a.lora_A.weight":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}'
_SEEDS: Mapping[str, bytes] = {
    "header": len(_HEADER).to_bytes(8, "little") + _HEADER + bytes(8),
    "adapter": b'{"peft_type":"LORA","r":1,"lora_alpha":1,"target_parameters":["experts.down_proj"]}' + b"\0" + _HEADER,
    "imatrix": b"\1\0\0\0\1\0\0\0x\1\0\0\0\1\0\0\0\0\0\x80?",
    "index": b'{"metadata":{},"weight_map":{"a":"model-00001-of-00001.safetensors"}}',
}


def header(folder: Path, data: bytes) -> None:
    """A safetensors file of these bytes."""
    (folder / "x.safetensors").write_bytes(data)
    read_header(folder / "x.safetensors")


def adapter(folder: Path, data: bytes) -> None:
    """An adapter: its configuration, and behind a zero the header of its weights."""
    config, _, text = data.partition(b"\0")
    (folder / CONFIG_FILE).write_bytes(config)
    (folder / WEIGHTS_FILE).write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
    read_adapter(folder)


def imatrix(folder: Path, data: bytes) -> None:
    """An importance matrix of these bytes."""
    (folder / "m").write_bytes(data)
    read_imatrix(folder / "m")


def index(folder: Path, data: bytes) -> None:
    """The index of a sharded checkpoint."""
    (folder / INDEX_FILE).write_bytes(data)
    open_checkpoint(folder)


_READERS: Mapping[str, Callable[[Path, bytes], None]] = {
    "header": header,
    "adapter": adapter,
    "imatrix": imatrix,
    "index": index,
}


def main(name: str, seconds: str) -> None:
    """Fuzz one reader for so long."""
    read = _READERS[name]
    with tempfile.TemporaryDirectory(prefix="tagship-fuzz-") as folder:
        seeds = Path(folder, "seeds")
        seeds.mkdir()
        (seeds / name).write_bytes(_SEEDS[name])

        def once(data: bytes) -> None:
            try:
                read(Path(folder), data)
            except ReleaseError:
                return

        options = [f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=2048", f"-artifact_prefix={name}-"]
        atheris.Setup([sys.argv[0], *options, str(seeds)], once)
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], *(sys.argv[2:] or ["60"]))
