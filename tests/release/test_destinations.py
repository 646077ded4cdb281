"""Names that are taken: on the Hub, by exports, by archives."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from msgspec.structs import replace
from tagship.artifacts.archive import manifest_in, write_archive
from tagship.artifacts.manifest import MANIFEST_FILE, Manifest, list_files, write_manifest
from tagship.history.model_lookup import disk_state
from tagship.hub.connection import Hub
from tagship.hub_server.app import EmbeddedHub
from tagship.policy.config import load_config
from tagship.release.destinations import check_base_is_there, check_local, check_repos
from tagship.release.options import Options
from tagship.release.plan import Plan, make_plan
from tagship.release.targets import Target
from tagship.system.errors import ReleaseError
from tagship.system.git import Repository

from tests import tiny
from tests.conftest import PHI3, GitFolder

pytestmark = pytest.mark.usefixtures("quiet_client")

NOW = datetime(2025, 9, 15, 12, 40, 51, tzinfo=UTC)

MakePlan = Callable[..., Plan]


@pytest.fixture
def plan(project: GitFolder) -> Iterator[MakePlan]:
    """A function that plans a release of the project's adapter, as of the tag that is named."""
    with Repository(project.folder) as opened:

        def planned(tag: str | None = None, **options: Any) -> Plan:
            config = load_config(project.folder / "release.toml", {})
            return make_plan(config, Options(tag=tag, formats=("lora",), **options), opened, NOW)

        yield planned


@pytest.fixture
def client(hub: EmbeddedHub) -> Hub:
    return Hub(lambda: HfApi(endpoint=hub.url, token=False), embedded=True)


def export(made: Plan, folder: Path) -> Manifest:
    """What a release leaves in its folder."""
    target = made.targets[0]
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(b"weights" * 1000)
    manifest = tiny.manifest(
        format="lora",
        repo_id=target.repo_id,
        version=made.version,
        tag=made.tag.name if made.tag else None,
        commit=made.commit.sha,
        exported=made.moment,
        run=made.run.name,
        base_model=made.base.id,
        stream=made.stream.name if made.stream else None,
        fields={"dataset": made.run.fields["dataset"], "base": made.run.fields["base"]},
        files=list_files(folder),
        model=disk_state(made.config, made.run.path).document(),
    )
    write_manifest(folder, manifest)
    return manifest


def put(client: Hub, target: Target, folder: Path) -> None:
    client.api.create_repo(target.repo_id)
    files = [CommitOperationAdd(path.name, path) for path in folder.iterdir()]
    client.api.create_commit(target.repo_id, files, commit_message="Release")


def two_streams(project: GitFolder, plan: MakePlan) -> tuple[Plan, Plan]:
    project.tag("v4.0.0", "one")
    project.tag("model-v4.0.0", "two")
    one, two = plan("v4.0.0"), plan("model-v4.0.0")
    assert one.targets == two.targets
    return one, two


def test_two_streams_on_the_hub(project: GitFolder, plan: MakePlan, client: Hub, tmp_path: Path) -> None:
    """A version of another stream that makes the same names does not replace what is published; its own release may
    go on."""
    one, two = two_streams(project, plan)
    export(two, tmp_path / "published")
    check_repos(one, client)
    put(client, one.targets[0], tmp_path / "published")
    with pytest.raises(ReleaseError, match=r"has the release of model-v4\.0\.0, which this one would replace"):
        check_repos(one, client)
    check_repos(two, client)


def test_two_streams_here(project: GitFolder, plan: MakePlan, tmp_path: Path) -> None:
    """Nor does it replace the export or the archive, each on its own."""
    one, two = two_streams(project, plan)
    target = one.targets[0]
    export(two, target.export_dir)
    write_archive(target.export_dir, target.artifact, NOW)
    for taken in (target.export_dir, target.artifact):
        with pytest.raises(ReleaseError, match=r"has the release of model-v4\.0\.0") as caught:
            check_local(one)
        assert str(taken) in str(caught.value)
        check_local(two)
        taken.rename(taken.with_name("elsewhere"))
    check_local(one)


