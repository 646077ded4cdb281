"""Making a version tag: what has to be true before, also of the release that it triggers, and the tag itself, here and
on the remote (the guide, "Tagging Workflow")."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from tagship.history.tag_checks import Outcome, Tagging, run_checks
from tagship.hub.connection import Hub
from tagship.hub.fetch import code_of_base, locate_base
from tagship.hub.patience import ASIDE, impatient
from tagship.naming.tags import Stream, VersionTag, version_tags
from tagship.policy.config import Config
from tagship.release.gates import check_code, check_tasks
from tagship.release.name_checks import check_names
from tagship.release.plan import Plan
from tagship.runs.base_folder import check_base_folder
from tagship.system.called import called
from tagship.system.errors import ReleaseError, ToolError
from tagship.system.git import Repository
from tagship.system.git_objects import Commit, Tag


def check_remote(config: Config, repository: Repository, name: str, *, here: bool, push: bool) -> str | None:
    """Raise ReleaseError when the remote has a tag of that name that is not `here`, or when the tag is to be pushed and
    there is no remote, or none that answers. Returns why the remote could not be asked."""
    remote = config.versions.remote
    if repository.remote_url(remote) is None:
        if push:
            raise ReleaseError(
                f"there is no remote {remote!r} to push {name} to",
                remedy=f"git remote add {remote} URL, or name another one in [versions] remote",
            )
        return None
    try:
        taken = name in repository.remote_tags(remote)
    except ToolError as error:
        if push:
            raise ReleaseError(
                f"{remote} cannot be asked for its tags, so {name} is neither made nor pushed: {error}",
                remedy=f"git ls-remote {remote}; or leave --push out",
            ) from None
        return f"{remote} did not say whether it has {name}: {error}"
    if taken and not here:
        raise ReleaseError(
            f"{remote} has a tag {name} already, which is not in this clone",
            remedy=f"git fetch {remote} tag {name} shows it; {called()} bump says which version is free",
        )
    return None


def taken_versions(
    config: Config, repository: Repository, stream: Stream, say: Callable[[str], object]
) -> dict[VersionTag, str]:
    """All version tags of a stream, here and on the remote, with where each of them is; `say` is told of a remote that
    does not answer."""
    remote = config.versions.remote
    found = dict.fromkeys(version_tags(repository.tag_names(), [stream]), "on another branch")
    if repository.remote_url(remote) is not None:
        try:
            there = version_tags(repository.remote_tags(remote), [stream])
        except ToolError as error:
            say(f"{remote} did not say which versions it has, so that only those in this clone are skipped: {error}")
        else:
            found |= {tag: f"on {remote}" for tag in there if tag not in found}
    return found


def tag_on(repository: Repository, name: str, head: Commit) -> Tag | None:
    """The tag of that name, if there is one. Raises ReleaseError when it is on another commit."""
    if not repository.has_tag(name):
        return None
    existing = repository.tag(name)
    if existing.commit.sha != head.sha:
        raise ReleaseError(
            f"the tag {name} is on {existing.commit.sha[:10]} already, and {head.sha[:10]} is checked out",
            remedy=f"a version names one commit for ever: tag the next one ({called()} bump)",
        )
    return existing


def check_tagging(
    config: Config, repository: Repository, version_tag: VersionTag, head: Commit, there: Tag | None
) -> list[Outcome]:
    """The checks' outcomes on a tag to be made, or on one that is there, as a release checks it."""
    tagging = Tagging(config=config, repository=repository, version_tag=version_tag, commit=head, tag=there)
    # Whether it is on the remote is what tagging is asked to change, or says at the end.
    return [outcome for outcome in run_checks(tagging) if outcome.name != "pushed"]


def check_release(plan: Plan, open_hub: Callable[[], AbstractContextManager[Hub]] | None) -> str | None:
    """Raise ReleaseError where a tag could not be released for what it tags: the run, its names, its base model.

    A base that is not here is looked for where `open_hub` is given. Returns why no Hub could be asked.
    """
    check_tasks(plan.targets)
    if plan.base.path is not None:
        check_base_folder(plan.base, plan.base.path, revision=plan.base.revision)
    check_names(plan, plan.base.path)
    if plan.base.path is None and open_hub is not None:
        with open_hub() as hub, impatient(ASIDE):
            try:
                located = locate_base(plan.base, hub)
                check_code(located.base, code_of_base(located))
            except ToolError as error:
                return str(error)
    return None


def push_tag(config: Config, repository: Repository, name: str) -> None:
    """Push a tag. Raises ReleaseError that says how to go on when the remote refuses it."""
    remote = config.versions.remote
    try:
        repository.push_tag(remote, name)
    except ToolError as error:
        raise ReleaseError(
            f"{name} is tagged here, and {remote} did not take it: {error}",
            remedy=f"git push {remote} {name}, when that is mended; git tag --delete {name} takes the tag back",
        ) from None
