"""The workflows that templates/workflows/ give: this repository's own, and what must be true of any of them."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from msgspec.structs import replace
from tagship.naming.pattern import Pattern
from tagship.naming.tags import Stream
from tagship.policy.config import load_config, parse_config
from tagship.setup.workflow_changes import extras_for, extras_to_gather, workflow_values
from tagship.setup.workflows import EXPORT_WORKFLOW, PUBLISH_WORKFLOW, WorkflowValues, render_workflow, tags_by_workflow

ROOT = Path(__file__).parents[2]
OWN = {
    "install": 'pip install -e ".[gguf]" --constraint constraints.txt',
    "install_to_gather": "pip install -e . --constraint constraints.txt",
    "program": "invoke",
    "python": "3.11",
}
TEMPLATES = ("export-complete.yml", "publish-huggingface.yml", "gitlab-ci.yml")


def own_values() -> WorkflowValues:
    """What this repository's workflows are made with."""
    return workflow_values(load_config(ROOT / "release.toml"), **OWN)


def workflow(name: str) -> dict[Any, Any]:
    """A workflow as GitHub reads it; `on` is true to YAML."""
    document: dict[Any, Any] = yaml.safe_load(render_workflow(name, own_values()))
    return document


def steps_of(document: dict[Any, Any]) -> list[dict[str, Any]]:
    """Every step of every job."""
    return [step for job in document["jobs"].values() for step in job.get("steps", ())]


@pytest.mark.parametrize("path", [EXPORT_WORKFLOW, PUBLISH_WORKFLOW])
def test_this_repository_s_own(path: str) -> None:
    """This repository releases by the workflows that it gives others. REWRITE_GOLDEN=1 writes them anew."""
    text = render_workflow(Path(path).name, own_values())
    if os.environ.get("REWRITE_GOLDEN"):
        (ROOT / path).write_text(text, encoding="utf-8")
    assert (ROOT / path).read_text(encoding="utf-8") == text


def test_triggers() -> None:
    """A tag runs one workflow, so that it exports once; both run by hand, with the inputs that they have always had."""
    export, publish = workflow("export-complete.yml")[True], workflow("publish-huggingface.yml")[True]
    assert export["push"]["tags"] == ["export-v*"]
    assert publish["push"]["tags"] == ["v*", "model-v*"]
    assert export["workflow_dispatch"]["inputs"].keys() == {"export_formats", "quantization", "run"}
    assert publish["workflow_dispatch"]["inputs"].keys() == {
        "model_type",
        "quantization",
        "run",
        "repo_name",
        "private",
    }
    called = workflow("publish-huggingface.yml")["jobs"]["export"]
    assert called["uses"] == f"./{EXPORT_WORKFLOW}"
    assert called["with"].keys() == export["workflow_call"]["inputs"].keys()


def test_tags_of_a_policy() -> None:
    """What a policy's tags trigger decides which workflow they run, those of one format's own versions too."""

    def stream(pattern: str, *does: str) -> Stream:
        return Stream(name=pattern, pattern=Pattern(pattern), does=does)

    streams = [stream("release/{version}", "export", "publish"), stream("try-{version}-x", "export")]
    assert tags_by_workflow(streams) == (("try-*-x",), ("release/*",))
    assert tags_by_workflow(streams[:1]) == ((), ("release/*",))


@pytest.mark.parametrize("name", TEMPLATES[:2])
def test_safe(name: str) -> None:
    """No expression reaches a shell, every action is pinned by a commit with its version beside it, nothing has rights
    that it was not given, and only who talks to the Hub has the token."""
    text, document = render_workflow(name, own_values()), workflow(name)
    assert all("${{" not in step.get("run", "") for step in steps_of(document))
    uses = re.findall(r"uses: (.*)", text)
    assert all(
        re.fullmatch(r"actions/[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+|\./\.github/workflows/.*", used) for used in uses
    )
    assert document["permissions"] == {}
    assert all(job["permissions"] == {"contents": "read"} for job in document["jobs"].values())
    assert document["concurrency"]["cancel-in-progress"] is False
    with_token = [step["run"] for step in steps_of(document) if "HF_TOKEN" in step.get("env", {})]
    assert all(line.startswith(("invoke work", "invoke gather")) for line in with_token)