def test_moved_tag(project: GitFolder, plan: MakePlan, client: Hub, tmp_path: Path) -> None:
    """A tag that was moved is another release of the same name."""
    project.tag("v1.0.0", "one")
    made = plan("v1.0.0")
    export(made, tmp_path / "published")
    put(client, made.targets[0], tmp_path / "published")
    sha = made.commit.sha[:10]
    project.commit("Later")
    project.git("tag", "--force", "v1.0.0", "--message", "moved")
    with pytest.raises(ReleaseError, match=rf"has v1\.0\.0 of the commit {sha}"):
        check_repos(plan("v1.0.0"), client)


def test_run_that_is_released_again(project: GitFolder, plan: MakePlan, client: Hub, tmp_path: Path) -> None:
    """Without a version the repo of an adapter has its run's name: the same adapter goes there again from a later
    commit, another one does not."""
    made = plan()
    export(made, tmp_path / "published")
    put(client, made.targets[0], tmp_path / "published")
    project.commit("Later")
    check_repos(plan(), client)
    weights = made.run.path / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    with pytest.raises(ReleaseError, match="has another adapter of that run"):
        check_repos(plan(), client)


def test_repo_of_somebody_else(plan: MakePlan, client: Hub) -> None:
    """A repo with files that no release put there keeps them; one that was only made is used."""
    made = plan()
    client.api.create_repo(made.targets[0].repo_id)
    check_repos(made, client)
    files = [CommitOperationAdd("theirs.gguf", b"x")]
    client.api.create_commit(made.targets[0].repo_id, files, commit_message="theirs")
    with pytest.raises(ReleaseError, match="has files that no release put there"):
        check_repos(made, client)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"{", r"release\.json of acme/.* is malformed"),
        (b'{"tagship": "0.1.0"}', r"release\.json of acme/.* is malformed"),
        (b'{"name": "theirs"}', "has files that no release put there"),
    ],
)
def test_manifest_that_is_not_ours(plan: MakePlan, client: Hub, text: bytes, words: str) -> None:
    """A manifest that cannot be read says nothing, another program's neither, and nothing is replaced."""
    made = plan()
    client.api.create_repo(made.targets[0].repo_id)
    files = [CommitOperationAdd(MANIFEST_FILE, text)]
    client.api.create_commit(made.targets[0].repo_id, files, commit_message="theirs")
    with pytest.raises(ReleaseError, match=words):
        check_repos(made, client)


def test_private_onto_public(plan: MakePlan, client: Hub) -> None:
    """A private release is refused before anything is exported where the repo is public."""
    made = plan()
    client.api.create_repo(made.targets[0].repo_id)
    check_repos(made, client)
    with pytest.raises(ReleaseError, match="everybody would see it"):
        check_repos(replace(made, private=True), client)


def test_archives_say_first_what_they_are(plan: MakePlan, tmp_path: Path) -> None:
    """The manifest is the first file of an archive; one that is damaged or of others says nothing."""
    manifest = export(plan(), tmp_path / "export")
    archive = write_archive(tmp_path / "export", tmp_path / "x.tar.gz", NOW).path
    assert manifest_in(archive) == manifest
    assert manifest_in(tmp_path / "missing") is None
    (tmp_path / "export" / MANIFEST_FILE).unlink()
    assert manifest_in(write_archive(tmp_path / "export", tmp_path / "y.tar.gz", NOW).path) is None
    archive.write_bytes(archive.read_bytes()[:200])
    assert manifest_in(archive) is None


@pytest.mark.parametrize("level", ["required", "warn", "off"])
def test_base_that_nobody_can_fetch(project: GitFolder, plan: MakePlan, hub: EmbeddedHub, level: str) -> None:
    """An adapter of a base that is not on the Hub is refused, warned of or let pass, as the policy says."""
    with (project.folder / "release.toml").open("a") as file:
        file.write(f'\n[checks]\nbase = "{level}"\n')
    client = Hub(lambda: HfApi(endpoint=hub.url, token=False), embedded=False)
    if level == "required":
        with pytest.raises(ReleaseError, match=f"nobody can fetch: there is no {PHI3}") as caught:
            check_base_is_there(plan(), client)
        assert "publish = true" in str(caught.value.remedy)
        return
    finding = check_base_is_there(plan(), client)
    assert bool(finding) == (level == "warn")
    assert finding is None or f"nobody can fetch: there is no {PHI3} on the Hub" in finding.what


# A repo with all versions


