"""provenance.intoto.json: what a repo's files were made of, as in-toto and SLSA write it."""

import json
from typing import Any

import pytest
from msgspec.structs import replace
from tagship.artifacts.manifest import FileEntry, Manifest
from tagship.artifacts.trust.provenance import Materials, read_provenance, statement
from tagship.system.ci import CiRun, running_in
from tagship.system.errors import ReleaseError

from tests import tiny

FILES = (
    FileEntry(path="model.safetensors", size=3, sha256="a" * 64),
    FileEntry(path="config.json", size=2, sha256="b" * 64),
)
MATERIALS = Materials(
    run_files={"adapter_model.safetensors": "c" * 64}, inputs={"imatrix.gguf": "d" * 64}, policy="release.toml"
)
GITHUB = {
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_REPOSITORY": "acme/models",
    "GITHUB_RUN_ID": "42",
    "GITHUB_RUN_ATTEMPT": "3",
    "GITHUB_WORKFLOW_REF": "acme/models/.github/workflows/publish-huggingface.yml@refs/tags/v1.0.0",
}


def manifest(**more: Any) -> Manifest:
    said = {"tag": "v1.0.0", "version": "1.0.0", "source": "https://github.com/acme/models", "policy": "e" * 64}
    return tiny.manifest(**{**said, "files": FILES, "tools": {"numpy": "2.0.0"}, "base_revision": "f" * 40, **more})


def materials_of(document: dict[str, Any]) -> dict[str, Any]:
    listed = document["predicate"]["buildDefinition"]["resolvedDependencies"]
    return {each["name"]: {key: each[key] for key in each if key != "name"} for each in listed}


def test_what_it_was_made_of() -> None:
    """Source commit, policy, run, inputs, the base at its revision, and tools are materials; files are subjects."""
    document = statement(manifest(), FILES, MATERIALS)
    assert (document["_type"], document["predicateType"]) == (
        "https://in-toto.io/Statement/v1",
        "https://slsa.dev/provenance/v1",
    )
    assert document["subject"] == [
        {"name": "config.json", "digest": {"sha256": "b" * 64}},
        {"name": "model.safetensors", "digest": {"sha256": "a" * 64}},
    ]
    commit = {"gitCommit": "0123456789abcdef0123456789abcdef01234567"}
    assert materials_of(document) == {
        "source": {"uri": "git+https://github.com/acme/models@refs/tags/v1.0.0", "digest": commit},
        "release.toml": {"digest": {"sha256": "e" * 64}},
        "run/adapter_model.safetensors": {"digest": {"sha256": "c" * 64}},
        "imatrix.gguf": {"digest": {"sha256": "d" * 64}},
        "acme/phi3": {"uri": "https://huggingface.co/acme/phi3", "digest": {"gitCommit": "f" * 40}},
        "numpy": {"uri": "pkg:pypi/numpy@2.0.0"},
    }


def test_base_in_a_folder() -> None:
    """A base without a revision is told by the digests of its files, of git or of the files themselves."""
    model = {"base_files": {"config.json": "sha256:" + "1" * 64, "model.safetensors": "git:" + "2" * 40}}
    found = materials_of(statement(manifest(base_revision=None, model=model), FILES, MATERIALS))
    assert found["acme/phi3/config.json"] == {"digest": {"sha256": "1" * 64}}
    assert found["acme/phi3/model.safetensors"] == {"digest": {"gitBlob": "2" * 40}}


def test_repository_without_a_page() -> None:
    """No path of a disk is told: the commit alone."""
    source = materials_of(statement(manifest(source=None), FILES, MATERIALS))["source"]
    assert source.keys() == {"digest"}


def test_same_inputs_same_statement() -> None:
    """It has no clock, and no order of its own."""
    shuffled = replace(MATERIALS, run_files=dict(reversed(MATERIALS.run_files.items())))
    one, other = (statement(manifest(), files, shuffled) for files in (FILES, FILES[::-1]))
    assert json.dumps(one) == json.dumps(other)


@pytest.mark.parametrize(
    ("environment", "builder", "run"),
    [
        (
            GITHUB,
            "https://github.com/acme/models/.github/workflows/publish-huggingface.yml@refs/tags/v1.0.0",
            "https://github.com/acme/models/actions/runs/42",
        ),
        (
            {"CI_SERVER_URL": "https://gitlab.com", "CI_PIPELINE_URL": "https://gitlab.com/acme/models/-/pipelines/7"},
            "https://gitlab.com",
            "https://gitlab.com/acme/models/-/pipelines/7",
        ),
    ],
)
def test_who_built_it(environment: dict[str, str], builder: str, run: str) -> None:
    """In CI it is the workflow, and its run, the same when a job of it is run again; else tagship itself."""
    found = running_in(environment.get)
    assert found == CiRun(builder=builder, run=run)
    ran = statement(manifest(), FILES, replace(MATERIALS, ci=found))["predicate"]["runDetails"]
    assert (ran["builder"]["id"], ran["metadata"]) == (builder, {"invocationId": run})
    assert running_in({}.get) is None
    alone = statement(manifest(), FILES, MATERIALS)["predicate"]["runDetails"]
    assert alone["builder"]["id"].startswith("pkg:generic/tagship@") and "metadata" not in alone


def test_read_again() -> None:
    """What was written is read; anything else is told as that."""
    document = statement(manifest(), FILES, MATERIALS)
    said = read_provenance(json.dumps(document).encode(), "it")
    assert said.subjects == {entry.path: entry.sha256 for entry in FILES}
    assert said.commit == manifest().commit
    for other in (
        {},
        {**document, "predicateType": "x"},
        {**document, "subject": [3]},
        {**document, "predicate": None},
    ):
        with pytest.raises(ReleaseError, match="no provenance"):
            read_provenance(json.dumps(other).encode(), "it")
