"""Small releases on an embedded Hub, published as a release does it."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from msgspec import Struct
from msgspec.structs import replace
from tagship.artifacts.manifest import (
    MANIFEST_FILE,
    PROVENANCE_FILE,
    SIGNATURE_FILE,
    FileEntry,
    Manifest,
    file_entry,
    list_files,
    with_evidence,
    write_manifest,
)
from tagship.artifacts.trust.keys import SigningKey
from tagship.artifacts.trust.provenance import Materials, statement
from tagship.artifacts.trust.signature import sign
from tagship.hub.branches import Version
from tagship.hub.connection import Hub
from tagship.hub.publish import check_published, publish, tag_published
from tagship.hub.upload import Upload
from tagship.hub_server.app import EmbeddedHub
from tagship.published.releases import Published, all_of
from tagship.verify.evidence import Evidence

from tests import tiny

BASE = "acme/phi3"
EVIDENCE = Evidence(outcome="passed", copied=True, runtime="transformers (transformers 5)", date="2025-09-15")


class Releases(Struct, frozen=True, kw_only=True):
    """Makes releases, and changes what is there. With `tags_versions` a repo has several, of which main is the newest
    final one."""

    api: HfApi
    hub: Hub
    folder: Path
    tags_versions: bool = False

    def put(
        self,
        repo_id: str,
        tag: str | None,
        files: Mapping[str, str] | None = None,
        key: SigningKey | None = None,
        **claims: Any,
    ) -> Manifest:
        """Publish a repo with these files, a card and a manifest, under a tag, sealed where a key is given; returns the
        manifest."""
        folder = self.folder / repo_id.replace("/", "-") / str(tag)
        folder.mkdir(parents=True)
        version = tag.rpartition("v")[2] if tag else None
        facts = f"base_model: {BASE}\nlicense: mit\n" + (f"version: {version}\n" if version else "")
        given = {"README.md": f"---\n{facts}---\n\n# {repo_id}\n", "model.safetensors": f"{repo_id} {tag}"}
        for name, text in (given | dict(files or {})).items():
            (folder / name).write_text(text)
        manifest = tiny.manifest(repo_id=repo_id, version=version, tag=tag, base_model=BASE, files=list_files(folder))
        evidence = claims.pop("evidence", EVIDENCE)
        manifest = replace(manifest, **claims)
        manifest = with_evidence(manifest, evidence) if evidence and not manifest.parts else manifest
        write_manifest(folder, manifest)
        entries = (*manifest.files, file_entry(folder, MANIFEST_FILE))
        entries += _seals(folder, manifest, entries, key) if key else ()
        upload = Upload(
            repo_id=repo_id,
            folder=folder,
            files=entries,
            private=False,
            message=f"Release {tag}",
            description="",
            tag=tag,
            version=Version(tag=tag, number=version) if self.tags_versions and tag and version else None,
        )
        commit = publish(self.hub, upload)
        check_published(self.hub, upload, commit)
        tag_published(self.hub, upload, commit)
        return manifest

    def change(self, repo_id: str, files: Mapping[str, str], revision: str = "main") -> str:
        """Commit these files, as somebody else would; returns the commit."""
        operations = [CommitOperationAdd(name, text.encode()) for name, text in files.items()]
        return str(self.api.create_commit(repo_id, operations, commit_message="By hand", revision=revision).oid)

    def move_tag(self, repo_id: str, tag: str, commit: str) -> None:
        self.api.delete_tag(repo_id, tag=tag)
        self.api.create_tag(repo_id, tag=tag, revision=commit)

    def read(self, repo_id: str, name: str = "README.md", revision: str = "main") -> str:
        return Path(self.api.hf_hub_download(repo_id, name, revision=revision)).read_text()


def _seals(folder: Path, manifest: Manifest, files: tuple[FileEntry, ...], key: SigningKey) -> tuple[FileEntry, ...]:
    materials = Materials(run_files={}, inputs={}, policy="release.toml")
    (folder / PROVENANCE_FILE).write_text(json.dumps(statement(manifest, files, materials)))
    provenance = file_entry(folder, PROVENANCE_FILE)
    digests = {entry.path: entry.sha256 for entry in (*files, provenance)}
    (folder / SIGNATURE_FILE).write_text(sign("it", digests, key))
    return provenance, file_entry(folder, SIGNATURE_FILE)


@pytest.fixture
def releases(
    hub: EmbeddedHub, quiet_client: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Releases]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    api = HfApi(endpoint=hub.url, token=False)
    yield Releases(api=api, hub=Hub(lambda: api, embedded=False), folder=tmp_path / "made")


def releases_of(hub: Hub, repo_id: str) -> list[Published]:
    """The releases of a repo, all of which can be read."""
    found = all_of(hub, repo_id)
    assert all(isinstance(release, Published) for release in found)
    return [release for release in found if isinstance(release, Published)]
