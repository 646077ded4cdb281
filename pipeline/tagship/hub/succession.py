"""Versions that follow each other on the Hub: the repo of an earlier one leads to that of the next (`new_version`).

Repos are known by their names, as policies read them, and by the version's tag on them. Only `main` of an earlier repo
is changed, and of that the card: what was released stays where its tag is.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from tagship.artifacts.card_changes import changed, is_withdrawn, leads_to
from tagship.artifacts.manifest import CARD_FILE
from tagship.hub.connection import Hub
from tagship.hub.failures import hub_errors
from tagship.hub.released import list_repos
from tagship.hub.repository import small_file, tags_of
from tagship.naming.name_rules import PLUS_IN_REPO_NAMES
from tagship.naming.names import make_name
from tagship.naming.tags import VersionTag
from tagship.naming.variant import Variant
from tagship.naming.version import is_prerelease, precedence
from tagship.policy.config import Config
from tagship.policy.formats import FormatPolicy


class Named(Protocol):
    """A target of a release, by what its repo is found by."""

    @property
    def policy(self) -> FormatPolicy: ...
    @property
    def variant(self) -> Variant: ...
    @property
    def repo_id(self) -> str: ...


def released_repos(hub: Hub, config: Config, tags: Sequence[VersionTag], target: Named) -> dict[VersionTag, str]:
    """The repos on the Hub of the same model and format as a target, by the version tag that they have. Raises
    ToolError when the Hub does not answer."""
    by_version = {tag.version: tag for tag in tags}
    found = {}
    for name in list_repos(hub, config.namespace):
        repo_id = f"{config.namespace}/{name}"
        tag = by_version.get(_version_of(name, target) or "")
        if tag is not None and tag.name in tags_of(hub, repo_id):
            found[tag] = repo_id
    return found


class _Alone(Struct, frozen=True, kw_only=True):
    """An export that shares its repo, by the name that its repo would have if it were alone there."""

    policy: FormatPolicy
    variant: Variant
    repo_id: str


def lines_to(
    hub: Hub, config: Config, tags: Sequence[VersionTag], targets: Sequence[Named]
) -> list[dict[VersionTag, str]]:
    """The released repos that lead to that of some targets, a line for each of them where they share it: before they
    did, each had a repo of its own. Raises ToolError when the Hub does not answer."""
    own = released_repos(hub, config, tags, targets[0])
    if targets[0].policy.shared is None:
        return [own]
    return [released_repos(hub, config, tags, _alone(target)) | own for target in targets]


def _alone(target: Named) -> Named:
    pattern, variant = target.policy.names.repo.tagged, target.variant
    namespace, _, name = target.repo_id.rpartition("/")
    said = pattern.parse(name)
    if said is None:  # named by hand
        return target
    own = said | {"kind": variant.kind, "prefix": variant.prefix, "label": variant.label}
    return _Alone(policy=target.policy, variant=variant, repo_id=f"{namespace}/{make_name(pattern, own, 'repo')}")


def lead_on(hub: Hub, repos: Mapping[VersionTag, str], released: VersionTag) -> list[tuple[str, str]]:
    """Have those repos lead on for which the release of a version changes what follows: its own, where a higher final
    version is there, and those that it is the next final version of. Nobody is led to one that was withdrawn. Returns
    which were changed to lead where."""
    led = []
    final = sorted((tag for tag in repos if not is_prerelease(tag.version)), key=lambda tag: precedence(tag.version))
    final = [tag for tag in final if tag == released or not is_withdrawn(_card(hub, repos[tag]) or "")]
    for tag, repo_id in repos.items():
        after = next((later for later in final if precedence(later.version) > precedence(tag.version)), None)
        if after is not None and released in (tag, after) and lead_to(hub, repo_id, repos[after]):
            led.append((repo_id, repos[after]))
    return led


def _version_of(name: str, target: Named) -> str | None:
    """The version of a repo whose name says the same as a target's, but for that and what changes with the run."""
    pattern = target.policy.names.repo.tagged
    said, own = pattern.parse(name), pattern.parse(target.repo_id.rpartition("/")[2])
    if said is None or own is None:
        return None
    same = all(said.get(field) == own.get(field) for field in ("kind", "prefix", "label", "base", "dataset"))
    return str(said.get("version")).replace(PLUS_IN_REPO_NAMES, "+") if same else None


def lead_to(hub: Hub, repo_id: str, successor: str) -> bool:
    """Have a repo's card name the repo that follows it; one that names another one is left, and a public one leads to
    no private one. Returns whether it was changed. Raises ToolError when the Hub does not answer or refuses."""
    from huggingface_hub import CommitOperationAdd

    with hub_errors(f"lead from {repo_id} to {successor}"):
        info = hub.reading(repo_id).model_info(repo_id)
    parent = info.sha
    card = _card(hub, repo_id, parent)
    if card is None or leads_to(card) is not None:
        return False
    if not info.private and _is_private(hub, successor):
        return False
    led = changed(card, next_version=successor)
    operation = CommitOperationAdd(path_in_repo=CARD_FILE, path_or_fileobj=led.encode())
    with hub_errors(f"lead from {repo_id} to {successor}"):
        hub.of(repo_id).create_commit(
            repo_id, [operation], commit_message=f"Lead to the next version, {successor}", parent_commit=parent
        )
    return True


def _is_private(hub: Hub, repo_id: str) -> bool:
    with hub_errors(f"look up {repo_id}"):
        return bool(hub.reading(repo_id).model_info(repo_id).private)


def _card(hub: Hub, repo_id: str, revision: str | None = None) -> str | None:
    """The card of a repo, where it has one."""
    with hub_errors(f"read {CARD_FILE} of {repo_id}"):
        if not hub.reading(repo_id).file_exists(repo_id, CARD_FILE, revision=revision):
            return None
        return small_file(hub.reading(repo_id), repo_id, CARD_FILE, revision).decode(errors="replace")
