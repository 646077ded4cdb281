"""A release that goes to an OCI registry, too: Debian's docker-registry on loopback."""

import base64
import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from huggingface_hub import HfApi
from tagship.artifacts.manifest import list_files
from tagship.hub_server.app import EmbeddedHub
from tagship.oci.artifact import make_artifact
from tagship.oci.registry import OciRepository
from tagship.policy.config import parse_config
from tagship.policy.file import PolicyError
from tagship.policy.publish import OciPlace
from tagship.release.step import Step
from tagship.system.errors import ReleaseError, ToolError

from tests.end_to_end.conftest import Project
from tests.end_to_end.publishing import publish
from tests.oci.registry_server import needs_registry, running_registry
from tests.oci.test_artifact import DESCRIPTION

pytest.importorskip("oras")  # the extra `oci`, which `dev` has
REPO = "acme/phi3avro-minimal-vllm-v1.0.0"
TYPE = "application/vnd.oci.image.manifest.v1+json"


@pytest.fixture
def tagged(make_project: Callable[[], Project], monkeypatch: pytest.MonkeyPatch) -> Project:
    """A tagged project, whose user has no configuration of docker."""
    project = make_project()
    monkeypatch.setenv("HF_HOME", project.environment["HF_HOME"])
    monkeypatch.setenv("DOCKER_CONFIG", str(project.folder / "docker"))
    return project


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    with running_registry(tmp_path / "registry") as host:
        yield host


def goes_to(project: Project, place: str) -> None:
    policy = project.folder / "release.toml"
    policy.write_text(policy.read_text() + f'\n[publish]\noci = "{place}"\n')
    tag(project)


def tag(project: Project) -> None:
    """Commit what was changed, and have the tag be on that."""
    project.git("commit", "--quiet", "--all", "--message=feat: another place")
    project.git("tag", "--force", "v1.0.0", "--message", "Release v1.0.0")


def fetched(host: str, path: str) -> bytes:
    with urlopen(Request(f"http://{host}/v2/models/phi3avro-minimal-vllm/{path}", headers={"Accept": TYPE})) as answer:
        return bytes(answer.read())


def tag_message(project: Project) -> str:
    """What the tag says on the embedded Hub."""
    with EmbeddedHub(root=project.folder / ".tagship/hub") as hub:
        refs = HfApi(endpoint=hub.url, token=False).list_repo_refs(REPO).tags
        assert [ref.name for ref in refs] == ["v1.0.0"]
        clone = project.folder.with_name(f"{project.folder.name}-clone")
        environment = {**project.environment, "GIT_LFS_SKIP_SMUDGE": "1"}
        subprocess.run(["git", "clone", "--quiet", f"{hub.url}/{REPO}", clone], check=True, env=environment)
    listed = ["git", "for-each-ref", "--format=%(contents)", "refs/tags/v1.0.0"]
    return subprocess.run(listed, cwd=clone, check=True, capture_output=True, text=True).stdout


@needs_registry
def test_the_same_release(tagged: Project, registry: str) -> None:
    """The registry has each file of the repo on the Hub under its path; the digest is in the output and in the tag's
    message there, and the same command again sends nothing."""
    goes_to(tagged, f"{registry}/models")
    document = publish(tagged, formats=("vllm",))
    (entry,) = document["formats"]
    manifest = fetched(registry, "manifests/1.0.0")
    assert entry["oci"]["digest"] == f"sha256:{hashlib.sha256(manifest).hexdigest()}"
    assert entry["oci"]["reference"] == f"{registry}/models/phi3avro-minimal-vllm:1.0.0"
    layers = json.loads(manifest)["layers"]
    there = {layer["annotations"]["org.cncf.model.filepath"]: layer["digest"] for layer in layers}
    assert there == {file["path"]: f"sha256:{file['sha256']}" for file in entry["files"]}
    for layer in layers:
        content = fetched(registry, f"blobs/{layer['digest']}")
        assert f"sha256:{hashlib.sha256(content).hexdigest()}" == layer["digest"]
    assert f"OCI: {entry['oci']['reference']}@{entry['oci']['digest']}" in tag_message(tagged)
    assert publish(tagged, formats=("vllm",))["formats"][0]["oci"] == entry["oci"]


def test_a_registry_that_is_not_there(tagged: Project) -> None:
    """It is told before anything is exported."""
    goes_to(tagged, "127.0.0.1:9/models")
    with pytest.raises(ToolError, match=r"127\.0\.0\.1:9 does not answer"):
        publish(tagged, formats=("vllm",))
    assert not (tagged.folder / "exports").exists()


