"""Tasks as steps of a workflow, and as parts of a script: files for programs beside what people see."""

import json
from pathlib import Path

from tests.end_to_end.conftest import AT, NEWEST_RUN, Project
from tests.system.test_actions import read_outputs


def test_a_document_beside_what_people_see(project: Project) -> None:
    """--json-file has what --json prints, also of nothing to do; standard output stays as it is without."""
    plain = project.invoke("version", "--tag", "v2.0.0", "--json-file", "out/version.json")
    assert (plain.code, plain.stdout) == (0, "2.0.0\n"), plain.stderr
    assert json.loads((project.folder / "out/version.json").read_text())["version"] == "2.0.0"
    both = project.invoke("plan", "--at", AT, "--json", "--json-file", "plan.json")
    assert (project.folder / "plan.json").read_text() == both.stdout
    project.git("tag", "v1.2")
    project.invoke("release", "--json-file", "plan.json", GITHUB_REF="refs/tags/v1.2")
    assert json.loads((project.folder / "plan.json").read_text())["meant"] == "v1.2.0"


def test_a_document_of_a_failure(project: Project) -> None:
    """What failed, and what mends it, are in the file; the exit code says whose fault it is. A file that cannot be
    written is a mistake in the options."""
    failed = project.invoke("plan", "--run", "none", "--json-file", "plan.json")
    document = json.loads((project.folder / "plan.json").read_text())
    assert (failed.code, document["error"]) == (1, "there is no training run 'none'")
    assert NEWEST_RUN in document["remedy"]
    for options in ((), ("--run", "none")):
        unwritten = project.invoke("plan", *options, "--json-file", "release.toml/plan.json")
        assert unwritten.code == (1 if options else 2)
        assert "--json-file release.toml/plan.json cannot be written" in unwritten.stderr
        assert "Traceback" not in unwritten.stderr


def test_a_release_as_a_step_of_a_workflow(project: Project, tmp_path: Path) -> None:
    """Tokens are masked before anything is said, each step is a group that ends, and what was made is in the outputs
    and on the run's page."""
    files = {"GITHUB_OUTPUT": str(tmp_path / "output"), "GITHUB_STEP_SUMMARY": str(tmp_path / "summary")}
    actions = {"GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": str(project.folder), **files}
    done = project.invoke("release", "--format", "lora", "--at", AT, HF_TOKEN="hf_of_the_job", **actions)
    assert done.code == 0, done.stderr
    lines = done.stderr.splitlines()
    assert lines[0] == "::add-mask::hf_of_the_job" and done.stderr.count("hf_of_the_job") == 1
    opened = [line for line in lines if line.startswith("::group::")]
    assert "::group::Export" in opened and len(opened) == lines.count("::endgroup::")
    assert lines.index("::group::Gates") < lines.index("::endgroup::") < lines.index("::group::Export")
    assert max(number for number, line in enumerate(lines) if line == "::endgroup::") < lines.index("Done")
    outputs = read_outputs(tmp_path / "output")
    assert outputs["repos"] == f"acme/{NEWEST_RUN}-lora"
    assert (project.folder / outputs["artifacts"]).is_file()
    summary = (tmp_path / "summary").read_text()
    assert f"acme/{NEWEST_RUN}-lora](http" in summary and "a copy of the run" in summary


def test_a_mistake_as_a_step_of_a_workflow(project: Project, tmp_path: Path) -> None:
    """A mistake in release.toml is shown at its line, the failure is on the run's page, and outside of a workflow there
    are no commands."""
    project.replace("release.toml", "max_tokens = 128", 'max_tokens = "many"')
    line = 1 + (project.folder / "release.toml").read_text().splitlines().index('max_tokens = "many"')
    files = {"GITHUB_OUTPUT": str(tmp_path / "output"), "GITHUB_STEP_SUMMARY": str(tmp_path / "summary")}
    failed = project.invoke("plan", GITHUB_ACTIONS="true", GITHUB_WORKSPACE=str(project.folder), **files)
    assert failed.code == 2
    assert f"::error file=release.toml,line={line}::verify.max_tokens must be" in failed.stderr
    assert (tmp_path / "summary").read_text().startswith("### plan failed")
    assert "::" not in project.invoke("plan").stderr
