"""The changes that a history tells: of its commits, of what was squashed into them, and of the merges' titles."""

from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from tagship.history.conventional import Change, is_known_type
from tagship.history.reverts import without_reverted
from tagship.history.squashes import read_commit, said
from tagship.system.git_objects import LoggedCommit


class LoggedChange(Struct, frozen=True, kw_only=True):
    """A commit, and one of the changes that its message tells."""

    commit: LoggedCommit
    change: Change


def told(commits: Sequence[LoggedCommit], aliases: Mapping[str, str]) -> Iterator[LoggedChange]:
    """The changes of commits, newest first and each before its parents, as they are given.

    What was reverted is none. A merge counts where its own message follows the convention and none of its commits
    says the same; those of its commits that follow none are told by it then.
    """
    read = {commit.sha: read_commit(commit.message, aliases) for commit in commits}
    by_commits = {_key(change) for commit in commits if not commit.is_merge for change in read[commit.sha]}
    titled = {commit.sha for commit in commits if commit.is_merge and any(map(is_known_type, read[commit.sha]))}
    merged_by = _merged_by(commits)
    for commit in without_reverted(commits):
        for change in read[commit.sha]:
            if commit.is_merge:
                counts = is_known_type(change) and _key(change) not in by_commits
            else:
                counts = change.breaking or change.type is not None or merged_by.get(commit.sha) not in titled
            if counts:
                yield LoggedChange(commit=commit, change=change)


def _key(change: Change) -> tuple[object, bool]:
    return said(change), change.breaking


def _merged_by(commits: Sequence[LoggedCommit]) -> dict[str, str]:
    """The merge, on the line of first parents, that brought each commit that is not itself on that line."""
    by_sha = {commit.sha: commit for commit in commits}
    line: list[LoggedCommit] = []
    current = commits[0] if commits else None
    while current is not None:
        line.append(current)
        current = by_sha.get(current.parents[0]) if current.parents else None
    found: dict[str, str] = {commit.sha: "" for commit in line}
    for merge in reversed(line):
        left = list(merge.parents[1:])
        while left:
            sha = left.pop()
            if sha in by_sha and sha not in found:
                found[sha] = merge.sha
                left += by_sha[sha].parents
    return found