@needs_registry
def test_what_stopped_is_finished(tagged: Project, tmp_path: Path) -> None:
    """A registry that fails after the commit leaves the version without its tag; the same command finishes it."""
    with ExitStack() as running:
        host = running.enter_context(running_registry(tmp_path / "registry"))
        goes_to(tagged, f"{host}/models")
        stop = Step(name="stop", title="The registry ends", once=lambda *_: [running.close()])
        with pytest.raises(ToolError, match="does not answer") as caught:
            publish(tagged, between=stop, formats=("vllm",))
    assert "same command" in str(caught.value.remedy)
    with EmbeddedHub(root=tagged.folder / ".tagship/hub") as hub:
        assert HfApi(endpoint=hub.url, token=False).list_repo_refs(REPO).tags == []
    with running_registry(tmp_path / "registry", host=host):
        (entry,) = publish(tagged, formats=("vllm",))["formats"]
    assert entry["oci"]["digest"] in tag_message(tagged)


@needs_registry
def test_nothing_is_sent_twice(registry: str, tmp_path: Path) -> None:
    """What the registry has is not sent again under another tag; an empty file is a layer as others are."""
    (tmp_path / "files").mkdir()
    for name, text in {"model.safetensors": "weights", "added.py": ""}.items():
        (tmp_path / "files" / name).write_text(text)
    artifact = make_artifact(DESCRIPTION, list_files(tmp_path / "files"))
    repository = OciRepository(OciPlace(host=registry, path="models"), "it")
    asked: list[str] = []
    request = repository._client.session.request

    def counted(method: str, url: str, **more: Any) -> Any:
        asked.append(method)
        return request(method, url, **more)

    repository._client.session.request = counted
    for tag_name, puts in (("1.0.0", 4), ("latest", 1)):
        asked.clear()
        repository.push(artifact, tag_name, lambda path: tmp_path / "files" / path)
        assert asked.count("PUT") == puts
        assert repository.manifest(tag_name) == artifact.manifest
    assert repository.manifest("nothing") is None


@needs_registry
def test_other_files_are_refused(tagged: Project, registry: str) -> None:
    """A version that the registry has with other files is never changed."""
    goes_to(tagged, f"{registry}/models")
    first = publish(tagged, formats=("vllm",))["formats"][0]["oci"]["digest"]
    for name in (".tagship", "exports"):  # as on another machine, for another Hub
        shutil.rmtree(tagged.folder / name)
    tagged.replace("release.toml", "[formats.vllm]", '[export]\ndtype = "f16"\n\n[formats.vllm]')
    tag(tagged)
    with pytest.raises(ReleaseError, match=r"was pushed before with other files: .*config\.json"):
        publish(tagged, formats=("vllm",))
    assert f"sha256:{hashlib.sha256(fetched(registry, 'manifests/1.0.0')).hexdigest()}" == first


@needs_registry
def test_passwords(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who may push is what `docker login` left; without it, or with a wrong password, it says so."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with running_registry(tmp_path / "registry", passwords=True) as host:
        for password in (None, "wrong"):
            _log_in(tmp_path, host, password)
            with pytest.raises(ToolError) as caught:
                OciRepository(OciPlace(host=host, path="models"), "it").check()
            assert f"docker login {host}" in str(caught.value.remedy)
        _log_in(tmp_path, host, "hunter2")
        OciRepository(OciPlace(host=host, path="models"), "it").check()


def _log_in(folder: Path, host: str, password: str | None) -> None:
    auth = base64.b64encode(f"ada:{password}".encode()).decode()
    auths = {host: {"auth": auth}} if password else {}
    (folder / "config.json").write_text(json.dumps({"auths": auths}))


@pytest.mark.parametrize(
    "place",
    ["https://registry.example.org/models", "registry.example.org", "registry.example.org/Models", "a/b:1", "x"],
)
def test_what_is_no_place(place: str, tmp_path: Path) -> None:
    """A place is a registry and a path in it, without scheme and tag."""
    policy = f'[project]\nnamespace = "acme"\n[formats.lora]\n[publish]\noci = "{place}"\n'
    with pytest.raises(PolicyError, match=r"publish\.oci must be a registry"):
        parse_config(policy, tmp_path / "release.toml", {})


@pytest.mark.parametrize(
    "place", ["registry.example.org/models", "localhost:5000/a/b-c", "ghcr.io/acme/x_y", "reg:5000/m"]
)
def test_places(place: str, tmp_path: Path) -> None:
    """Registries with and without a port, on this machine too."""
    policy = f'[project]\nnamespace = "acme"\n[formats.lora]\n[publish]\noci = "{place}"\n'
    assert str(parse_config(policy, tmp_path / "release.toml", {}).publish.oci) == place
