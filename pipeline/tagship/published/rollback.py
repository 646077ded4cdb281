"""An earlier release made the live one again, and back: nothing is deleted, no tag is moved, no large file is sent.

Where each version has a repo, cards on main say which one is withdrawn and which one to use; where a repo has several
versions, one commit restores the files of one of them by copies that the Hub makes itself. Each change is one commit;
what was interrupted is finished by the same command.
"""

from collections.abc import Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from tagship.artifacts.card_changes import changed, is_withdrawn, leads_to, restored_notice, withdrawn_notice
from tagship.artifacts.manifest import CARD_FILE
from tagship.hub.connection import Hub
from tagship.hub.failures import hub_errors
from tagship.hub.proposals import open_request
from tagship.hub.repository import remote_files
from tagship.naming.version import is_prerelease, is_semver, precedence
from tagship.policy.config import Config
from tagship.published.lines import by_repo, lines_of, version_of
from tagship.published.releases import Published, card_at, differing, is_main_unused
from tagship.published.rollback_titles import keeping, listed, restoring, returning, withdrawing
from tagship.runs.base import HUGGING_FACE
from tagship.system.called import called
from tagship.system.errors import ReleaseError


class Change(Struct, frozen=True, kw_only=True):
    """One commit to a repo, on top of `parent`: `told` is what it does. `card` becomes its README.md; `restores` is the
    release whose other files it gets, None where the card alone changes."""

    repo_id: str
    parent: str
    told: str
    card: str
    restores: Published | None = None


def plan_rollback(
    hub: Hub, config: Config, releases: Sequence[Published], tag: str, formats: Sequence[str] = ()
) -> list[Change]:
    """What makes those of the namespace's releases that are under a tag the live ones of their lines, in the order in
    which it is to be done: nothing where they are. Raises ReleaseError where nothing was released under it, for a
    prerelease, and where main has a release that was not finished; ToolError when the Hub does not answer."""
    lines = lines_of(config, releases)
    chosen = [
        (line, release)
        for line in lines
        for release in line
        if release.tag == tag and (not formats or release.manifest.format in formats)
    ]
    if not chosen:
        raise _nothing(config, [release for line in lines for release in line], tag, formats)
    if is_prerelease(version_of(chosen[0][1])):
        raise ReleaseError(
            f"{tag} is a prerelease, which nobody is led to", remedy="name a final version, or release it as one"
        )
    for release in (release for line, _ in chosen for release in line if release.unfinished):
        raise _unfinished(release)
    # What is to be used comes first: nobody is led to a repo that is withdrawn itself.
    changes: dict[str, Change] = {}
    for line, live in chosen:
        for change in _Line(hub, line, live).changes():
            changes.setdefault(change.repo_id, change)  # exports that share a repo change together
    return list(changes.values())


def _nothing(config: Config, releases: Sequence[Published], tag: str, formats: Sequence[str]) -> ReleaseError:
    there = sorted({release.manifest.format for release in releases if release.tag == tag})
    if there:
        wanted = " or ".join(formats)
        return ReleaseError(f"{tag} was not released in {wanted}", remedy=f"it was in {', '.join(there)}")
    known = sorted({str(release.tag) for release in releases})
    return ReleaseError(
        f"nothing of {config.namespace} was released as {tag}",
        remedy=f"released are {', '.join(known)}" if known else f"{called()} release makes a release",
    )


def _unfinished(release: Published) -> ReleaseError:
    """Without a tag nothing would bring back what main has."""
    tag = release.unfinished
    return ReleaseError(
        f"main of {release.repo_id} is {tag}, which has no tag there: its release was not finished",
        remedy=f"run {called()} release --tag {tag} again, or set the tag on the Hub yourself; then roll back",
    )


def apply(hub: Hub, change: Change, *, create_pr: bool = False) -> str:
    """Commit a change; returns the page of the commit, or of the pull request that proposes it. Raises ToolError when
    the Hub refuses, also where somebody else committed in between."""
    from huggingface_hub import CommitOperationAdd

    title = f"{change.told[0].upper()}{change.told[1:]}"
    if create_pr and (request := open_request(hub, change.repo_id, title)):
        return str(request.url)
    operations = [CommitOperationAdd(CARD_FILE, change.card.encode()), *_restoring(hub, change)]
    with hub_errors(f"commit to {change.repo_id}"):
        commit = hub.of(change.repo_id).create_commit(
            change.repo_id, operations, commit_message=title, parent_commit=change.parent, create_pr=create_pr
        )
    return str(commit.pr_url or commit.commit_url)


