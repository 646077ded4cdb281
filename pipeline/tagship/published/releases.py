"""Releases as the Hub has them: the repos of a namespace that say of themselves what they are, at every tag."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from tagship.artifacts.manifest import CARD_FILE, MANIFEST_FILE, Manifest
from tagship.hub.connection import Hub
from tagship.hub.failures import hub_errors
from tagship.hub.repository import KEPT, content_of, published_manifest, remote_files, small_file, tags_of
from tagship.system.errors import ReleaseError

_AT_ONCE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One export as a repo has it: under a version's tag, or on main where the release has none (`tag` is None then).
    `commit` is what the tag names, `head` where main is; `others` are the commits of the repo's other tags."""

    repo_id: str
    tag: str | None
    commit: str
    head: str
    manifest: Manifest
    others: Mapping[str, str] = field(default_factory=dict)


def releases_in(hub: Hub, namespace: str) -> list[Published]:
    """All releases of a namespace, by repo and tag. Raises ToolError when the Hub does not answer."""
    with hub_errors(f"list the models of {namespace}"):
        models = list(hub.api.list_models(author=namespace, full=True))
    ours = sorted(model.id for model in models if any(file.rfilename == MANIFEST_FILE for file in model.siblings or ()))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return [release for found in pool.map(lambda repo_id: releases_of(hub, repo_id), ours) for release in found]


def releases_of(hub: Hub, repo_id: str) -> list[Published]:
    """The releases of one repo: at each tag that has a manifest, else on main. Raises ToolError when the Hub does not
    answer or has no such repo."""
    with hub_errors(f"look up {repo_id}"):
        head = str(hub.api.model_info(repo_id).sha)
    tags = tags_of(hub, repo_id)
    found = list(_at(hub, repo_id, head, tags))
    return found or list(_at(hub, repo_id, head, {None: head}))


def releases_under(hub: Hub, namespace: str, tag: str) -> list[Published]:
    """What was released under a tag. Raises ReleaseError where nothing was."""
    found = [release for release in releases_in(hub, namespace) if release.tag == tag]
    if not found:
        raise ReleaseError(
            f"no repo of {namespace} on {hub.url} was released as {tag}", remedy="invoke matrix lists what is there"
        )
    return found


def read_text(hub: Hub, repo_id: str, name: str, revision: str) -> str:
    """A text file of a repo. Raises ToolError when it is not there, or the Hub does not answer."""
    with hub_errors(f"read {name} of {repo_id}"):
        return small_file(hub.api, repo_id, name, revision).decode(errors="replace")


def differing(hub: Hub, release: Published, commit: str) -> list[str]:
    """The files that another commit of the repo has otherwise than a release, but for the card; none where it is that
    release. Raises ToolError when the Hub does not answer."""
    if commit == release.commit:
        return []
    with hub_errors(f"list {release.repo_id}"):
        then, now = (remote_files(hub, release.repo_id, revision) for revision in (release.commit, commit))
    names = (then.keys() | now.keys()) - {CARD_FILE, *KEPT}
    return sorted(
        name for name in names if name not in then or name not in now or content_of(then[name]) != content_of(now[name])
    )


def _at(hub: Hub, repo_id: str, head: str, tags: Mapping[str, str] | Mapping[None, str]) -> Iterator[Published]:
    for tag, commit in tags.items():
        if manifest := published_manifest(hub, repo_id, commit):
            others = {str(other): at for other, at in tags.items() if other not in (tag, None)}
            yield Published(repo_id=repo_id, tag=tag, commit=commit, head=head, manifest=manifest, others=others)
