"""What a repository on the Hub holds: its files, its tags, and what a release there says of itself."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tagship.artifacts.manifest import MANIFEST_FILE, Manifest, read_manifest
from tagship.hub.failures import hub_errors
from tagship.hub.connection import Hub
from tagship.system.errors import ReleaseError, ToolError

# The Hub's own file, which belongs to the repository and not to a release.
KEPT = (".gitattributes",)


def remote_files(hub: Hub, repo_id: str, revision: str | None) -> Mapping[str, Any]:
    """Every file of a repository at a revision, by path, as the Hub describes it."""
    from huggingface_hub.hf_api import RepoFile

    tree = hub.api.list_repo_tree(repo_id, revision=revision, recursive=True)
    return {item.path: item for item in tree if isinstance(item, RepoFile)}


def content_of(remote: Any) -> str:
    """What tells one content of a remote file from another: of large files their SHA-256, of others git's own hash."""
    return str(remote.lfs.sha256 if remote.lfs else remote.blob_id)


def tags_of(hub: Hub, repo_id: str) -> dict[str, str]:
    """The commit of each tag of a repository."""
    with hub_errors(f"list the tags of {repo_id}"):
        return {ref.name: ref.target_commit for ref in hub.api.list_repo_refs(repo_id).tags}


def published_manifest(hub: Hub, repo_id: str, tag: str) -> Manifest | None:
    """What a released repo says of itself at a tag, or None where it has no manifest of ours there.

    Raises ToolError when the Hub does not answer.
    """
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    with hub_errors(f"read {MANIFEST_FILE} of {repo_id}"):
        try:
            path = hub.api.hf_hub_download(repo_id, MANIFEST_FILE, revision=tag)
        except LocalEntryNotFoundError as error:  # neither the Hub nor the cache has an answer
            raise ToolError(f"the Hub could not be reached to read {MANIFEST_FILE} of {repo_id}") from error
        except EntryNotFoundError:
            return None
    try:
        return read_manifest(Path(path).parent)
    except ReleaseError:  # another program's file of that name, or a damaged one
        return None
