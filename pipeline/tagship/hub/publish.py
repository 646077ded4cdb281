"""A folder onto the Hub: all of it or nothing, in one commit that leaves nothing stale.

Large files are sent first, which shows nothing to anyone and goes on where it was interrupted;
then one commit adds and deletes; then every checksum is compared; then the tag is set. A folder
that is there already makes no new commit.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tagship.artifacts.manifest import TELLING, FileEntry, list_files, read_manifest, same_release
from tagship.hub.connection import Hub
from tagship.hub.failures import hub_errors
from tagship.hub.repository import KEPT, published_manifest, remote_files, tags_of
from tagship.runs.base_folder import BaseFolder
from tagship.system.errors import ReleaseError
from tagship.system.progress import Advance, silent


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """What is published: the files below `folder`, which `files` lists with their checksums."""

    repo_id: str
    folder: Path
    files: tuple[FileEntry, ...]
    private: bool
    message: str
    description: str
    tag: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """The commit that holds an upload's files, but for those of the `kept` paths: there it has what was published with
    the same release before."""

    sha: str
    kept: tuple[str, ...] = ()


def publish(hub: Hub, upload: Upload, advance: Advance = silent) -> Commit:
    """Make a repository hold exactly the upload's files. Returns the commit that does.

    A version that was released before stays as it is, also where the same release, verified elsewhere, has other
    figures now. Raises ReleaseError when the tag is already there with other files; ToolError when the Hub refuses,
    also when someone else committed in between.
    """
    from huggingface_hub import CommitOperationDelete

    repo_id = upload.repo_id
    with hub_errors(f"create the repo {repo_id}"):
        hub.api.create_repo(repo_id, private=upload.private, exist_ok=True)
    if released := tags_of(hub, repo_id).get(upload.tag or ""):
        return _released(hub, upload, released)
    with hub_errors(f"list {repo_id}"):
        parent = hub.api.model_info(repo_id).sha
        remote = remote_files(hub, repo_id, parent)
    changed = [entry for entry in upload.files if not _same(entry, remote.get(entry.path), upload.folder)]
    stale = sorted(remote.keys() - {entry.path for entry in upload.files} - set(KEPT))
    for entry in upload.files:
        if entry not in changed:
            advance(entry.size)
    if not changed and not stale:
        return Commit(sha=str(parent))
    additions = _send(hub, upload, changed, advance)
    deletions = [CommitOperationDelete(path_in_repo=path) for path in stale]
    with hub_errors(f"commit to {repo_id}"):
        made = hub.api.create_commit(
            repo_id,
            [*additions, *deletions],
            commit_message=upload.message,
            commit_description=upload.description,
            parent_commit=parent,
        )
    return Commit(sha=str(made.oid))


def publish_base(hub: Hub, base: BaseFolder, *, private: bool) -> bool:
    """Put a base model that is not on the Hub there, as its folder is. Returns whether it was put.

    An adapter, and a card, that name a base which nobody can fetch are of no use. A base that is
    there is never changed.
    """
    with hub_errors(f"look up {base.id}"):
        if hub.api.repo_exists(base.id):
            return False
    upload = Upload(
        repo_id=base.id,
        folder=base.path,
        files=list_files(base.path),
        private=private,
        message=f"Publish the base model {base.id}",
        description="",
        tag=None,
    )
    check_published(hub, upload, publish(hub, upload))
    return True


def check_base(hub: Hub, base: BaseFolder, digest: Callable[[Path], str]) -> None:
    """Raise ReleaseError for a base model that is on the Hub with other weights than in its folder: merged models would
    have those, and the adapter would name a base that it was not verified with. `digest` gives a file's SHA-256."""
    with hub_errors(f"look up {base.id}"):
        if not hub.api.repo_exists(base.id):
            return
        remote = remote_files(hub, base.id, base.revision)
    names = [name for name in remote if name.endswith(".safetensors") or name == "config.json"]
    here = [(name, base.path / name) for name in sorted(names) if (base.path / name).is_file()]
    entries = [FileEntry(path=name, size=path.stat().st_size, sha256=digest(path)) for name, path in here]
    if other := [entry.path for entry in entries if not _same(entry, remote[entry.path], base.path)]:
        raise ReleaseError(
            f"the base model {base.id} on the Hub is not the one in {base.path}: {', '.join(other)} "
            f"{'is' if len(other) == 1 else 'are'} different",
            remedy="a base that is on the Hub is never changed, as adapters name it: give the changed one a name of "
            f'its own in release.toml, [bases."{base.id}-2"], or put back the files that were published',
        )


