"""What git has of a pull request: the ref `refs/pr/1`, its commits, its diff, the merge."""

from typing import Any

from tagship.hub_server.commit_objects import write_commit
from tagship.hub_server.commits import Draft
from tagship.hub_server.directory import User
from tagship.hub_server.discussions import Discussion, author_json, comment_event, event, opening
from tagship.hub_server.git import ZERO_OID, GitFailed
from tagship.hub_server.history import Commit, commits
from tagship.hub_server.names import PULL_REQUEST_REF
from tagship.hub_server.problem import HubProblem, revision_not_found
from tagship.hub_server.repos import Repo
from tagship.hub_server.times import timestamp

_DIFF_BYTES = 1_000_000
_CONFLICTS = 1


def reference(opened: Discussion) -> str:
    """The ref of a pull request."""
    return f"refs/pr/{opened['num']}"


def open_pull_request(
    repo: Repo, user: User, *, title: str, description: str, commit: str, base: str, status: str
) -> Discussion:
    """A pull request of a commit onto the branch `base` (`refs/heads/main`)."""
    with opening(repo, user, title, description) as opened:
        opened |= {"isPullRequest": True, "status": status, "changes": {"base": base}}
        repo.git.run("update-ref", reference(opened), commit, ZERO_OID)
        return opened


def propose(draft: Draft, base: str, user: User) -> Discussion:
    """A new pull request of one commit on top of the branch; its `commit` is that one's id. Raises HubProblem."""
    head = draft.repo.git.commit_oids([base])[0]
    if head is None or PULL_REQUEST_REF.fullmatch(base):
        raise revision_not_found(base.removeprefix("refs/heads/"))
    oid = draft.on(head)
    title, _, description = draft.request.message.strip().partition("\n\n")
    opened = open_pull_request(
        draft.repo, user, title=title, description=description, commit=oid, base=base, status="open"
    )
    return {**opened, "commit": oid}


def _heads(repo: Repo, opened: Discussion) -> tuple[str, str]:
    """The commits of the base and of the pull request. Raises HubProblem (404) if the base is gone."""
    base = opened["changes"]["base"]
    target, head = repo.git.commit_oids([base, reference(opened)])
    if target is None or head is None:
        raise revision_not_found(base)
    return target, head


def new_commits(repo: Repo, opened: Discussion) -> list[Commit]:
    """Its own commits, oldest first; none once they are merged, or if the base is gone."""
    base, head = repo.git.commit_oids([opened["changes"]["base"], reference(opened)])
    if base is None or head is None:
        return []
    return commits(repo, f"{base}..{head}")[::-1]


def events(repo: Repo, opened: Discussion) -> list[dict[str, Any]]:
    """What was said and done, with the commits of a pull request that is not merged, in the order of time."""
    waiting = opened["isPullRequest"] and opened["status"] != "merged"
    own = [commit_event(one) for one in new_commits(repo, opened)] if waiting else []
    return sorted(opened["events"] + own, key=lambda event: str(event["createdAt"]))


def details(repo: Repo, opened: Discussion) -> dict[str, Any]:
    """Its diff against the base, and the files that stand in the way of merging it."""
    if opened["status"] == "merged":
        merge = opened["changes"]["mergeCommitId"]
        return {"diff": _diff(repo, f"{merge}^1", merge), "filesWithConflicts": []}
    try:
        base, head = _heads(repo, opened)
    except HubProblem:
        return {"diff": "", "filesWithConflicts": True}
    return {"diff": _diff(repo, f"{base}...{head}"), "filesWithConflicts": _merge_tree(repo, base, head)[1]}


def _diff(repo: Repo, *between: str) -> str:
    try:
        diff = repo.git.run("diff", "--no-ext-diff", "--no-textconv", *between, "--")
    except GitFailed:
        if not repo.exists:
            raise
        return ""  # after a squash there is nothing in common to compare with
    return diff[:_DIFF_BYTES].decode(errors="replace")


def _merge_tree(repo: Repo, base: str, head: str) -> tuple[str, list[str]]:
    """The merged tree, and the files in conflict."""
    try:
        output = repo.git.run("merge-tree", "--write-tree", "--name-only", "--no-messages", "-z", base, head)
    except GitFailed as error:
        if error.status != _CONFLICTS:
            if not repo.exists:
                raise
            return "", ["(unrelated histories)"]
        output = error.output
    tree, *files = output.decode(errors="replace").split("\0")
    return tree, [path for path in files if path]


def merge(repo: Repo, opened: Discussion, user: User, comment: str | None) -> None:
    """Merge it by one commit onto the base. Raises HubProblem: 400 if it isn't open, 409 for conflicts or a race."""
    if opened["status"] != "open":
        raise HubProblem(400, f"A pull request that is {opened['status']} cannot be merged")
    base, head = _heads(repo, opened)
    tree, conflicts = _merge_tree(repo, base, head)
    if conflicts:
        raise HubProblem(409, f"Merging conflicts in {', '.join(conflicts)}")
    # Squashed into one commit, as the Hub does.
    own = new_commits(repo, opened)
    message = f"{opened['title']} (#{opened['num']})\n\n" + "\n\n".join(f"- {one.title} ({one.oid})" for one in own)
    merged = write_commit(repo.git, tree, [base], message, author=user.name)
    try:
        repo.git.change("update-ref", opened["changes"]["base"], merged, base)
    except GitFailed as error:
        raise HubProblem(409, "The branch was updated meanwhile. Please try again.") from error
    opened["changes"]["mergeCommitId"] = merged
    opened["events"] += [commit_event(one) for one in own]
    opened["events"] += [comment_event(user, comment)] if comment else []
    opened["events"].append(event(user, "status-change", {"status": "merged"}))
    opened["status"] = "merged"


def commit_event(commit: Commit) -> dict[str, Any]:
    """A commit of a pull request; the same as long as the commit is."""
    author = author_json(User(name=commit.author, fullname=commit.author))
    data = {"subject": commit.title, "oid": commit.oid}
    return {
        "id": commit.oid[:24],
        "type": "commit",
        "author": author,
        "createdAt": timestamp(commit.time),
        "data": data,
    }
