"""What is said of an export was seen: evidence in its manifest, its card and on the Hub, and nothing without it."""

import json
import re
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Project

TASK = """
[evaluate]
name   = "AVRO schemas"
file   = "evaluate.jsonl"
score  = "json_schema"
schema = "avro.schema.json"
"""
EXAMPLE = Path(__file__).parents[2] / "examples/avro"


def folder_of(project: Project, kind: str) -> Path:
    (found,) = (project.folder / "exports").glob(f"*-{kind}-*")
    return found


def test_what_was_not_verified_is_not_said_to_be(project: Project) -> None:
    """Exported, described and packaged, an export says nothing of answers; verified and described again, it does."""
    for verb in ("export", "card", "package"):
        assert project.invoke(verb, "--format", "lora").code == 0
    folder = folder_of(project, "lora")
    assert "erified" not in (folder / "README.md").read_text()
    assert json.loads((folder / "release.json").read_text())["evidence"] is None
    for verb in ("verify", "card"):
        assert project.invoke(verb, "--format", "lora").code == 0
    card = (folder / "README.md").read_text()
    assert "## Verified" in card and "TRAINED" in card.partition("## Example")[2]
    evidence = json.loads((folder / "release.json").read_text())["evidence"]
    assert (evidence["outcome"], evidence["copied"]) == ("passed", True)


def test_export_that_fails(project: Project) -> None:
    """An export that is over a limit is refused, and the message names the table that sets another; where the policy
    does not require it to pass, it goes out, and says so in card and manifest."""
    project.replace("release.toml", "max_tokens = 128", "max_tokens = 128\n[verify.limits.q4_k_m]\nkl = 1e-9")
    refused = project.invoke("release", "--format", "ollama", "--quick")
    assert refused.code == 1 and "mean KL" in refused.stderr and "[verify.limits.q4_k_m]" in refused.stderr
    assert "Publish" not in refused.stderr
    project.replace("release.toml", "[verify]\n", "[verify]\nrequired = false\n")
    done = project.invoke("release", "--format", "ollama", "--quick", "--json")
    assert done.code == 0 and "failed: the ollama q4_k_m export does not answer" in done.stderr
    (entry,) = done.document["formats"]
    assert entry["verified"]["outcome"] == "failed"
    card = (project.folder / entry["export_dir"] / "README.md").read_text()
    assert "**This export did not pass its comparison with base + adapter** (failed: " in card
    assert "Example" not in card


def test_type_that_costs_too_much(project: Project) -> None:
    """A quantization type that changes the model too much is refused, with the table that would allow it; where the
    policy has that table its limits hold, and no longer the type's own."""
    types = ("verify", "--format", "ollama", "--quant", "q2_k", "--json")
    assert project.invoke("export", *types[1:]).code == 0
    refused = project.invoke(*types)
    assert refused.code == 1
    asked = r"\[verify\.limits\.q2_k\] in release\.toml sets kl and top1 for it, which are (0\.\d+) and (0\.\d+) here"
    would_do = re.search(asked, " ".join(refused.stderr.split()))
    assert would_do is not None, refused.stderr
    assert 0 < float(would_do[1]) < 0.6 and 0.6 < float(would_do[2]) < 1
    table = "max_tokens = 128\n[verify.limits.q2_k]\n"
    project.replace("release.toml", "max_tokens = 128\n", f"{table}kl = 0.6\ntop1 = 0.6\n")
    allowed = project.invoke(*types)
    assert allowed.code == 0, allowed.stderr
    (verified,) = (entry["verified"] for entry in allowed.document["formats"])
    assert (verified["limits"]["kl"], verified["limits"]["top1"]) == (0.6, 0.6)
    project.replace("release.toml", "top1 = 0.6", "top1 = 0.99")
    refused = project.invoke(*types)
    assert refused.code == 1 and "the limit is 99.0%" in refused.stderr


@pytest.mark.long
def test_quantization_types_side_by_side(project: Project) -> None:
    """Their cards show what was measured of each, and a plot; less is compared with --quick, and that is said."""
    project.git("tag", "-a", "v1.0.0", "-m", "first")
    types = ("--format", "ollama", "--quant", "q4_k_m", "--quant", "q8_0")
    done = project.invoke("release", *types, "--quick", "--json")
    assert "and of no text, by --quick" in done.stderr
    assert "warning: --quick compares less than is usual, which v1.0.0 will say" in done.stderr
    assert done.code == 0, done.stderr
    for entry in done.document["formats"]:
        folder = project.folder / entry["export_dir"]
        card = (folder / "README.md").read_text()
        assert "](quality.svg)" in card and "fewer than is usual" in card
        assert "quality.svg" in {file["path"] for file in entry["files"]}
        assert entry["verified"]["quick"] and "text" not in entry["verified"]
        assert (folder / "quality.svg").read_text().count("Q8_0") + (folder / "quality.svg").read_text().count("q8_0")
    again = project.invoke("release", *types, "--quick", "--json")
    assert again.code == 0, again.stderr
    assert [each["files"] for each in again.document["formats"]] == [each["files"] for each in done.document["formats"]]


def test_task(project: Project) -> None:
    """Scores are in card and manifest; a release that is worse than the last one is refused, with its cases."""
    for name in ("evaluate.jsonl", "avro.schema.json"):
        (project.folder / name).write_text((EXAMPLE / name).read_text())
    project.replace("release.toml", "[card]", f"{TASK}\n[card]")
    project.git("add", ".")
    project.git("commit", "--quiet", "--message", "feat: a task")
    project.git("tag", "-a", "v1.0.0", "-m", "first")
    done = project.invoke("release", "--format", "lora", "--json")
    assert done.code == 0, done.stderr
    (entry,) = done.document["formats"]
    scores = entry["verified"]["evaluation"]
    assert [(scores[name]["passed"], len(scores[name]["cases"])) for name in ("base", "export")] == [(0, 20), (20, 20)]
    card = (project.folder / entry["export_dir"] / "README.md").read_text()
    assert "model-index" in card and "| **this export** | 20 | 1 | 0 |" in card
    project.git("commit", "--quiet", "--allow-empty", "--message", "feat: another run")
    project.git("tag", "-a", "v1.1.0", "-m", "second")
    other = next(
        path.name for path in sorted((project.folder / "examples/avro/adapters").iterdir()) if "-r8-" in path.name
    )
    # A version that was refused is no release: what comes after it is held against the one before.
    for tag in (None, "v1.2.0"):
        if tag:
            project.git("commit", "--quiet", "--allow-empty", "--message", "feat: once more")
            project.git("tag", "-a", tag, "-m", "third")
        worse = project.invoke("release", "--format", "lora", "--run", other)
        assert worse.code == 1 and "is worse than lora of v1.0.0 at 'AVRO schemas'" in " ".join(worse.stderr.split())
        assert "worse: " in worse.stderr and "max_regression" in worse.stderr


def test_cases_that_cannot_be_read(project: Project) -> None:
    """They are refused before anything is exported."""
    (project.folder / "evaluate.jsonl").write_text('{"prompt": 1}\n')
    project.replace("release.toml", "[card]", '[evaluate]\nfile = "evaluate.jsonl"\n[card]')
    refused = project.invoke("release", "--format", "lora")
    assert refused.code == 1 and "line 1" in refused.stderr
    told = project.invoke("doctor", "--format", "lora")
    assert told.code == 1 and "evaluate.jsonl" in told.stdout and "line 1" in told.stdout
    assert not (project.folder / "exports").exists()
