"""Releases as the Hub has them: the repos of a namespace that say of themselves what they are, at every tag."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from msgspec import Struct, field
from msgspec.structs import replace

from tagship.artifacts.manifest import CARD_FILE, Manifest
from tagship.hub.connection import Hub
from tagship.hub.failures import hub_errors
from tagship.hub.patience import current, set_current
from tagship.hub.repository import KEPT, content_of, is_unused, read_published, remote_files, small_file, tags_of
from tagship.system.errors import ReleaseError, ToolError

_AT_ONCE = 8


class Published(Struct, frozen=True, kw_only=True):
    """What a repo has of a release, be it several exports: under a version's tag, or on main where the release has none
    (`tag` is None then). `commit` is what the tag names, `head` where main is, and `main` the manifest there, None
    where that has none that can be read; `others` are the commits of the repo's other tags; `private` is whether
    not everybody sees the repo."""

    repo_id: str
    tag: str | None
    commit: str
    head: str
    manifest: Manifest
    others: Mapping[str, str] = field(default_factory=dict)
    main: Manifest | None = None
    private: bool = False

    @property
    def unfinished(self) -> str | None:
        """The tag of the version that main has without there being such a tag: its release was stopped before that."""
        tag = self.main.tag if self.main else None
        return None if tag in (None, self.tag, *self.others) else tag


class Unread(Struct, frozen=True, kw_only=True):
    """A release whose manifest cannot be read, and why."""

    repo_id: str
    tag: str | None
    commit: str
    problem: str


Found = list[Published | Unread]


def all_in(hub: Hub, namespace: str) -> Found:
    """All releases of a namespace, by repo and tag, also those that cannot be read. Raises ToolError when the Hub does
    not answer."""
    with hub_errors(f"list the models of {namespace}"):
        repos = sorted(model.id for model in hub.api.list_models(author=namespace))
    with ThreadPoolExecutor(_AT_ONCE, initializer=set_current, initargs=(current(),)) as pool:
        return [release for found in pool.map(lambda repo_id: all_of(hub, repo_id), repos) for release in found]


def all_of(hub: Hub, repo_id: str) -> Found:
    """The releases of one repo: at each tag that has a manifest, and on main where that is of none of those tags.
    Raises ToolError when the Hub does not answer or has no such repo."""
    with hub_errors(f"look up {repo_id}"):
        repo = hub.reading(repo_id).model_info(repo_id)
    head = str(repo.sha)
    tags = tags_of(hub, repo_id)
    found: Found = list(_at(hub, repo_id, head, tags))
    on_main: Found = list(_at(hub, repo_id, head, {None: head}))
    main = next((release.manifest for release in on_main if isinstance(release, Published)), None)
    found += [release for release in on_main if _is_new(release, found)]
    return [
        replace(each, main=main, private=bool(repo.private)) if isinstance(each, Published) else each for each in found
    ]


def _is_new(main: Published | Unread, found: Found) -> bool:
    """Whether main is a release beside those at tags: one without a version, or of a tag that is not there any more."""
    if isinstance(main, Unread):
        return not found
    return not any(isinstance(each, Published) and each.manifest.tag == main.manifest.tag for each in found)


def releases_in(hub: Hub, namespace: str) -> list[Published]:
    """All exports of the releases of a namespace that can be read: of several that share a repo, each."""
    return [
        each for release in all_in(hub, namespace) if isinstance(release, Published) for each in exports_of(release)
    ]


def exports_of(release: Published) -> list[Published]:
    """A release for each of its exports, as if that were alone in the repo."""
    return [replace(release, manifest=manifest) for manifest in release.manifest.each()]


def card_at(hub: Hub, repo_id: str, revision: str) -> str | None:
    """The card of a repo at a commit; None where it has none, or one that is no text. Raises ToolError when the Hub
    does not answer."""
    from huggingface_hub.errors import EntryNotFoundError

    with hub_errors(f"read {CARD_FILE} of {repo_id}"):
        try:
            return small_file(hub.reading(repo_id), repo_id, CARD_FILE, revision).decode()
        except (EntryNotFoundError, UnicodeDecodeError):
            return None


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


def is_main_unused(hub: Hub, release: Published) -> bool:
    """Whether a release's repo has nothing on main: so it is before the first final version. Raises ToolError."""
    with hub_errors(f"list {release.repo_id}"):
        return is_unused(remote_files(hub, release.repo_id, release.head))


def _at(
    hub: Hub, repo_id: str, head: str, tags: Mapping[str, str] | Mapping[None, str]
) -> Iterator[Published | Unread]:
    for tag, commit in tags.items():
        try:
            manifest = read_published(hub, repo_id, commit)
        except ToolError:
            raise
        except ReleaseError as error:
            yield Unread(repo_id=repo_id, tag=tag, commit=commit, problem=str(error))
            continue
        if manifest:
            others = {str(other): at for other, at in tags.items() if other not in (tag, None)}
            yield Published(repo_id=repo_id, tag=tag, commit=commit, head=head, manifest=manifest, others=others)