def signing_values(policy: str, tmp_path: Path) -> WorkflowValues:
    """What the workflows of a policy that signs are made with."""
    text = f'[project]\nnamespace = "acme"\n[formats.lora]\n{policy}'
    return workflow_values(parse_config(text, tmp_path / "release.toml", {}), **OWN)


def test_signed_by_a_key(tmp_path: Path) -> None:
    """The jobs that gather get the key and its password, by the names that the policy has, and no other job does; where
    the policy asks for provenance by name, GitHub attests the archives, for which the job gets the rights."""
    sign = '[sign]\nkey = "env:OUR_KEY"\npassword = "env:OUR_PASSWORD"\n'
    alone = yaml.safe_load(render_workflow("publish-huggingface.yml", signing_values(sign, tmp_path)))
    assert alone["jobs"]["publish"]["permissions"] == {"contents": "read"}
    values = signing_values(f"{sign}[publish]\nprovenance = true\n", tmp_path)
    for name in TEMPLATES[:2]:
        document = yaml.safe_load(render_workflow(name, values))
        having = [step for step in steps_of(document) if "OUR_KEY" in step.get("env", {})]
        assert [step["run"].split()[1] for step in having] == ["gather"]
        assert having[0]["env"]["OUR_PASSWORD"] == "${{ secrets.OUR_PASSWORD }}"
    job = document["jobs"]["publish"]
    assert job["permissions"] == {"contents": "read", "id-token": "write", "attestations": "write"}
    (attest,) = [step for step in job["steps"] if step.get("uses", "").startswith("actions/attest@")]
    assert attest["with"] == {"subject-path": "${{ steps.gather.outputs.artifacts }}"}


def test_signed_by_a_job(tmp_path: Path) -> None:
    """Without a key the job that publishes has an identity, on GitHub and on GitLab."""
    values = signing_values("[sign]\nkeyless = true\n", tmp_path)
    document = yaml.safe_load(render_workflow("publish-huggingface.yml", values))
    assert document["jobs"]["publish"]["permissions"]["id-token"] == "write"
    assert document["jobs"]["export"]["permissions"] == {"contents": "read"}
    gitlab = yaml.safe_load(render_workflow("gitlab-ci.yml", values))
    assert gitlab["release"]["id_tokens"] == {"SIGSTORE_ID_TOKEN": {"aud": "sigstore"}}


TOLD = '[announce]\ngithub = true\ngitlab = true\nwebhook = "env:HOOK"\nwebhook_secret = "env:HOOK_SECRET"\n'


def test_told_on_github(tmp_path: Path) -> None:
    """Only the job that publishes may write a release, with its own token, and only its step that publishes has that
    and the webhook's secrets."""
    values = signing_values(TOLD, tmp_path)
    given = {"GITHUB_TOKEN": "${{ github.token }}", "HOOK": "${{ secrets.HOOK }}"}
    given["HOOK_SECRET"] = "${{ secrets.HOOK_SECRET }}"
    for name in TEMPLATES[:2]:
        document = yaml.safe_load(render_workflow(name, values))
        publishes = {"publish"} & document["jobs"].keys()
        writing = {key for key, job in document["jobs"].items() if job["permissions"].get("contents") == "write"}
        assert writing == publishes
        having = [step for step in steps_of(document) if given.keys() & step.get("env", {}).keys()]
        assert [step["run"].split()[1] for step in having] == ["gather"] * len(publishes)
        assert all(given.items() <= step["env"].items() for step in having)


def test_told_on_gitlab(tmp_path: Path) -> None:
    """On GitLab a job has all variables and a token of its own; the file says which ones it takes."""
    text = render_workflow("gitlab-ci.yml", signing_values(TOLD, tmp_path))
    assert "masked and protected: HF_TOKEN, HOOK, HOOK_SECRET.\n" in text and "CI_JOB_TOKEN" in text
    assert "CI_JOB_TOKEN" not in render_workflow("gitlab-ci.yml", signing_values("", tmp_path))


