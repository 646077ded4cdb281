"""An export by `invoke export` under a memory limit, in a project whose base is a synthetic Phi-3-mini.

Run as `python -m bench.limited [LAYERS] [GIGABYTES]`: 32 layers (3.8B parameters) and 2 by default. The limit is
a memory control group, which counts the page cache, too: by systemd-run where that works, or made by hand by root.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.checkpoint import make_apart

_EXAMPLE = Path(__file__).parents[1] / "examples/avro/base"
_RUN = "phi3mini-random-r32-a64-e1-20250914-132416"
POLICY = """
[project]
namespace = "bench"

[hub]
endpoint = "embedded"

[naming.bases]
"bench/phi3mini" = "phi3mini"

[bases."bench/phi3mini"]
path = "base"
license = "mit"

[formats.vllm]
[formats.ollama]
quants = ["q4_k_m"]
"""
_GROUPS = (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max"))


def main(layers: int, gigabytes: float) -> None:
    """Make the project, export from it, and print what was exported and what it took."""
    with tempfile.TemporaryDirectory(prefix="tagship-bench-") as name:
        project = Path(name)
        make_project(project, layers, POLICY)
        os.sync()
        for form in ("vllm", "ollama"):
            with limited(int(gigabytes * 2**30)) as prefix:
                command = [*prefix, sys.executable, "-m", "invoke", "export", "--format", form]
                began = time.monotonic()
                subprocess.run(command, cwd=project, check=True)
                print(f"{form}: {time.monotonic() - began:.0f} s with {gigabytes} GiB", flush=True)
        subprocess.run(["du", "-sh", *map(str, (project / "exports").iterdir())], check=True)


def make_project(folder: Path, layers: int, policy: str) -> None:
    """Write a repository with a run of an adapter for a synthetic Phi-3-mini of so many layers."""
    make_apart(folder, layers)
    for path in [*_EXAMPLE.glob("tokenizer*"), _EXAMPLE / "chat_template.jinja"]:
        shutil.copy(path, folder / "base")
    (folder / "adapters").mkdir()
    (folder / "adapter").rename(folder / "adapters" / _RUN)
    configuration = folder / "adapters" / _RUN / "adapter_config.json"
    text = configuration.read_text().replace(str(folder / "base"), "bench/phi3mini")
    configuration.write_text(text)
    (folder / "release.toml").write_text(policy)
    shutil.copy(Path(__file__).parents[1] / "tasks.py", folder)
    (folder / ".gitignore").write_text("base/\nadapters/\nexports/\n.tagship/\n")
    author = ("-c", "user.name=bench", "-c", "user.email=bench@example.com")
    for command in (["init", "--quiet"], ["add", "."], [*author, "commit", "--quiet", "--message=bench"]):
        subprocess.run(["git", *command], cwd=folder, check=True)


@contextmanager
def limited(limit: int) -> Iterator[list[str]]:
    """What to put before a command so that it has no more than so many bytes."""
    scope = ["systemd-run", "--user", "--scope", "--quiet", "-p", f"MemoryMax={limit}", "-p", "MemorySwapMax=0"]
    if shutil.which(scope[0]) and not subprocess.run([*scope, "true"], capture_output=True, check=False).returncode:
        yield scope
        return
    for root, file in _GROUPS:
        group = Path(root, f"tagship-bench-{os.getpid()}")
        if os.access(root, os.W_OK) and (Path(root) / "cgroup.procs").exists():
            group.mkdir()
            try:
                (group / file).write_text(str(limit))
                yield ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh"]
                print(f"peak: {_peak(group) / 1e9:.2f} GB, page cache among it", flush=True)
            finally:
                group.rmdir()
            return
    raise SystemExit("there is neither a systemd-run --user that works nor a memory control group to write to")


def _peak(group: Path) -> int:
    files = (group / "memory.max_usage_in_bytes", group / "memory.peak")
    return next(int(file.read_text()) for file in files if file.exists())


if __name__ == "__main__":
    layers, gigabytes = (*sys.argv[1:], *("32", "2")[len(sys.argv) - 1 :])
    main(int(layers), float(gigabytes))
