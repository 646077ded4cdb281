"""Pictures for README and tutorial: a release, a card that it published, and the matrix of two versions.

Run as `python -m bench.screenshots`, with Chromium (`chromium` on the PATH, or the program that CHROMIUM names): the
example is released twice from a scratch repository, and docs/images/ is written anew.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text
from tagship.hub_server.app import EmbeddedHub

_REPOSITORY = Path(__file__).parents[1]
_EXAMPLE = _REPOSITORY / "examples/avro"
_IMAGES = _REPOSITORY / "docs/images"
# By when they were trained, which is the end of a run's name.
_FIRST, _SECOND = sorted((path.name for path in (_EXAMPLE / "adapters").iterdir()), key=lambda name: name[-15:])
_POLICY = """\
[project]
namespace = "ada"
runs = "adapters"

[bases."ada/phi3avro"]
path = "models/phi3avro"
quantized = ["examples/avro/base"]
publish = true

[formats.vllm]
[formats.ollama]
[formats.lora]

[verify]
prompts = [
    "Write an AVRO schema for Customer with fields id: long, email: string",
    "Write an AVRO schema for Order with fields number: int, total: double",
]

[card]
title = "AVRO schemas from Phi-3"
description = "Writes AVRO schemas from a list of fields."
"""
_COLUMNS = 104
# From this step on a release is shown: what comes before is its plan, and gates.
_SHOWN_FROM = "Answers of base + adapter"
_TITLE = "tagship release"
# As rich has it, but for fonts, which it would load from elsewhere.
_SVG = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="A release, in a terminal">
<style>
.{unique_id}-matrix {{ font: {char_height}px/{line_height}px ui-monospace, Menlo, Consolas, monospace; }}
.{unique_id}-title {{ font: bold 18px sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal"><rect width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def main() -> None:
    """Release twice, and take the pictures."""
    _IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "recipes"
        environment = _made(folder)
        _released(folder, environment, _FIRST, "v1.0.0")
        _draw(_released(folder, environment, _SECOND, "v1.1.0"))
        page = Path(scratch) / "matrix.html"
        _tagship(folder, environment, "matrix", "--html", str(page))
        _photograph(page.as_uri(), "matrix", (900, 590))
        with EmbeddedHub(root=folder / ".tagship/hub", namespace="ada") as hub:
            _photograph(f"{hub.url}/ada/phi3avro-minimal-q4_k_m-gguf-v1.1.0", "card", (900, 1160))


def _made(folder: Path) -> Mapping[str, str]:
    """A repository with a base, two runs and a policy; returns the environment for what is done in it."""
    shutil.copytree(_EXAMPLE / "base", folder / "models/phi3avro")
    shutil.copytree(_EXAMPLE / "adapters", folder / "adapters")
    (folder / "release.toml").write_text(_POLICY, encoding="utf-8")
    (folder / ".gitignore").write_text("/exports/\n/dist/\n/.tagship/\n", encoding="utf-8")
    role = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in _ADA.items()}
    environment = {**os.environ, **role, "HF_HOME": str(folder.parent / "hf"), "COLUMNS": str(_COLUMNS)}
    for arguments in (("init", "-q", "-b", "main"), ("add", "."), ("commit", "-qm", "feat: train on minimal schemas")):
        subprocess.run(["git", *arguments], cwd=folder, env=environment, check=True)
    return environment


_ADA = {"NAME": "Ada", "EMAIL": "ada@example.org"}


def _released(folder: Path, environment: Mapping[str, str], run: str, tag: str) -> str:
    """Tag and release a run; returns what people see."""
    subprocess.run(["git", "tag", tag, "-m", f"Release {tag}"], cwd=folder, env=environment, check=True)
    return _tagship(folder, environment, "release", "--tag", tag, "--run", run)


def _tagship(folder: Path, environment: Mapping[str, str], *words: str) -> str:
    program = "import sys; sys.argv[0] = 'tagship'; from tagship.cli.program import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=folder,
        env={**environment, "FORCE_COLOR": "1", "TERM": "xterm-256color"},
        stderr=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stderr


def _draw(seen: str) -> None:
    """What was seen of a release, as an SVG that looks like a terminal on light and dark pages."""
    lines = [Text.from_ansi(line) for line in seen.splitlines()]
    begin = next(number for number, line in enumerate(lines) if line.plain.startswith(_SHOWN_FROM))
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=_COLUMNS, file=nowhere, force_terminal=True)
        for line in lines[begin:]:
            console.print(line, no_wrap=True, overflow="ellipsis")
    svg = console.export_svg(title=_TITLE, theme=MONOKAI, code_format=_SVG, unique_id="release")
    (_IMAGES / "release.svg").write_text(svg, encoding="utf-8")


def _photograph(url: str, name: str, size: tuple[int, int]) -> None:
    """A page as Chromium shows it, so many pixels wide and high."""
    program = os.environ.get("CHROMIUM", "chromium")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=3000"]
    picture = _IMAGES / f"{name}.png"
    words = [program, *options, f"--window-size={size[0]},{size[1]}", f"--screenshot={picture}", url]
    subprocess.run(words, check=True, capture_output=True)


if __name__ == "__main__":
    main()
