"""Where a version is committed in a repo that has several: main is the newest final version, whatever comes after.

A prerelease, and a version of an older line, get a branch of their own, which begins at the version that they follow.
"""

from collections.abc import Mapping

from msgspec import Struct

from tagship.hub.connection import Hub
from tagship.hub.failures import hub_errors
from tagship.hub.repository import Standing, manifest_of, standing, tags_of
from tagship.naming.version import is_prerelease, is_semver, precedence


class Version(Struct, frozen=True, kw_only=True):
    """A version of a repo that has several, and its tag there."""

    tag: str
    number: str

    @property
    def branch(self) -> str:
        """The branch that it gets where it does not become main."""
        return f"release-{self.tag}"

    def before(self, tags: Mapping[str, str]) -> str | None:
        """The commit of the highest of a repo's versions that are below this one, by the tags of the same kind."""
        head, _, tail = self.tag.partition(self.number)
        numbers = {tag: tag[len(head) : len(tag) - len(tail)] for tag in tags if tag.startswith(head)}
        lower = [
            tag
            for tag, number in numbers.items()
            if tag == f"{head}{number}{tail}" and is_semver(number) and precedence(number) < precedence(self.number)
        ]
        return tags[max(lower, key=lambda tag: precedence(numbers[tag]))] if lower else None


def becomes_main(hub: Hub, main: Standing, version: Version) -> bool:
    """Whether a version is to be what main has: a final one that is higher than the one which is there, or that one."""
    if is_prerelease(version.number):
        return False
    there = manifest_of(hub, main)
    if there is None or there.version is None or not is_semver(there.version):
        return main.unused
    return there.version == version.number or precedence(there.version) < precedence(version.number)


def branch_for(hub: Hub, main: Standing, version: Version) -> Standing:
    """The branch that a version is committed to, made where it is not there. Raises ToolError when the Hub refuses."""
    if becomes_main(hub, main, version):
        return main
    if found := standing(hub, main.repo_id, version.branch):
        return found
    start = version.before(tags_of(hub, main.repo_id)) or _first_commit(hub, main.repo_id)
    with hub_errors(f"make the branch {version.branch} of {main.repo_id}"):
        hub.of(main.repo_id).create_branch(main.repo_id, branch=version.branch, revision=start, exist_ok=True)
    found = standing(hub, main.repo_id, version.branch)
    assert found is not None, "it was just made"
    return found


def _first_commit(hub: Hub, repo_id: str) -> str:
    """Where a repo had nothing yet."""
    with hub_errors(f"list the commits of {repo_id}"):
        return str(hub.reading(repo_id).list_repo_commits(repo_id)[-1].commit_id)
