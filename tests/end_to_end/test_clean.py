"""What releases leave on the disk, removed."""

import json
import os
from pathlib import Path

from tests.end_to_end.conftest import Project


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_clean(project: Project) -> None:
    """Exports and archives that the Hub has whole are removed; others, and those that somebody changed, stay, until
    they are told to go. Repeated commands make them again."""
    exports, dist = project.folder / "exports", project.folder / "dist"
    for tag in ("v1.0.0", "v2.0.0"):
        project.git("commit", "--quiet", "--allow-empty", f"--message=feat: {tag}")
        project.git("tag", tag, "--message", f"Release {tag}")
        assert project.invoke("release", "--tag", tag, "--format", "lora", "--quick").code == 0
    assert project.invoke("export", "--untagged", "--format", "lora").code == 0
    first, second, untagged = sorted(names(exports), key=lambda name: (not name.endswith(".0.0"), name))
    (exports / first / "README.md").write_text("mine")

    plan = project.invoke("clean", "--dry-run", "--json").document
    assert plan["applied"] is False and plan["freed"] > 0
    assert {Path(each["path"]).name for each in plan["kept"]} >= {first, untagged}
    assert len(names(exports)) == 3

    done = project.invoke("clean")
    assert done.code == 0, done.stderr
    assert names(exports) == sorted([first, untagged])
    assert names(dist) == ["SHA256SUMS"] and (dist / "SHA256SUMS").read_text() == ""
    assert second not in str(names(project.folder / ".tagship" / "exports"))

    kept = project.invoke("clean", "--keep", "1", "--json").document
    assert [Path(each["path"]).name for each in kept["removed"]] == [first]
    assert names(exports) == [untagged]
    assert project.invoke("clean", "--keep", "one").code == 2


def test_what_an_export_was_made_from_stays_with_it(project: Project) -> None:
    """What exports share, and have no file of, stays as long as one that was made from it, and goes with the last."""
    assert project.invoke("export", "--untagged", "--format", "lora").code == 0
    (export,) = (project.folder / "exports").iterdir()
    state = project.folder / ".tagship/exports" / f"{export.name}.json"
    assert json.loads(state.read_text())["shared"] == []
    shared = project.folder / ".tagship/shared"
    for name in ("lora-costs", "lora-other"):
        (shared / name).mkdir(parents=True)
        (shared / name / "mix.json").write_text(name)
        (shared / f"{name}.json").write_text("[]")
        os.utime(shared / name, (0, 0))
    state.write_text(json.dumps(json.loads(state.read_text()) | {"shared": ["lora-costs"]}))
    assert project.invoke("clean").code == 0
    assert names(shared) == ["lora-costs", "lora-costs.json"]
    assert project.invoke("clean", "--keep", "0").code == 0
    assert names(shared) == []
