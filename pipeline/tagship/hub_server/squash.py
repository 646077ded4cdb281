"""Branches as one commit, and files taken out of a whole history."""

from tagship.hub_server.commit_objects import tree_of, write_commit
from tagship.hub_server.git import GitFailed
from tagship.hub_server.problem import HubProblem, revision_not_found
from tagship.hub_server.repos import Repo


def super_squash(repo: Repo, ref: str, message: str, *, author: str) -> None:
    """Replace all commits of a branch or pull request by one that has its files.

    Raises HubProblem: 404 for an unknown branch, 409 if it moves meanwhile.
    """
    head = repo.git.commit_oids([ref])[0]
    if head is None:
        raise revision_not_found(ref.removeprefix("refs/heads/"))
    squashed = write_commit(repo.git, tree_of(repo.git, head), [], message, author=author)
    try:
        repo.git.change("update-ref", ref, squashed, head)
    except GitFailed as error:
        raise HubProblem(409, f"{ref} was updated meanwhile. Please try again.") from error
