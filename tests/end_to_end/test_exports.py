"""`invoke export`: several runs from one reading of the base, divided files, and exports that were killed."""

import json
import re
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from tagship.gguf.header import read_gguf_header

from tests.end_to_end.conftest import AT, NEWEST_RUN, Project

OLDER_RUN = "phi3avro-minimal-r8-a16-e4-20250913-091500"
RUNS = (NEWEST_RUN, OLDER_RUN)


def export(project: Project, *options: str, runs: tuple[str, ...] = RUNS, code: int = 0) -> str:
    """Run `invoke export`; gives what it says on standard error where it fails, else on standard output."""
    chosen = [part for run in runs for part in ("--run", run)]
    done = project.invoke("export", *chosen, "--at", AT, *options)
    assert done.code == code, done.stderr
    return done.stderr if code else done.stdout


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_several_runs(project: Project) -> None:
    """Runs that are exported together have the files that each has when it is exported alone."""
    document = json.loads(export(project, "--format", "vllm", "--format", "lora", "--json"))
    assert [(entry["run"], entry["format"]) for entry in document["formats"]] == [
        (run, form) for form in ("vllm", "lora") for run in RUNS
    ]
    together = contents(project.folder / "exports")
    assert {name.partition("/")[0] for name in together} == {
        Path(entry["export_dir"]).name for entry in document["formats"]
    }
    for run in RUNS:
        export(project, "--format", "vllm", "--format", "lora", "--output", "alone", runs=(run,))
    assert contents(project.folder / "alone") == together
    models = [together[f"{run}-vllm-{AT}/model-00001-of-00002.safetensors"] for run in RUNS]
    assert models[0] != models[1]


def test_several_runs_as_gguf(project: Project) -> None:
    """GGUFs of several runs in several quantization types are each what they are alone."""
    quants = ("--format", "ollama", "--quant", "q8_0", "--quant", "q4_0")
    export(project, *quants)
    together = contents(project.folder / "exports")
    assert len([name for name in together if name.endswith(".gguf")]) == 4
    export(project, *quants[:4], "--output", "alone", runs=(OLDER_RUN,))
    alone = contents(project.folder / "alone")
    (manifest,) = [name for name in alone if name.endswith("release.json")]
    said = [json.loads(each.pop(manifest)) for each in (alone, together)]
    assert [len(each.pop("siblings")) for each in said] == [0, 1]  # what is released with it, without a tag
    assert alone and alone.items() <= together.items()
    assert said[0] == said[1]


def test_runs_of_different_bases(project: Project) -> None:
    """Runs of different bases are refused before anything is written: they cannot share a reading."""
    project.replace(
        "release.toml", "[formats.vllm]", '[bases."org/other"]\npath = "examples/avro/base"\n\n[formats.vllm]'
    )
    config = project.folder / "examples/avro/adapters" / OLDER_RUN / "adapter_config.json"
    document = json.loads(config.read_text()) | {"base_model_name_or_path": "org/other"}
    config.write_text(json.dumps(document))
    said = export(project, "--format", "lora", code=2)
    assert re.search(r"base model acme/\S+, and \S+ of org/other", said)
    assert not (project.folder / "exports").exists()


def test_same_run_twice(project: Project) -> None:
    """A run that is named twice, by its name and by its path, is exported once."""
    path = f"examples/avro/adapters/{OLDER_RUN}"
    document = json.loads(export(project, "--format", "lora", "--json", runs=(OLDER_RUN, path)))
    assert [entry["run"] for entry in document["formats"]] == [OLDER_RUN]


@pytest.mark.long
def test_divided_files(project: Project) -> None:
    """With [export] max_shard both formats are divided, verified, and the card says what runs a divided GGUF."""
    project.replace("release.toml", "[formats.vllm]", '[export]\nmax_shard = "0.5MB"\n\n[formats.vllm]')
    done = project.invoke("release", "--format", "vllm", "--format", "ollama", "--at", AT, "--json")
    assert done.code == 0, done.stderr
    vllm, ollama = (entry["files"] for entry in done.document["formats"])
    assert len([file for file in vllm if file["path"].endswith(".safetensors")]) > 2
    parts = [file["path"] for file in ollama if file["path"].endswith(".gguf")]
    assert len(parts) > 1
    (folder,) = (project.folder / "exports").glob("*-ollama-*")
    card = (folder / "README.md").read_text()
    assert f"--hf-file {parts[0]}" in card
    assert f"llama-gguf-split --merge {parts[0]}" in card
    assert "ollama run hf.co" not in card


