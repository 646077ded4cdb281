"""What of a namespace is released: the repos whose names carry a version, and the tags on them."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from tagship.hub.connection import Hub
from tagship.hub.failures import hub_errors
from tagship.hub.patience import current, set_current
from tagship.hub.repository import tags_of
from tagship.naming.names import REPO
from tagship.policy.config import Config

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
    with ThreadPoolExecutor(_AT_ONCE, initializer=set_current, initargs=(current(),)) as pool:
        for repo_id, tags in zip(repos, pool.map(lambda repo_id: tags_of(hub, repo_id), repos), strict=True):
            for tag in tags:
                found.setdefault(tag, []).append(repo_id)
    return {tag: tuple(repo_ids) for tag, repo_ids in found.items()}


def _is_tagged(config: Config, name: str) -> bool:
    pairs = (pair for policy in config.formats for pair in (policy.names.repo, *policy.names.older.get(REPO, ())))
    return any(pair.tagged.parse(name) is not None for pair in pairs)
