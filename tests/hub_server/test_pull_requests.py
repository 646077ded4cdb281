"""Discussions and pull requests, by the real client."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import BadRequestError, HfHubHTTPError, RevisionNotFoundError
from tagship.hub_server.app import EmbeddedHub

from tests.hub_server.team import TEAM, Api, api_of

pytestmark = pytest.mark.usefixtures("quiet_client")

REPO = "acme/model"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[EmbeddedHub]:
    with EmbeddedHub(root=tmp_path / "hub", directory=TEAM) as running:
        HfApi(endpoint=running.url, token="alice").create_repo(REPO)
        yield running


@pytest.fixture
def api(hub: EmbeddedHub) -> Api:
    return api_of(hub)


def commit(api: HfApi, files: dict[str, bytes], message: str = "files", **options: bool | str) -> str:
    operations = [CommitOperationAdd(path, data) for path, data in files.items()]
    return str(api.create_commit(REPO, operations, commit_message=message, **options).oid)  # type: ignore[arg-type]


def read(api: HfApi, path: str, folder: Path, revision: str = "main") -> bytes:
    return Path(api.hf_hub_download(REPO, path, revision=revision, cache_dir=folder)).read_bytes()


def test_proposal_of_a_stranger(api: Api, tmp_path: Path) -> None:
    """Anybody may propose, large files too; the branch changes when somebody merges who may write to it."""
    head = commit(api("alice"), {"a.txt": b"a"})
    done = api("carol").create_commit(
        REPO,
        [CommitOperationAdd("b.bin", b"\0b" * 1000), CommitOperationDelete("a.txt")],
        commit_message="Better\n\nMuch better",
        create_pr=True,
    )
    assert done.pr_revision == "refs/pr/1"
    assert done.pr_url == f"{api('').endpoint}/{REPO}/discussions/1"
    assert api("").model_info(REPO).sha == head
    assert read(api(""), "b.bin", tmp_path, "refs/pr/1") == b"\0b" * 1000
    commit(api("carol"), {"c.txt": b"c"}, revision="refs/pr/1")
    with pytest.raises(HfHubHTTPError, match="403"):
        api("carol").merge_pull_request(REPO, 1)
    details = api("").get_discussion_details(REPO, 1)
    assert (details.status, details.author, details.target_branch) == ("open", "carol", "refs/heads/main")
    assert "c.txt" in str(details.diff)
    assert details.conflicting_files == []
    api("alice").merge_pull_request(REPO, 1, comment="Thanks")
    merged = api("").get_discussion_details(REPO, 1)
    assert merged.status == "merged"
    assert merged.merge_commit_oid == api("").model_info(REPO).sha
    assert [event.type for event in merged.events].count("commit") == 2
    assert api("").list_repo_commits(REPO)[0].title == "Better (#1)"
    assert set(api("").list_repo_files(REPO)) == {".gitattributes", "b.bin", "c.txt"}


def test_conflict(api: Api) -> None:
    """What cannot be merged says which files, and stays open."""
    commit(api("alice"), {"a.txt": b"one\n"})
    commit(api("carol"), {"a.txt": b"two\n"}, create_pr=True)
    commit(api("alice"), {"a.txt": b"three\n"})
    assert api("").get_discussion_details(REPO, 1).conflicting_files == ["a.txt"]
    with pytest.raises(HfHubHTTPError, match=r"a\.txt"):
        api("alice").merge_pull_request(REPO, 1)
    assert api("").get_discussion_details(REPO, 1).status == "open"


def test_only_onto_branches(api: Api) -> None:
    """A pull request is onto a branch, neither a commit nor another pull request, and nothing is left of a bad one."""
    head = commit(api("alice"), {"a.txt": b"a"})
    api("carol").create_pull_request(REPO, title="Draft")
    for revision in (head, "missing", "refs/pr/1"):
        with pytest.raises(RevisionNotFoundError):
            commit(api("carol"), {"b.txt": b"b"}, revision=revision, create_pr=True)
    assert [one.num for one in api("").get_repo_discussions(REPO)] == [1]
    api("alice").create_branch(REPO, branch="next")
    commit(api("carol"), {"b.txt": b"b"}, revision="next", create_pr=True)
    api("alice").merge_pull_request(REPO, 2)
    assert "b.txt" in api("").list_repo_files(REPO, revision="next")
    assert "b.txt" not in api("").list_repo_files(REPO)


def test_draft(api: Api) -> None:
    """A pull request that was opened without commits is a draft until its author opens it."""
    draft = api("carol").create_pull_request(REPO, title=" Later ")
    assert (draft.status, draft.title, draft.git_reference) == ("draft", "Later", "refs/pr/1")
    commit(api("carol"), {"b.txt": b"b"}, revision="refs/pr/1")
    with pytest.raises(BadRequestError, match="draft cannot be merged"):
        api("alice").merge_pull_request(REPO, 1)
    api("carol").change_discussion_status(REPO, 1, "open")
    api("alice").merge_pull_request(REPO, 1)


def test_foreign_pull_request(api: Api) -> None:
    """Others than its author and those who may write cannot add commits to a pull request."""
    commit(api("carol"), {"b.txt": b"b"}, create_pr=True)
    with pytest.raises(HfHubHTTPError, match="somebody else's"):
        commit(api("bob"), {"c.txt": b"c"}, revision="refs/pr/1")
    commit(api("alice"), {"c.txt": b"c"}, revision="refs/pr/1")


def test_token_that_may_only_propose(api: Api) -> None:
    """With such a token a pull request is possible, and a commit is not."""
    with pytest.raises(HfHubHTTPError, match="403"):
        commit(api("alice-proposes"), {"b.txt": b"b"})
    commit(api("alice-proposes"), {"b.txt": b"b"}, create_pr=True)
    with pytest.raises(HfHubHTTPError, match="403"):
        commit(api("alice-reads"), {"b.txt": b"b"}, create_pr=True)


def test_talk(api: Api) -> None:
    """Comments are written, changed by their author, hidden by those who may write; titles and states change."""
    opened = api("carol").create_discussion(REPO, title="Question", description="**Why?** <script>x</script>")
    first = opened.events[0]
    assert "<strong>Why?</strong>" in first.rendered  # type: ignore[attr-defined]
    assert "<script>" not in first.rendered  # type: ignore[attr-defined]
    answer = api("alice").comment_discussion(REPO, 1, comment="Because")
    edited = api("carol").edit_discussion_comment(REPO, 1, first.id, new_content="Why not?")
    assert (edited.edited, edited.content, edited.number_of_edits) == (True, "Why not?", 1)
    with pytest.raises(HfHubHTTPError, match="not yours"):
        api("carol").edit_discussion_comment(REPO, 1, answer.id, new_content="mine")
    with pytest.warns(UserWarning, match="irreversible"), pytest.raises(HfHubHTTPError, match="not yours"):
        api("carol").hide_discussion_comment(REPO, 1, answer.id)
    with pytest.warns(UserWarning, match="irreversible"):
        assert api("alice").hide_discussion_comment(REPO, 1, first.id).hidden
    with pytest.raises(HfHubHTTPError, match="somebody else's"):
        api("bob").rename_discussion(REPO, 1, new_title="Mine")
    api("carol").rename_discussion(REPO, 1, new_title="Answered")
    api("carol").change_discussion_status(REPO, 1, "closed", comment="Thanks")
    found = api("").get_discussion_details(REPO, 1)
    assert (found.title, found.status) == ("Answered", "closed")
    kinds = ["comment", "comment", "title-change", "comment", "status-change"]
    assert [event.type for event in found.events] == kinds
    assert list(api("").get_repo_discussions(REPO, discussion_status="open")) == []
    with pytest.raises(HfHubHTTPError, match="404"):
        api("").get_discussion_details(REPO, 2)


def test_travels_with_the_repository(api: Api) -> None:
    """Discussions move with their repository, to another name of it."""
    commit(api("carol"), {"b.txt": b"b"}, create_pr=True)
    api("alice").move_repo(REPO, "acme/renamed")
    assert [one.title for one in api("").get_repo_discussions("acme/renamed")] == ["files"]
    refs = api("").list_repo_refs("acme/renamed", include_pull_requests=True)
    assert [ref.ref for ref in refs.pull_requests or []] == ["refs/pr/1"]