def importance(path: Path) -> Path:
    """An importance matrix, in the older of llama.cpp's formats, for one tensor of the example."""
    name = b"blk.0.attn_output.weight"
    numbers = struct.pack("<256f", *range(1, 257))
    path.write_bytes(struct.pack("<ii", 1, len(name)) + name + struct.pack("<ii", 1, 256) + numbers)
    return path


def test_importance_matrix(project: Project) -> None:
    """--imatrix changes the tensors that it has numbers for; the file's own bytes decide whether one is kept."""
    quant = ("--format", "ollama", "--quant", "q4_0")
    matrix = importance(project.folder / "m.dat")
    export(project, *quant, runs=(NEWEST_RUN,))
    plain = contents(project.folder / "exports")
    export(project, *quant, "--imatrix", "m.dat", "--output", "weighed", runs=(NEWEST_RUN,))
    (name,) = (name for name in plain if name.endswith(".gguf"))
    weighed = contents(project.folder / "weighed")
    assert weighed[name] != plain[name]
    project.replace("release.toml", "[formats.vllm]", '[export]\nimatrix = "m.dat"\n\n[formats.vllm]')
    export(project, *quant, "--output", "policy", runs=(NEWEST_RUN,))
    assert contents(project.folder / "policy")[name] == weighed[name]
    matrix.write_bytes(matrix.read_bytes()[:-4] + struct.pack("<f", 1e6))
    export(project, *quant, "--output", "policy", runs=(NEWEST_RUN,))
    assert contents(project.folder / "policy")[name] != weighed[name]


@pytest.mark.parametrize(("content", "code", "said"), [(None, 2, "there is no"), (b"other", 1, "is no importance")])
def test_bad_importance_matrix(project: Project, content: bytes | None, code: int, said: str) -> None:
    """An importance matrix that is missing is a mistake in the options; another file ends before anything is made."""
    if content is not None:
        (project.folder / "m.dat").write_bytes(content)
    told = export(project, "--format", "ollama", "--imatrix", "m.dat", runs=(NEWEST_RUN,), code=code)
    assert said in told
    assert not (project.folder / "exports").exists()