@pytest.mark.parametrize("policy", ["", "[sign]\nkeyless = true\n[publish]\nprovenance = true\n" + TOLD])
def test_audited(tmp_path: Path, policy: str) -> None:
    """An auditor of workflows finds nothing in those of a policy that asks for nothing, and for everything."""
    zizmor = Path(sys.executable).with_name("zizmor")
    if not zizmor.exists():
        pytest.skip("zizmor is not installed")
    folder = tmp_path / ".github/workflows"
    folder.mkdir(parents=True)
    for name in TEMPLATES[:2]:
        (folder / name).write_text(render_workflow(name, signing_values(policy, tmp_path)), encoding="utf-8")
    checked = subprocess.run([zizmor, "--offline", str(folder)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_extras(tmp_path: Path) -> None:
    """CI installs what signs only where something is signed, or has a bill of materials, and what pushes to a registry
    where there is one; jobs that neither export nor verify do without torch and llama.cpp."""
    for policy, extras in (
        ("", ""),
        ("[publish]\nprovenance = true\n", ""),
        ("[publish]\nsbom = true\n", "trust"),
        ('[publish]\nsbom = true\noci = "registry.example.org/models"\n', "trust,oci"),
    ):
        text = f'[project]\nnamespace = "acme"\n[formats.lora]\n{policy}'
        config = parse_config(text, tmp_path / "release.toml", {})
        assert extras_to_gather(config) == extras
        assert extras_for(config) == ",".join(filter(None, ("gguf", extras)))


def test_jobs_install_what_they_need() -> None:
    """The job that only gathers installs nothing to export with; all others do."""
    jobs = {**workflow("export-complete.yml")["jobs"], **workflow("publish-huggingface.yml")["jobs"]}
    installs = {name: next(filter(None, map(_installs, job["steps"]))) for name, job in jobs.items() if "steps" in job}
    alone = {name for name, line in installs.items() if line == OWN["install_to_gather"]}
    assert alone == {"gather", "publish"}
    assert {line for name, line in installs.items() if name not in alone} == {OWN["install"]}


def _installs(step: dict[str, Any]) -> str | None:
    return step.get("run") if step.get("name") == "Install" else None


def test_groups_differ() -> None:
    """A workflow that waits for one that it calls must not be in its way."""
    groups = {workflow(name)["concurrency"]["group"] for name in TEMPLATES[:2]}
    assert len(groups) == 2 and all("github.ref" in group for group in groups)


def test_without_tags_that_only_export() -> None:
    """A policy without such tags has a workflow that is called and started by hand alone."""
    values = own_values()
    alone = replace(values, export_tags=())
    triggers = yaml.safe_load(render_workflow("export-complete.yml", alone))[True]
    assert triggers.keys() == {"workflow_dispatch", "workflow_call"}


def test_gitlab() -> None:
    """On GitLab a job runs on version tags alone, and by hand, with the whole history."""
    document = workflow("gitlab-ci.yml")
    job = document["release"]
    found = re.search(r"=~ /(.*)/$", job["rules"][0]["if"])
    assert found and [bool(re.search(found[1], tag)) for tag in ("v1.0.0", "export-v1.0.0", "nightly", "xv1")] == [
        True,
        True,
        False,
        False,
    ]
    assert job["variables"]["GIT_DEPTH"] == "0"
    assert "--json-file release.json" in job["script"][0]
    assert {"EXPORT_FORMATS", "QUANTIZATION", "RUN", "REPO_NAME"} == document["variables"].keys()


@pytest.mark.parametrize("policy", [None, '[sign]\nkey = "env:KEY"\n[publish]\nprovenance = true\n' + TOLD])
@pytest.mark.parametrize(
    ("name", "schema"),
    [
        ("export-complete.yml", "vendor.github-workflows"),
        ("publish-huggingface.yml", "vendor.github-workflows"),
        ("gitlab-ci.yml", "vendor.gitlab-ci"),
    ],
)
def test_schemas(tmp_path: Path, name: str, schema: str, policy: str | None) -> None:
    """Every workflow is one by the schema of its service, of this repository and of a policy that asks for much."""
    pytest.importorskip("check_jsonschema")
    file = tmp_path / name
    values = own_values() if policy is None else signing_values(policy, tmp_path)
    file.write_text(render_workflow(name, values), encoding="utf-8")
    options = ["--data-transform", "gitlab-ci"] if "gitlab" in schema else []
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *options, str(file)]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
