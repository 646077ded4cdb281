"""Which files are LFS files, by the same .gitattributes that git-lfs reads."""

import re
from collections.abc import Iterable
from pathlib import Path

from tagship.hub_server.git import Git

_LFS = "filter=lfs diff=lfs merge=lfs -text"

# What the Hub writes into a new model repository.
_DEFAULT_PATTERNS = (
    *("*.7z", "*.arrow", "*.bin", "*.bz2", "*.ckpt", "*.ftz", "*.gz", "*.h5", "*.joblib", "*.lfs.*"),
    *("*.mlmodel", "*.model", "*.msgpack", "*.npy", "*.npz", "*.onnx", "*.ot", "*.parquet", "*.pb"),
    *("*.pickle", "*.pkl", "*.pt", "*.pth", "*.rar", "*.safetensors", "saved_model/**/*", "*.tar.*"),
    *("*.tar", "*.tflite", "*.tgz", "*.wasm", "*.xz", "*.zip", "*.zst", "*tfevents*"),
)
DEFAULT_GITATTRIBUTES = "".join(f"{pattern} {_LFS}\n" for pattern in _DEFAULT_PATTERNS)

# GGUF files are large and binary, so they would be LFS files anyway; a tiny one should be too.
ALWAYS_LFS_SUFFIXES = (".gguf",)


def lfs_line(path: str) -> str:
    """The line of .gitattributes that makes exactly `path` an LFS file, as the Hub adds it on a commit."""
    escaped = re.sub(r"([*?\[\]])", r"\\\1", path).replace(" ", "[[:space:]]")
    # A pattern without a slash would match in every folder, a leading # or ! is not literal.
    anchored = escaped if "/" in path else f"/{escaped}"
    return f"{anchored} {_LFS}\n"


def lfs_tracked(git: Git, index: Path, paths: Iterable[str]) -> set[str]:
    """Those of `paths` that the .gitattributes inside `index` hand to LFS."""
    wanted = list(paths)
    if not wanted:
        return set()
    feed = b"".join(path.encode() + b"\0" for path in wanted)
    output = git.run("check-attr", "-z", "--cached", "--stdin", "filter", feed=feed, index=index)
    fields = output.decode().split("\0")
    return {path for path, value in zip(fields[::3], fields[2::3], strict=False) if value == "lfs"}