def _restoring(hub: Hub, change: Change) -> Iterator[object]:
    """Copies of all that main has otherwise than the release, and what main has beside it deleted."""
    from huggingface_hub import CommitOperationCopy, CommitOperationDelete

    if change.restores is None:
        return
    with hub_errors(f"list {change.repo_id}"):
        then = remote_files(hub, change.repo_id, change.restores.commit)
    for name in differing(hub, change.restores, change.parent):
        if name in then:
            yield CommitOperationCopy(name, name, src_revision=change.restores.commit)
        else:
            yield CommitOperationDelete(name)


class _Line:
    """The versions of one model in one format, of which one is to be live."""

    def __init__(self, hub: Hub, line: Sequence[Published], live: Published) -> None:
        self._hub, self._line, self._live = hub, line, live
        self._final = [release for release in line if not is_prerelease(version_of(release))]
        self._withdrawn = [release for release in self._final if _is_after(release, live)]

    def changes(self) -> Iterator[Change]:
        repos = dict(sorted(by_repo(self._line).items(), key=lambda of: of[0] != self._live.repo_id))
        for repo_id, releases in repos.items():
            if repo_id == self._live.repo_id:
                change = self._make_live(releases)
            else:
                shown = self._on_main(releases)
                change = self._lead(shown) if shown else None
            if change:
                yield change

    def _on_main(self, releases: Sequence[Published]) -> Published | None:
        """The release that people see who open a repo: what main says that it is, be it of another line; the highest
        final one where main says nothing. None where main has nothing yet, as before the first final version."""
        last = releases[-1]
        main = last.main
        if main is None or main.tag is None or not is_semver(main.version or ""):
            final = [release for release in releases if release in self._final]
            return None if is_main_unused(self._hub, last) else (final or releases)[-1]
        same = next((release for release in releases if release.tag == main.tag), None)
        return same or replace(last, tag=main.tag, commit=last.head, manifest=main)

    def _make_live(self, releases: Sequence[Published]) -> Change | None:
        live = self._live
        after = [str(release.tag) for release in self._withdrawn if release in releases]
        notice = restored_notice(str(live.tag), listed(after)) if after else None
        released = card_at(self._hub, live.repo_id, live.commit) or ""
        if differing(self._hub, live, live.head):
            told, card = restoring(str(live.tag), after), changed(released, next_version=None, notice=notice)
            return Change(repo_id=live.repo_id, parent=live.head, told=told, card=card, restores=live)
        return self._change(live, keeping(str(live.tag)), next_version=None, notice=notice)

    def _lead(self, release: Published) -> Change | None:
        """Have a repo's card say where to go from the version that main has."""
        live = self._live
        is_final = not is_prerelease(version_of(release))
        if is_final and _is_after(release, live):
            link = f"[{live.repo_id}]({HUGGING_FACE if self._hub.embedded else self._hub.url}/{live.repo_id})"
            seen = _leads_from(release, live)
            notice = withdrawn_notice(str(release.tag), f"{live.tag}, {link}" if seen else None)
            above = [str(each.tag) for each in self._withdrawn if each.repo_id == release.repo_id]
            told = withdrawing(above if release.tag in above else [str(release.tag), *above], str(live.tag), leads=seen)
            return self._change(release, told, live.repo_id if seen else None, notice)
        kept = [final for final in (*self._final, live) if final not in self._withdrawn]
        following = [final for final in kept if _is_after(final, release) and _leads_from(release, final)]
        after = min(following, key=lambda final: precedence(version_of(final)), default=None)
        told = f"{release.tag} leads to {after.tag}" if after else f"{release.tag} leads to no other"
        if is_final and is_withdrawn(self._card(release)):
            told = returning(str(release.tag), after.tag if after else None)
        return self._change(release, told, after.repo_id if after else None)

    def _change(
        self, release: Published, told: str, next_version: str | None, notice: str | None = None
    ) -> Change | None:
        """The card of a repo with these additions, where it has not got them. Where it leads to a repo of somebody's
        own choice, that stays."""
        now = self._card(release)
        leads = leads_to(now)
        if leads is not None and leads not in {each.repo_id for each in self._line}:
            next_version = leads
        card = changed(now, next_version=next_version, notice=notice)
        if card == now and card_at(self._hub, release.repo_id, release.head) is not None:
            return None
        return Change(repo_id=release.repo_id, parent=release.head, told=told, card=card)

    def _card(self, release: Published) -> str:
        """The card on main; the one that was released, where that was deleted."""
        at = (release.head, release.commit)
        return next(filter(None, (card_at(self._hub, release.repo_id, commit) for commit in at)), "")


def _is_after(release: Published, other: Published) -> bool:
    return precedence(version_of(release)) > precedence(version_of(other))


def _leads_from(release: Published, other: Published) -> bool:
    """Whether a card may lead to another release: what everybody reads names no private repo."""
    return release.private or not other.private
