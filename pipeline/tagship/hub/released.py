"""What of a namespace is released: the repos whose names carry a version, and the tags on them."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tagship.artifacts.manifest import MANIFEST_FILE, Manifest, read_manifest
from tagship.hub.access import hub_errors
from tagship.hub.connection import Hub
from tagship.hub.publish import tags_of
from tagship.policy.config import Config
from tagship.system.errors import ReleaseError, ToolError

_AT_ONCE = 8


def list_repos(hub: Hub, namespace: str) -> list[str]:
    """The names of a namespace's model repos, without the namespace. Raises ToolError."""
    with hub_errors(f"list the models of {namespace}"):
        return sorted(model.id.split("/", 1)[1] for model in hub.api.list_models(author=namespace))


def released_tags(hub: Hub, config: Config) -> Mapping[str, tuple[str, ...]]:
    """The repos that are released under each version tag, by the tag's name.

    Raises ToolError when the Hub does not answer.
    """
    versioned = [name for name in list_repos(hub, config.namespace) if _is_tagged(config, name)]
    repos = [f"{config.namespace}/{name}" for name in versioned]
    found: dict[str, list[str]] = {}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for repo_id, tags in zip(repos, pool.map(lambda repo_id: tags_of(hub, repo_id), repos), strict=True):
            for tag in tags:
                found.setdefault(tag, []).append(repo_id)
    return {tag: tuple(repo_ids) for tag, repo_ids in found.items()}


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


def _is_tagged(config: Config, name: str) -> bool:
    return any(policy.names.repo.tagged.parse(name) is not None for policy in config.formats)
