"""Tags and branches: made and deleted, each by one atomic ref update."""

import time

from tagship.hub_server.git import EMAIL, IDENTITY, ZERO_OID, Git, GitFailed
from tagship.hub_server.names import PULL_REQUEST_REF, check_ref_name, is_ref_name
from tagship.hub_server.problem import HubProblem, revision_not_found
from tagship.hub_server.repos import DEFAULT_BRANCH, Repo


def head_ref(revision: str) -> str:
    """The full name of the branch, or of the pull request `refs/pr/1`, that commits are made on.

    Raises HubProblem (404, RevisionNotFound) for what can be neither.
    """
    if PULL_REQUEST_REF.fullmatch(revision):
        return revision
    branch = revision.removeprefix("refs/heads/")
    if not is_ref_name(branch):
        raise revision_not_found(revision)
    return f"refs/heads/{branch}"


def _create(git: Git, ref: str, oid: str, what: str) -> None:
    try:
        git.change("update-ref", ref, oid, ZERO_OID)
    except GitFailed as error:
        if _exists(git, ref):
            raise HubProblem(409, f"{what} already exists") from error
        raise HubProblem(400, f"{what} cannot be created: {error}") from error


def _exists(git: Git, ref: str) -> bool:
    return git.asks("show-ref", "--verify", "--quiet", ref) is not None


def _delete(git: Git, ref: str, name: str) -> None:
    if not _exists(git, ref):
        raise revision_not_found(name)
    git.change("update-ref", "-d", ref)


def create_tag(repo: Repo, name: object, commit: str, message: str) -> None:
    """Tag a commit, with an annotated tag if there is a message; an existing tag never moves.

    Raises HubProblem: 409 if the tag exists, 400 for a bad name.
    """
    tag, oid = check_ref_name(name), commit
    if message:
        stamp = f"{IDENTITY} <{EMAIL}> {int(time.time())} +0000"
        text = f"object {commit}\ntype commit\ntag {tag}\ntagger {stamp}\n\n{message.rstrip()}\n"
        oid = repo.git.line("mktag", feed=text.encode())
    _create(repo.git, f"refs/tags/{tag}", oid, f"Tag {tag}")


def delete_tag(repo: Repo, name: str) -> None:
    """Remove a tag. Raises HubProblem (404, RevisionNotFound) if there is none."""
    _delete(repo.git, f"refs/tags/{check_ref_name(name)}", name)


def create_branch(repo: Repo, name: str, commit: str) -> None:
    """Start a branch at a commit. Raises HubProblem: 409 if it exists, 400 for a bad name."""
    if name.startswith("refs/"):
        raise HubProblem(400, f"Invalid reference for a branch: {name}")
    _create(repo.git, f"refs/heads/{check_ref_name(name)}", commit, f"Reference refs/heads/{name}")


def delete_branch(repo: Repo, name: str) -> None:
    """Remove a branch other than the default one. Raises HubProblem (403, 404)."""
    if name == DEFAULT_BRANCH:
        raise HubProblem(403, f"Cannot delete refs/heads/{DEFAULT_BRANCH}: it is the default branch")
    _delete(repo.git, f"refs/heads/{check_ref_name(name)}", name)