@pytest.fixture
def per_model(project: GitFolder) -> GitFolder:
    policy = project.folder / "release.toml"
    policy.write_text(policy.read_text().replace("[formats.vllm]", '[hub]\nlayout = "repo-per-model"\n[formats.vllm]'))
    project.commit("One repo for a model")
    return project


def publish_as(made: Plan, client: Hub, folder: Path, **claims: Any) -> None:
    """Put a release of the plan into its repo, with other claims in its manifest, and its tag."""
    manifest = export(made, folder)
    write_manifest(folder, replace(manifest, **claims))
    put(client, made.targets[0], folder)
    assert made.tag is not None
    client.api.create_tag(made.targets[0].repo_id, tag=str(claims.get("tag", made.tag.name)))


def test_next_version_of_a_model(per_model: GitFolder, plan: MakePlan, client: Hub, tmp_path: Path) -> None:
    """Where a repo has all versions of a model, the next one may go there, and the one that is there again."""
    per_model.tag("v1.0.0", "one")
    first = plan("v1.0.0")
    publish_as(first, client, tmp_path / "published")
    check_repos(first, client)
    per_model.commit("Later")
    for tag in ("v1.1.0", "v2.0.0-rc.1", "v0.9.0"):
        per_model.tag(tag, "two")
        check_repos(plan(tag), client)
    per_model.git("tag", "--force", "v1.0.0", "--message", "moved")
    with pytest.raises(ReleaseError, match=r"has v1\.0\.0 of the commit"):
        check_repos(plan("v1.0.0"), client)


@pytest.mark.parametrize(
    ("claims", "told"),
    [
        ({"tag": "model-v1.0.0", "stream": "model"}, r"model-v1\.0\.0, of the stream model"),
        ({"format": "vllm"}, "the format vllm"),
        ({"fields": {"dataset": "other"}}, r"v1\.0\.0 of another model \(dataset other\)"),
        ({"base_model": "acme/other"}, r"v1\.0\.0 of another model \(base other\)"),
    ],
)
def test_another_model_is_there(
    per_model: GitFolder, plan: MakePlan, client: Hub, tmp_path: Path, claims: dict[str, Any], told: str
) -> None:
    """Another stream of versions, another format and another model are still somebody else's, also where main has
    nothing yet."""
    per_model.tag("v1.0.0", "one")
    per_model.tag("v1.1.0", "two")
    publish_as(plan("v1.0.0"), client, tmp_path / "published", **claims)
    with pytest.raises(ReleaseError, match=f"has {told}, which this one would replace"):
        check_repos(plan("v1.1.0"), client)
    for name in client.api.list_repo_files(plan("v1.1.0").targets[0].repo_id):
        if name != ".gitattributes":
            client.api.delete_file(name, plan("v1.1.0").targets[0].repo_id)
    with pytest.raises(ReleaseError, match=f"has {told}"):
        check_repos(plan("v1.1.0"), client)


# What is proposed


def test_release_that_is_proposed(per_model: GitFolder, plan: MakePlan, client: Hub, tmp_path: Path) -> None:
    """A pull request needs a repo, and is to its main: refused before anything is exported."""
    per_model.tag("v1.0.0", "one")
    made = plan("v1.0.0", proposes=True)
    with pytest.raises(ReleaseError, match=f"there is no repo {made.targets[0].repo_id} to propose a release to"):
        check_repos(made, client)
    publish_as(made, client, tmp_path / "published")
    check_repos(made, client)
    for tag, refused in (("v1.1.0", False), ("v1.1.0-rc.1", True), ("v0.9.0", True)):
        per_model.tag(tag, "next")
        if refused:
            with pytest.raises(ReleaseError, match=f"{tag} does not become the main"):
                check_repos(plan(tag, proposes=True), client)
        else:
            check_repos(plan(tag, proposes=True), client)


def test_base_that_would_be_proposed(project: GitFolder, plan: MakePlan, client: Hub, tmp_path: Path) -> None:
    """A base model comes to the Hub by one who may write there."""
    policy = project.folder / "release.toml"
    policy.write_text(policy.read_text() + f'[bases."{PHI3}"]\npath = "base"\nlicense = "mit"\npublish = true\n')
    project.commit("Base")
    project.tag("v1.0.0", "one")
    publish_as(plan("v1.0.0"), client, tmp_path / "published")
    with pytest.raises(ReleaseError, match=f"the base model {PHI3} is not on"):
        check_repos(plan("v1.0.0", proposes=True), client)
