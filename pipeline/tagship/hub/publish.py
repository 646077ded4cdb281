"""A folder onto the Hub: all of it or nothing, in one commit that leaves nothing stale.

Large files are sent first, which shows nothing to anyone and goes on where it was interrupted;
then one commit adds and deletes; then every checksum is compared; then the tag is set. A folder
that is there already makes no new commit.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from tagship.artifacts.manifest import TELLING, FileEntry, read_manifest, same_release
from tagship.hub.branches import Version, becomes_main, branch_for
from tagship.hub.connection import Hub
from tagship.hub.failures import GOES_ON, hub_errors, status_of
from tagship.hub.proposals import proposed
from tagship.hub.repository import MAIN, Standing, published_manifest, remote_files, standing, tags_of
from tagship.hub.upload import Commit, Upload, difference
from tagship.system.called import called
from tagship.system.errors import ReleaseError, ToolError
from tagship.system.progress import Advance, silent
from tagship.system.secrets import check_no_secrets

# What is done where a pull request has nothing to be made to.
MAKE_IT_FIRST = "have somebody who may write there make the repo, empty, or release without --create-pr"


def publish(hub: Hub, upload: Upload, advance: Advance = silent) -> Commit:
    """Make a repository, or a pull request to it, hold exactly the upload's files. Returns the commit that does.

    A version that was released before stays as it is, also where the same release, verified elsewhere, has other
    figures now. Raises ReleaseError when the tag is already there with other files, when what is private would be
    public, or a text has a secret in it; ToolError when the Hub refuses, also when someone else committed in between.
    """
    check_no_secrets(upload.here)
    found = _repo(hub, upload)
    if released := tags_of(hub, upload.repo_id).get(upload.tag or ""):
        return _released(hub, upload, released)
    found = _onto(hub, upload, found)
    changed, stale = difference(upload, found.files)
    for entry in upload.files:
        if entry not in changed:
            advance(entry.size)
    if not changed and not stale:
        return Commit(sha=str(found.head), branch=_unless_main(found))
    additions = _send(hub, upload, changed, found, advance)
    return _commit(hub, upload, additions, stale, found)


def _onto(hub: Hub, upload: Upload, main: Standing) -> Standing:
    """What an upload is committed to: main, the branch of its version, or the pull request that has it already."""
    if not upload.proposes:
        return branch_for(hub, main, upload.version) if upload.version else main
    if upload.version:
        check_proposable(hub, main, upload.version)
    if not any(difference(upload, main.files)):
        return main
    there = proposed(hub, upload.repo_id, upload.message)
    return next((found for found in there if not any(difference(upload, found.files))), main)


def check_proposable(hub: Hub, main: Standing, version: Version) -> None:
    """Raise ReleaseError for a version that gets a branch of its own, which no pull request can be made to."""
    if not becomes_main(hub, main, version):
        raise ReleaseError(
            f"{version.tag} does not become the main of {main.repo_id}, and a pull request is always to main",
            remedy="have it released by somebody who may write there, without --create-pr",
        )


def _unless_main(found: Standing) -> str | None:
    return None if found.branch == MAIN else found.branch


def send_ahead(hub: Hub, upload: Upload, advance: Advance = silent) -> Iterator[str]:
    """Send the large files of an upload, which shows nothing to anyone before a commit names them: the paths of those
    that the Hub keeps apart from git, each when it has it. The upload's repository is made where it is not there.

    Raises as `publish` does. What is sent of a version that was released before is what it has.
    """
    check_no_secrets(upload.here)
    found = _repo(hub, upload)
    for entry in upload.files:
        if entry.path not in upload.sent and _sent(hub, upload, entry, found)._upload_mode == "lfs":
            yield entry.path
        advance(entry.size)


def _repo(hub: Hub, upload: Upload) -> Standing:
    """The upload's repository, made where it is not there: making one counts against a limit of the Hub's, and not
    every token may. Raises ReleaseError where what is private would be published to everybody."""
    repo_id = upload.repo_id
    found = standing(hub, repo_id)
    if found is None and upload.proposes:
        raise ReleaseError(f"there is no repo {repo_id} to propose a release to", remedy=MAKE_IT_FIRST)
    if found is None and hub.identity:
        hub.identity.check({repo_id: False})
    if found is None:
        with hub_errors(f"create the repo {repo_id}"):
            # What is not said is the organization's own choice.
            hub.api.create_repo(repo_id, private=upload.private or None, exist_ok=True)
        found = standing(hub, repo_id)
    if found is None:
        raise ToolError(f"the Hub made the repo {repo_id}, and has none", remedy=f"look at it; {GOES_ON}")
    check_privacy(found, private=upload.private)
    return found


def check_privacy(found: Standing, *, private: bool) -> None:
    """Raise ReleaseError where a release that is private would be seen by everybody."""
    if private and not found.private:
        raise ReleaseError(
            f"the release is private, and the repo {found.repo_id} is public: everybody would see it",
            remedy="make the repo private in its settings on the Hub, name another one (--repo-name), or leave "
            "[hub] private out",
        )


def _commit(hub: Hub, upload: Upload, additions: list[Any], stale: Sequence[str], onto: Standing) -> Commit:
    from huggingface_hub import CommitOperationDelete

    deletions = [CommitOperationDelete(path_in_repo=path) for path in stale]
    try:
        with hub_errors(f"commit to {upload.repo_id}"):
            commit = hub.of(upload.repo_id).create_commit(
                upload.repo_id,
                [*additions, *deletions],
                commit_message=upload.message,
                commit_description=upload.description,
                revision=onto.branch,
                parent_commit=onto.head,
                create_pr=upload.proposes,
            )
    except ToolError as error:
        if upload.sent and status_of(error) in (400, 404, 422):
            again = f"remove the unit's result, and do it again by {called()} work --to-hub"
            raise ToolError(
                str(error), remedy=f"what was sent ahead is kept for a while only: if it is gone, {again}"
            ) from error
        if status_of(error) not in (None, 409, 412):
            raise
        # The Hub may have done it, and its answer be lost on the way: then it refused the second attempt.
        found = _onto(hub, upload, onto) if upload.proposes else standing(hub, upload.repo_id, onto.branch)
        if found is None or found.head in (None, onto.head) or any(difference(upload, found.files)):
            raise
        return Commit(sha=str(found.head), branch=_unless_main(found))
    return Commit(sha=str(commit.oid), branch=commit.pr_revision or _unless_main(onto))


def _send(hub: Hub, upload: Upload, entries: Sequence[FileEntry], onto: Standing, advance: Advance) -> list[Any]:
    additions = []
    for entry in entries:
        additions.append(_known(entry) if entry.path in upload.sent else _sent(hub, upload, entry, onto))
        advance(entry.size)
    return additions


def _sent(hub: Hub, upload: Upload, entry: FileEntry, onto: Standing) -> Any:
    """A file as a commit adds it, sent if it is a large one.

    What is sent is digested by the client while it reads it, and compared then: nobody sees it until a commit names it.
    """
    from huggingface_hub import CommitOperationAdd

    source = upload.source(entry.path)
    changed = ReleaseError(
        f"{source} was changed since it was verified; {upload.repo_id} is as it was",
        remedy="export it again: files that were changed are made anew",
    )
    addition = CommitOperationAdd(path_in_repo=entry.path, path_or_fileobj=source)
    if addition.upload_info.size != entry.size:
        raise changed
    with hub_errors(f"take {entry.path} for {upload.repo_id}"):
        hub.of(upload.repo_id).preupload_lfs_files(
            upload.repo_id, [addition], revision=onto.branch, create_pr=upload.proposes
        )
    if addition.upload_info.sha256.hex() != entry.sha256:
        raise changed
    return addition


def _known(entry: FileEntry) -> Any:
    """A large file as a commit adds it that the Hub has already: as the client leaves one that it has sent and let go
    of (`free_memory` of `preupload_lfs_files`)."""
    from huggingface_hub import CommitOperationAdd
    from huggingface_hub.lfs import UploadInfo

    addition = CommitOperationAdd(path_in_repo=entry.path, path_or_fileobj=b"")
    addition.upload_info = UploadInfo(size=entry.size, sample=b"", sha256=bytes.fromhex(entry.sha256))
    addition._upload_mode, addition._should_ignore, addition._is_uploaded = "lfs", False, True
    return addition


def check_published(hub: Hub, upload: Upload, commit: Commit) -> tuple[FileEntry, ...]:
    """Compare every file of a commit with what was to be published, but for those that were kept; returns them.

    Raises ReleaseError that lists every difference.
    """
    found = _differences(hub, upload, commit.revision)
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
    changed, stale = difference(upload, remote)
    found = {e.path: f"{e.path} is {'different' if e.path in remote else 'missing'}" for e in changed}
    return found | {path: f"{path} should not be there" for path in stale}


def _place(upload: Upload, sha: str) -> str:
    return f"{upload.repo_id} at {sha[:10]}"


def tag_published(hub: Hub, upload: Upload, commit: Commit, note: str = "") -> None:
    """Set the upload's tag on its commit, with a `note` in its message. A tag that exists is looked at, never moved or
    assumed.

    Raises ReleaseError when it names another commit.
    """
    if upload.tag is None:
        return
    found = tags_of(hub, upload.repo_id).get(upload.tag)
    if found is None:
        try:
            with hub_errors(f"tag {upload.repo_id}"):
                hub.of(upload.repo_id).create_tag(
                    upload.repo_id,
                    tag=upload.tag,
                    tag_message=f"{upload.message}\n\n{note}" if note else upload.message,
                    revision=commit.sha,
                )
        except ToolError:
            # It may be there by now: by this very request, whose answer was lost, or by somebody else's.
            if (found := tags_of(hub, upload.repo_id).get(upload.tag)) is None:
                raise
    if found not in (None, commit.sha):
        raise ReleaseError(
            f"the tag {upload.tag} of {upload.repo_id} is on {str(found)[:10]}, not on {commit.sha[:10]}",
            remedy="a published version is never changed: release the next one",
        )


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
