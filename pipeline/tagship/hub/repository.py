"""What a Hub has under a name: a repository as it is, its files, its tags, and what a release there says of itself.

It is looked at without the client's cache, so that looking leaves nothing behind.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from tagship.artifacts.manifest import MANIFEST_FILE, Manifest, is_manifest, parse_manifest
from tagship.hub.connection import Hub
from tagship.hub.failures import hub_errors
from tagship.system.errors import ReleaseError, ToolError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

MAIN = "main"
# The Hub's own file, which belongs to the repository and not to a release.
KEPT = (".gitattributes",)
# What a small file of a repository does not exceed; a server that sends more is not read.
_MOST_BYTES = 32 << 20
# What a repository may have that nobody released anything to: the Hub puts these there when it is made by hand.
_EMPTY = (".gitattributes", "README.md", "LICENSE", "LICENSE.md", "LICENSE.txt")


class Standing(Struct, frozen=True, kw_only=True):
    """A repository as it is: `head` is the commit of a branch of it, `files` what that has, by path, as the Hub
    describes it."""

    repo_id: str
    private: bool
    head: str | None
    files: Mapping[str, Any]
    branch: str = MAIN

    @property
    def unused(self) -> bool:
        """Whether nothing was ever put there: it was made by hand, or by a command that was ended then."""
        return is_unused(self.files)


def is_unused(files: Iterable[str]) -> bool:
    """Whether nothing was ever released to what has these files."""
    return not set(files) - set(_EMPTY)


def standing(hub: Hub, repo_id: str, branch: str = MAIN) -> Standing | None:
    """A branch of a repository of a Hub, or None where there is none. Raises ToolError when the Hub does not answer."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    with hub_errors(f"look up {repo_id}"):
        try:
            info = hub.reading(repo_id).model_info(repo_id, revision=None if branch == MAIN else branch)
        except GatedRepoError:
            raise
        except (RepositoryNotFoundError, RevisionNotFoundError):
            return None
        files = remote_files(hub, repo_id, info.sha) if info.sha else {}
    return Standing(repo_id=repo_id, private=bool(info.private), head=info.sha, files=files, branch=branch)


def remote_files(hub: Hub, repo_id: str, revision: str | None) -> Mapping[str, Any]:
    """Every file of a repository at a revision, by path, as the Hub describes it."""
    from huggingface_hub.hf_api import RepoFile

    tree = hub.reading(repo_id).list_repo_tree(repo_id, revision=revision, recursive=True)
    return {item.path: item for item in tree if isinstance(item, RepoFile)}


def content_of(remote: Any) -> str:
    """What tells one content of a remote file from another: of large files their SHA-256, of others git's own hash."""
    return str(remote.lfs.sha256 if remote.lfs else remote.blob_id)


def tags_of(hub: Hub, repo_id: str) -> dict[str, str]:
    """The commit of each tag of a repository."""
    with hub_errors(f"list the tags of {repo_id}"):
        return {ref.name: ref.target_commit for ref in hub.reading(repo_id).list_repo_refs(repo_id).tags}


def published_manifest(hub: Hub, repo_id: str, revision: str) -> Manifest | None:
    """As `read_published`, and None also for a manifest that cannot be read."""
    try:
        return read_published(hub, repo_id, revision)
    except ToolError:
        raise
    except ReleaseError:
        return None


def read_published(hub: Hub, repo_id: str, revision: str) -> Manifest | None:
    """What a released repo says of itself at a tag or commit; None where it has no manifest there, or one of another
    program. Raises ReleaseError for one that is damaged or of a newer tagship, ToolError when the Hub does not answer.
    """
    from huggingface_hub.errors import EntryNotFoundError

    with hub_errors(f"read {MANIFEST_FILE} of {repo_id}"):
        try:
            content = small_file(hub.reading(repo_id), repo_id, MANIFEST_FILE, revision)
        except EntryNotFoundError:
            return None
    return parse_manifest(content, f"{MANIFEST_FILE} of {repo_id}") if is_manifest(content) else None


def manifest_of(hub: Hub, found: Standing) -> Manifest | None:
    """As `read_published`, of main."""
    return read_published(hub, found.repo_id, found.head) if found.head and MANIFEST_FILE in found.files else None


def small_file(api: "HfApi", repo_id: str, name: str, revision: str | None, *, timeout: float | None = None) -> bytes:
    """The bytes of a small file. Raises what the client raises, and ToolError for one that is large."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    url = hf_hub_url(repo_id, name, revision=revision, endpoint=api.endpoint)
    response = get_session().get(url, headers=build_hf_headers(token=api.token), timeout=timeout)
    hf_raise_for_status(response)
    if len(response.content) > _MOST_BYTES:
        raise ToolError(f"{name} of {repo_id} has {len(response.content)} bytes, more than any model's")
    return bytes(response.content)
