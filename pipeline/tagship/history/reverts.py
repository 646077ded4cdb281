"""Reverts of what is not released yet: neither the change nor the revert is anything to users.

`git revert` writes `This reverts commit SHA.`, of a merge also what it was reversed to. Forges that squash name the
subject, or the pull request, alone.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

from tagship.history.conventional import read_message
from tagship.history.forge_messages import has_number, unwrapped, without_number
from tagship.system.git_objects import LoggedCommit

_SUBJECT = re.compile(r'(?P<verb>Revert|Reapply) "(?P<subject>.+)"(?: \([#!][0-9]+\))?')
_BY_HAND = re.compile(r"revert(?:\([^()]*\))?!?: +(?P<subject>.+)", re.IGNORECASE)
_SHA = r"[0-9a-f]{7,64}"
_REVERTS = re.compile(
    rf"\bThis reverts (?:merge )?commits? (?P<shas>{_SHA}(?:(?:,\s*|\s+and\s+|,\s*and\s+){_SHA})*)"
    rf"(?:,\s+reversing\s+changes\s+made\s+to\s+(?P<onto>{_SHA}))?"
)
_REFS = re.compile(rf"^Refs?: *(?P<shas>{_SHA}(?:,? +{_SHA})*)[ \t]*$", re.IGNORECASE | re.MULTILINE)
_REQUEST = re.compile(r"^Reverts \S*?(?P<number>[#!][0-9]+)[ \t]*$", re.MULTILINE)


def without_reverted(commits: Sequence[LoggedCommit]) -> list[LoggedCommit]:
    """Commits, each before its parents, without those that a later one reverts, and without that one.

    A revert that is itself reverted reverts nothing. One of a commit that is not among these stays, also where it
    reverts others that are.
    """
    history = _History(commits)
    for position, commit in enumerate(commits):
        if commit.sha in history.gone:
            continue
        found = history.reverted_by(commit, position)
        if found is not None:
            history.gone |= {commit.sha, *found}
    return [commit for commit in commits if commit.sha not in history.gone]


def without_reverted_subjects(messages: Sequence[str]) -> list[str]:
    """Messages, oldest first, without those that a later one reverts by its subject, and without that one."""
    kept: list[str] = []
    for message in messages:
        subject = reverted_subject(message)
        earlier = [number for number, other in enumerate(kept) if subject and _subject(other) == subject]
        if earlier:
            del kept[earlier[-1]]
        else:
            kept.append(message)
    return kept


def reverted_subject(message: str) -> str | None:
    """The subject of the commit that a message says it reverts; of the revert, where it applies that commit again."""
    own = _subject(message)
    if found := _SUBJECT.fullmatch(own):
        return found["subject"] if found["verb"] == "Revert" else f'Revert "{found["subject"]}"'
    by_hand = _BY_HAND.fullmatch(own)
    return by_hand["subject"] if by_hand else None


class _History:
    """Commits by what reverts call them; `gone` are those that are reverted."""

    def __init__(self, commits: Sequence[LoggedCommit]) -> None:
        self.gone: set[str] = set()
        self._commits = commits
        self._by_sha: Mapping[str, LoggedCommit] = {commit.sha: commit for commit in commits}

    def reverted_by(self, commit: LoggedCommit, position: int) -> set[str] | None:
        """What a commit reverts, where it reverts anything and all of that is here."""
        message = unwrapped(commit.message)
        subject = reverted_subject(message)
        if subject is None and read_message(message).type is not None:
            return None  # a change of its own that mentions a revert
        if named := list(_named(message, conventional=subject is not None)):
            found = [(self._find(sha), onto) for sha, onto in named]
            if all(sha is not None for sha, _ in found):
                return {gone for sha, onto in found if sha for gone in self._with_merged(sha, onto)}
            return None
        if subject is None:
            return None
        request = _REQUEST.search(message)
        older = self._commits[position + 1 :]
        same = [it for it in older if _is_called(it, subject, request["number"] if request else None)]
        # Of several the last one that still stands; a merge and its own commit may revert the same.
        chosen = next((it for it in same if it.sha not in self.gone), same[0] if same else None)
        return self._with_merged(chosen.sha, None) if chosen else None

    def _find(self, sha: str) -> str | None:
        if sha in self._by_sha:
            return sha
        found = [full for full in self._by_sha if full.startswith(sha)]
        return found[0] if len(found) == 1 else None

    def _with_merged(self, sha: str, onto: str | None) -> set[str]:
        """A commit, and where it is a merge all that it brought to the parent that it was reversed to."""
        parents = self._by_sha[sha].parents
        if len(parents) < 2:
            return {sha}
        base = next((parent for parent in parents if onto and parent.startswith(onto)), parents[0])
        return self._reached(sha) - self._reached(base)

    def _reached(self, sha: str) -> set[str]:
        found: set[str] = set()
        left = [sha]
        while left:
            if (current := left.pop()) in self._by_sha and current not in found:
                found.add(current)
                left += self._by_sha[current].parents
        return found


def _named(message: str, *, conventional: bool) -> Iterator[tuple[str, str | None]]:
    """The commits that a message says it reverts, each with what a merge was reversed to."""
    for found in _REVERTS.finditer(message):
        for sha in re.findall(_SHA, found["shas"]):
            yield sha, found["onto"]
    if conventional:  # `revert: x` with `Refs: 676104e, a215868`, as the specification has it
        for found in _REFS.finditer(message):
            for sha in re.findall(_SHA, found["shas"]):
                yield sha, None


def _is_called(commit: LoggedCommit, subject: str, request: str | None) -> bool:
    """Whether a commit is the one with that subject, or that merged that pull request."""
    for own in (_subject(commit.message), _subject(unwrapped(commit.message))):
        if own == subject or (request and own.endswith(f"({request})")):
            return True
        if not has_number(subject) and without_number(own) == subject:
            return True
    return False


def _subject(message: str) -> str:
    return message.strip().partition("\n")[0].strip()
