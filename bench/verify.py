"""What comparing takes: `invoke verify` as a whole, of a synthetic Phi-3-mini with three exports.

Run as `python -m bench.verify [--layers 7] [--quant q8_0] [--against REVISION] [--gigabytes N]`: 7 layers are a billion
parameters, 32 the real model's 3.8. The formats are vllm, ollama (in that type) and lora, and are exported before. With
`--against` the same is done by another revision of tagship in this repository, in turns; for one that reads no text we
also do without. With `--gigabytes` everything runs in a memory control group of that size, page cache included, from a
cold cache.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from bench.limited import POLICY, limited, make_project
from bench.processes import Took, run

_ROOT = Path(__file__).parents[1]
# What is asked: the number of prompts, and of tokens of each answer.
_ASKED = ((2, 32), (3, 128))
_PROMPTS = ('"Write an AVRO schema for Customer"', '"Tell me a story of rivers"', '"Name all months"')
# Random weights say nothing for sure: of so many equally likely tokens, rounding decides which is the likeliest.
_LIMITS = "[verify.limits.{}]\nkl = 9\ntop1 = 0.000001\n"
_LIMITS_BEFORE = "[verify.kl]\n{} = 9\n"


class _Side(Struct, frozen=True, kw_only=True):
    """A revision of tagship: what it is called, its files, the limits in a policy that it reads, and the text."""

    name: str
    sources: Path
    quant: str
    limits: str
    text: str | None = None


def main(layers: int, quant: str, against: str | None, gigabytes: float | None) -> None:
    """Print a table for each number of questions."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tagship-bench-")))
        ours = _Side(name="tagship", sources=_ROOT, quant=quant, limits=_LIMITS)
        sides = [ours]
        if against:
            other = stack.enter_context(_checked_out(against, folder / "before"))
            sides.append(replace(ours, name="without the text", text="short.txt"))
            sides.append(replace(ours, name=f"revision {against}", sources=other, limits=_LIMITS_BEFORE))
        project = folder / "project"
        project.mkdir()
        make_project(project, layers, POLICY)
        (project / "short.txt").write_text("Hello there.\n")
        for side in {side.sources: side for side in sides}.values():
            _set_up(project, side, 2, 32)
            _run(project, side, ["export"])
            (project / "exports").rename(_kept(project, side))
        for number, tokens in _ASKED:
            took = {side.name: _verified(project, side, number, tokens, gigabytes) for side in sides}
            _print(f"{number} prompts of {tokens} tokens", took)


@contextmanager
def _checked_out(revision: str, folder: Path) -> Iterator[Path]:
    subprocess.run(["git", "worktree", "add", "--quiet", "--detach", str(folder), revision], cwd=_ROOT, check=True)
    try:
        yield folder
    finally:
        subprocess.run(["git", "worktree", "remove", "--force", str(folder)], cwd=_ROOT, check=True)


def _set_up(project: Path, side: _Side, number: int, tokens: int) -> None:
    """The project as a side is to find it, all committed."""
    shutil.copy(side.sources / "tasks.py", project)
    asked = f"[verify]\nprompts = [{', '.join(_PROMPTS[:number])}]\nmax_tokens = {tokens}\n"
    policy = POLICY.replace('"q4_k_m"', f'"{side.quant}"') + "[formats.lora]\n"
    text = f'text = "{side.text}"\n' if side.text else ""
    (project / "release.toml").write_text(policy + asked + text + side.limits.format(side.quant))
    (project / ".gitignore").write_text("base/\nadapters/\nexports*/\n.tagship/\n")
    author = ("-c", "user.name=bench", "-c", "user.email=bench@example.com")
    subprocess.run(["git", "add", "--all"], cwd=project, check=True)
    subprocess.run(
        ["git", *author, "commit", "--quiet", "--all", "--allow-empty", "--message=bench"], cwd=project, check=True
    )


def _verified(project: Path, side: _Side, number: int, tokens: int, gigabytes: float | None) -> Took:
    _set_up(project, side, number, tokens)
    kept = _kept(project, side)
    kept.rename(project / "exports")
    try:
        if not gigabytes:
            return _run(project, side, ["verify"])
        _drop_cache(project)
        with limited(int(gigabytes * 2**30)) as prefix:
            return _run(project, side, ["verify"], prefix)
    finally:
        (project / "exports").rename(kept)


def _kept(project: Path, side: _Side) -> Path:
    return project / f"exports-{'ours' if side.sources == _ROOT else 'theirs'}"


def _drop_cache(project: Path) -> None:
    """Have nothing of the project in the page cache: pages that are there are counted for whoever put them there."""
    os.sync()
    for path in project.rglob("*"):
        if path.is_file():
            with path.open("rb") as opened:
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _run(project: Path, side: _Side, task: Sequence[str], prefix: Sequence[str] = ()) -> Took:
    command = [*prefix, sys.executable, "-m", "invoke", *task, "--at", "20250914-132416"]
    return run(command, project, {"PYTHONPATH": str(side.sources / "pipeline")})


def _print(title: str, took: dict[str, Took]) -> None:
    print(f"\n### {title}\n\n| | seconds | of ours | processor seconds | anonymous memory | read from the disk |")
    print("|---|---:|---:|---:|---:|---:|")
    first = next(iter(took.values()))
    for name, each in took.items():
        print(
            f"| {name} | {each.seconds:.1f} | {each.seconds / first.seconds:.2f} | {each.processors:.0f} "
            f"| {each.memory / 1e9:.2f} GB | {each.from_disk / 1e9:.1f} GB |",
            flush=True,
        )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.verify")
    parser.add_argument("--layers", type=int, default=7)
    parser.add_argument("--quant", default="q8_0")
    parser.add_argument("--against")
    parser.add_argument("--gigabytes", type=float)
    return parser.parse_args()


if __name__ == "__main__":
    asked = _arguments()
    main(asked.layers, asked.quant, asked.against, asked.gigabytes)