def _send(hub: Hub, upload: Upload, entries: Sequence[FileEntry], advance: Advance) -> list[Any]:
    from huggingface_hub import CommitOperationAdd

    additions = []
    for entry in entries:
        addition = CommitOperationAdd(path_in_repo=entry.path, path_or_fileobj=upload.folder / entry.path)
        if addition.upload_info.sha256.hex() != entry.sha256:
            raise ReleaseError(
                f"{upload.folder / entry.path} was changed since it was verified; {upload.repo_id} is as it was",
                remedy="export it again: files that were changed are made anew",
            )
        with hub_errors(f"take {entry.path} for {upload.repo_id}"):
            hub.api.preupload_lfs_files(upload.repo_id, [addition])
        additions.append(addition)
        advance(entry.size)
    return additions


def check_published(hub: Hub, upload: Upload, commit: Commit) -> tuple[FileEntry, ...]:
    """Compare every file of a commit with what was to be published, but for those that were kept; returns them.

    Raises ReleaseError that lists every difference.
    """
    found = _differences(hub, upload, commit.sha)
    if problems := [told for path, told in found.items() if path not in commit.kept]:
        raise ReleaseError(
            f"{_place(upload, commit.sha)} is not what was published: {'; '.join(problems)}",
            remedy="run the same command again: it sends only what differs",
        )
    return tuple(entry for entry in upload.files if entry.path not in commit.kept)


def _differences(hub: Hub, upload: Upload, sha: str) -> dict[str, str]:
    """What a commit has otherwise than an upload, by path."""
    with hub_errors(f"list {upload.repo_id}"):
        remote = remote_files(hub, upload.repo_id, sha)
    found = {
        entry.path: f"{entry.path} is {'missing' if entry.path not in remote else 'different'}"
        for entry in upload.files
        if not _same(entry, remote.get(entry.path), upload.folder)
    }
    expected = {entry.path for entry in upload.files} | set(KEPT)
    return found | {path: f"{path} should not be there" for path in sorted(remote.keys() - expected)}


def _place(upload: Upload, sha: str) -> str:
    return f"{upload.repo_id} at {sha[:10]}"


def tag_published(hub: Hub, upload: Upload, commit: Commit) -> None:
    """Set the upload's tag on its commit. A tag that exists is looked at, never moved or assumed.

    Raises ReleaseError when it names another commit.
    """
    if upload.tag is None:
        return
    found = tags_of(hub, upload.repo_id).get(upload.tag)
    if found is None:
        with hub_errors(f"tag {upload.repo_id}"):
            hub.api.create_tag(upload.repo_id, tag=upload.tag, tag_message=upload.message, revision=commit.sha)
    elif found != commit.sha:
        raise ReleaseError(f"the tag {upload.tag} of {upload.repo_id} is on {found[:10]}, not on {commit.sha[:10]}")


def _released(hub: Hub, upload: Upload, sha: str) -> Commit:
    """The commit that a version was released by. Raises ReleaseError where that has other files."""
    found = _differences(hub, upload, sha)
    if not found or (found.keys() <= set(TELLING) and _differs_in_evidence(hub, upload)):
        return Commit(sha=sha, kept=tuple(found))
    raise ReleaseError(
        f"{upload.tag} was released before with other files: {_place(upload, sha)} is not what would be published: "
        f"{'; '.join(found.values())}",
        remedy="release a new version; a published version is never changed",
    )


def _differs_in_evidence(hub: Hub, upload: Upload) -> bool:
    """Whether what its manifest there says otherwise than the upload's is only what verifying showed."""
    there = published_manifest(hub, upload.repo_id, upload.tag or "")
    return there is not None and same_release(there, read_manifest(upload.folder))


def _same(entry: FileEntry, remote: Any, folder: Path) -> bool:
    """Whether a remote file has an entry's content: by SHA-256 where it is a large file, else by
    git's own hash of it."""
    if remote is None or remote.size != entry.size:
        return False
    if remote.lfs is not None:
        return bool(remote.lfs.sha256 == entry.sha256)
    from huggingface_hub.utils.sha import git_hash

    return bool(remote.blob_id == git_hash((folder / entry.path).read_bytes()))