@pytest.mark.long
def test_importance_matrix_made_here(project: Project) -> None:
    """`make` makes a matrix of the merged model once: published beside each GGUF and named in it, kept by what it is
    made from, and made anew where it was damaged. A type that needs one is refused without."""
    types = ("--format", "ollama", "--quant", "iq2_xs", "--quant", "q4_0")
    told = export(project, *types, runs=(NEWEST_RUN,), code=1)
    assert "the quantization type iq2_xs takes an importance matrix" in told
    assert '[export] imatrix = "make"' in told
    making = '[export]\nimatrix = "make"\n'
    project.replace("release.toml", "[formats.vllm]", f'{making}imatrix_text = "measured.txt"\n\n[formats.vllm]')
    told = export(project, *types, runs=(NEWEST_RUN,), code=1)
    assert "exports are made from measured.txt, which [verify] text measures them by" in told
    project.replace("release.toml", 'imatrix_text = "measured.txt"\n', "")
    asked = project.invoke("imatrix", "--run", NEWEST_RUN, "--json")
    assert "making the importance matrix, where it was not made before: " in asked.stderr
    made = asked.document["imatrix"]
    assert [Path(path).name for path in made] == ["imatrix.gguf"]  # below the project's folder
    matrix = project.folder / made[0]
    first = matrix.read_bytes()
    chosen = ("--run", NEWEST_RUN, "--at", AT, *types)
    assert "made before, of the same" in project.invoke("export", *chosen).stderr
    exported = sorted((project.folder / "exports").glob("*/imatrix.gguf"))
    assert [path.read_bytes() for path in exported] == [first, first]
    for path in exported:
        (file,) = (file for file in path.parent.glob("*.gguf") if file != path)
        said = read_gguf_header(file)
        assert said.text("quantize.imatrix.file") == "imatrix.gguf"
        assert said.text("quantize.imatrix.dataset") == "calibration.jsonl"
        assert said.number("quantize.imatrix.entries_count") == len(read_gguf_header(path).tensors) // 3
        assert (said.number("quantize.imatrix.chunks_count") or 0) > 1
    matrix.write_bytes(first[:-4] + b"oops")
    assert "is not as it was made" in project.invoke("export", *chosen, "--output", "again").stderr
    assert matrix.read_bytes() == first
    # It goes with the last export that was made from it.
    states = [json.loads(path.read_text()) for path in (project.folder / ".tagship/exports").glob("*.json")]
    assert [state["shared"] for state in states] == [[matrix.parent.name]] * len(states)
    shared = project.invoke("clean", "--keep", "1", "--json").document["kept"][-1]
    assert (shared["what"], shared["path"]) == ("shared part", str(matrix.parent))
    removed = project.invoke("clean", "--keep", "0", "--json").document["removed"]
    assert str(matrix.parent) in [each["path"] for each in removed]
    assert list(matrix.parent.parent.iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from tagship.cli.session import open_session
from tagship.system.console import Console
from tagship.release.export_store import export_together
from tagship.release.jobs import job_of
from tagship.hub.fetch import fetch_base, locate_base
from tagship.release.options import Options
form, most = sys.argv[1], int(sys.argv[2])
done = 0
def advance(written):
    global done
    done += written
    if done > most:
        os.kill(os.getpid(), signal.SIGKILL)
with open_session(None, Options(formats=(form,)), Console(interactive=False)) as session:
    plan = session.plan()
    with session.hub() as hub:
        base = fetch_base(locate_base(plan.base, hub))
    parts = [(target, job_of(plan, target, base, session.templates)) for target in plan.targets]
    export_together(plan, parts, advance)
"""


@pytest.mark.parametrize(
    ("form", "kind", "after"),
    [("vllm", "*.safetensors", "3000000"), ("ollama", "*.gguf", "1200000"), ("mlx", "*.safetensors", "1200000")],
)
def test_killed_export_is_resumed(project: Project, form: str, kind: str, after: str) -> None:
    """An export that was killed between two files keeps the whole ones, also under another time's name."""
    policy = '[export]\nmax_shard = "0.5MB"\n\n[formats.mlx]\ngroup_size = 32\n\n[formats.vllm]'
    project.replace("release.toml", "[formats.vllm]", policy)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, form, after],
        cwd=project.folder,
        env=dict(project.environment),
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert list((project.folder / "exports").glob("[!.]*")) == []
    (left,) = (project.folder / "exports").glob(".*.partial")
    whole = {path.name: path.stat().st_ino for path in left.glob(kind) if not path.name.startswith(".")}
    assert whole
    export(project, "--format", form, runs=(NEWEST_RUN,))
    (made,) = (project.folder / "exports").iterdir()
    assert {name: (made / name).stat().st_ino for name in whole} == whole
    export(project, "--format", form, "--output", "fresh", runs=(NEWEST_RUN,))
    assert contents(made) == contents(project.folder / "fresh" / made.name)


def test_leftovers_of_another_adapter_are_not_used(project: Project) -> None:
    """What was killed is only resumed from the same adapter; what else is left is removed."""
    project.replace("release.toml", "[formats.vllm]", '[export]\nmax_shard = "0.5MB"\n\n[formats.vllm]')
    subprocess.run(
        [sys.executable, "-c", KILLED, "vllm", "3000000"],
        cwd=project.folder,
        env=dict(project.environment),
        check=False,
    )
    export(project, "--format", "vllm", runs=(OLDER_RUN,))
    (made,) = (project.folder / "exports").iterdir()
    export(project, "--format", "vllm", "--output", "fresh", runs=(OLDER_RUN,))
    assert contents(made) == contents(project.folder / "fresh" / made.name)


CHANGING = KILLED.replace("os.kill(os.getpid(), signal.SIGKILL)", "change(base.path / 'tokenizer.json')").replace(
    "done = 0\n",
    """done, changed = 0, []
def change(file):
    if not changed:
        changed.append(file)
        file.write_bytes(file.read_bytes() + b"\\n")
""",
)


@pytest.mark.parametrize("form", ["vllm", "ollama"])
def test_base_that_changes_meanwhile(project: Project, form: str) -> None:
    """An export of a base that was written while it was read is of neither the one nor the other: it is not kept."""
    ended = subprocess.run(
        [sys.executable, "-c", CHANGING, form, "0"],
        cwd=project.folder,
        env=dict(project.environment),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1 and "tokenizer.json changed while exports were made of it" in ended.stderr, (
        ended.stderr
    )
    exports = project.folder / "exports"
    assert list(exports.glob("[!.]*")) == [] and list(exports.glob(".*.partial")) == []
    export(project, "--format", form, runs=(NEWEST_RUN,))
