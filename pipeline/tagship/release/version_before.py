"""The version before a release, and its repo on the Hub: by git and the policy, so that every clone says the same."""

from collections.abc import Iterator, Mapping
from typing import Any

import tomli

from tagship.history.line import line_of, releases_before
from tagship.naming.names import make_name
from tagship.naming.tags import VersionTag
from tagship.naming.version import is_prerelease
from tagship.release.plan import Plan
from tagship.release.results import Noted
from tagship.release.targets import Target
from tagship.system.git import Repository

# Versions before the one right before a release that are asked for.
_MOST = 20


def repo_before(target: Target, noted: Noted | None) -> tuple[str, str] | None:
    """The version before a target's, and its repo: that of the same names. None where there is none, or it had
    another name."""
    if noted is None or noted.since is None or target.policy.name in noted.named_otherwise:
        return None
    repo_id = _repo_of(target, noted.since)
    return None if repo_id is None else (noted.since.name, repo_id)


def repos_before(plan: Plan, target: Target, noted: Noted | None, repository: Repository) -> Iterator[tuple[str, str]]:
    """The versions before a target's, the highest first, each with its repo: a version that was tagged need not have
    been released. No prereleases but the version right before it, and none whose repo had another name."""
    if noted is None or noted.since is None or plan.stream is None:
        return
    line = line_of(plan.config, plan.stream, repository)
    earlier = releases_before(repository, line, plan.commit, noted.since.version)
    finals = [version for version in earlier if not is_prerelease(version.version)]
    for version in (noted.since, *finals[:_MOST]):
        known = version is noted.since
        otherwise = noted.named_otherwise if known else named_otherwise(plan, repository, version)
        if target.policy.name not in otherwise and (repo_id := _repo_of(target, version)) is not None:
            yield version.name, repo_id


def _repo_of(target: Target, version: VersionTag) -> str | None:
    """The repo that a target has by that version; None where repos are named by hand."""
    pattern = target.policy.names.repo.tagged
    namespace, _, name = target.repo_id.rpartition("/")
    said = pattern.parse(name)
    return None if said is None else f"{namespace}/{make_name(pattern, {**said, 'version': version.version}, 'repo')}"


def page_before(target: Target, noted: Noted | None) -> tuple[str, str] | None:
    """The version before a target's, and its page on the Hub: of the repo's tag where one repo has both."""
    if (before := repo_before(target, noted)) is None:
        return None
    tag, repo_id = before
    return tag, f"{repo_id}/tree/{tag}" if repo_id == target.repo_id else repo_id


def named_otherwise(plan: Plan, repository: Repository, since: VersionTag | None) -> frozenset[str]:
    """The formats that were not released by an earlier version, or whose repos release.toml named otherwise then, as
    far as git tells."""
    if since is None or (former := repository.file_at(since.name, plan.config.file)) is None:
        return frozenset()
    try:
        then = tomli.loads(former.decode())
        now = tomli.loads(plan.config.file.read_text(encoding="utf-8"))
        names = [policy.name for policy in plan.config.formats]
        return frozenset(name for name in names if _said_of_repos(then, name) != _said_of_repos(now, name))
    except (OSError, ValueError, AttributeError):  # AttributeError: no table where one belongs
        return frozenset()


def _said_of_repos(policy: Mapping[str, Any], form: str) -> object:
    """All that the repos of a format are named by; None where it is not released."""
    policy = policy.get("tool", {}).get("tagship", policy)
    naming, table = policy.get("naming", {}), policy.get("formats", {}).get(form)
    if table is None:
        return None
    return (
        policy.get("project", {}).get("namespace"),
        policy.get("hub", {}).get("layout"),
        *(naming.get(key) for key in ("bases", "repo")),
        *(table.get(key) for key in ("repo", "together")),
    )
