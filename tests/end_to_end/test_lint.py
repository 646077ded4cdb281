"""`invoke lint`: names of runs, exports, files and repositories, as users ask."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.end_to_end.conftest import AT, NEWEST_RUN, Project
from tests.tiny import write_tensors

BASE = "examples/avro/base"


@pytest.fixture
def run(project: Project) -> Path:
    """The newest run's folder."""
    return project.folder / "examples/avro/adapters" / NEWEST_RUN


def test_what_a_release_would_take(project: Project) -> None:
    """Without a name, the run and all names that a release would give are looked at; nothing is written."""
    before = project.files()
    done = project.invoke("lint", "--json")
    assert done.code == 0 and done.document["ok"]
    findings = {(each["field"], each["level"]) for each in done.document["findings"]}
    agreed = {(field, "ok") for field in ("base", "rank", "alpha", "epochs", "dataset", "format", "quantization")}
    assert findings == {*agreed, ("size", "warn"), ("version", "warn")}
    assert project.files() == before
    # And as people read it.
    done = project.invoke("lint")
    assert (done.code, done.stdout) == (0, "")
    assert f"{NEWEST_RUN}\n" in done.stderr and "  ok: rank: 16, as adapter_config.json\n" in done.stderr


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("r16", "r8", "error: rank: it says 8, but adapter_config.json: 16"),
        ("e6", "e60", "error: epochs: it says 60, but experiment_metadata.json: 6"),
        ("phi3avro", "llama3", "error: base: it says llama3, but the base model's config.json: phi3"),
        ("phi3avro", "phi3_7b", "error: size: it says 7b, but the base model's 2 safetensors headers: 2.95M"),
    ],
)
def test_lies(project: Project, run: Path, old: str, new: str, line: str) -> None:
    """A run that lies ends with 1, says what is there and how to name it; with --json the document is whole."""
    lying = run.rename(run.with_name(NEWEST_RUN.replace(old, new, 1)))
    for arguments in ((), (lying.name,), (str(lying),)):
        done = project.invoke("lint", *arguments, "--run", lying.name)
        assert done.code == 1 and line in done.stderr and "Traceback" not in done.stderr
    done = project.invoke("lint", lying.name, "--json")
    assert (done.code, done.document["ok"]) == (1, False)
    assert [each["remedy"] is not None for each in done.document["findings"] if each["level"] == "error"] == [True]
    # A release of it is refused before it exports.
    assert project.invoke("release", "--run", lying.name).code == 1
    assert not (project.folder / "exports").exists()


def test_exports_and_what_is_published(project: Project) -> None:
    """An export is found by its folder, its name and its repo's name, a repository by --repo."""
    assert project.invoke("release", "--format", "lora", "--at", AT).code == 0
    name = f"{NEWEST_RUN}-lora-{AT}"
    for arguments in ((f"exports/{name}",), (name,), (f"{NEWEST_RUN}-lora",), ("--repo", f"acme/{NEWEST_RUN}-lora")):
        done = project.invoke("lint", *arguments, "--json")
        assert done.code == 0
        agreed = {each["field"] for each in done.document["findings"] if each["level"] == "ok"}
        assert agreed == {"base", "rank", "alpha", "epochs", "dataset", "format"}
    # A base model that is on the Hub alone is read there.
    project.replace("release.toml", f'path    = "{BASE}"\n', "")
    project.replace("release.toml", "publish = true\n", "")
    done = project.invoke("lint", name, "--base", "acme/phi3avro", "--json")
    assert [each["held"] for each in done.document["findings"] if each["field"] == "base"] == ["phi3"]
    # Whole weights in its place.
    folder = project.folder / "exports" / name
    (folder / "adapter_model.safetensors").unlink()
    (folder / "adapter_config.json").unlink()
    write_tensors(folder / "model.safetensors", {"q": np.zeros((2, 2), np.float16)})
    done = project.invoke("lint", name)
    assert done.code == 1 and "format: it says lora, but its files: whole weights" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["none"], 1, "there is no run, export or folder 'none'"),
        (["none"], 1, "name one below examples/avro/adapters or exports"),
        (["examples"], 1, "holds neither an adapter, nor weights as safetensors, nor a GGUF"),
        (["examples/avro/adapters"], 1, "but adapters in folders below it"),
        (["a", "--repo", "acme/b"], 2, "are two things to look at"),
        (["--jsn"], 2, "lint has no option --jsn: did you mean --json?"),
        (["--repo", "acme/none"], 1, "there is no model acme/none"),
        (["--tag", "v9.9.9"], 1, "v9.9.9"),
    ],
)
def test_mistakes(project: Project, arguments: list[str], code: int, message: str) -> None:
    """What is not there, or cannot be asked, is one message."""
    done = project.invoke("lint", *arguments)
    assert (done.code, message in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


def test_base_that_nobody_has(project: Project, run: Path) -> None:
    """Without the base model, the rest is compared, and it is said what was not. A plan says where it should be."""
    shutil.rmtree(project.folder / BASE)
    done = project.invoke("lint", NEWEST_RUN, "--json")
    assert done.code == 0
    (finding,) = [each for each in done.document["findings"] if each["field"] == "base and size"]
    assert finding["level"] == "warn" and finding["held"].startswith("not compared: ")
    done = project.invoke("lint", NEWEST_RUN, "--base", "acme/phi3avro", "--json")
    (finding,) = [each for each in done.document["findings"] if each["field"] == "base and size"]
    assert finding["held"].startswith("not compared: the base model acme/phi3avro should be in ")
    planned = project.invoke("plan", "--base", "acme/phi3avro")
    assert planned.code == 0 and f"{BASE}, which does not exist; name the folder" in planned.stderr


def test_damaged_files(project: Project, run: Path) -> None:
    """A damaged header is one message, of a GGUF by itself too."""
    (project.folder / BASE / "model-00001-of-00002.safetensors").write_bytes(b"short")
    (project.folder / "a-Q4_0.gguf").write_bytes(b"GGUF")
    for arguments, message in (
        ((), "is not a whole safetensors file"),
        ((NEWEST_RUN,), "is not a whole safetensors file"),
        (("a-Q4_0.gguf",), "is not a whole GGUF file"),
    ):
        done = project.invoke("lint", *arguments)
        assert (done.code, message in done.stderr) == (1, True), done.stderr
        assert "Traceback" not in done.stderr
