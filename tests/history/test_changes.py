"""What a history tells: squashed commits, titles of merges as forges write them, and what was reverted."""

import pytest
from tagship.history.changes import told
from tagship.history.conventional import Part, part_of
from tagship.history.squashes import read_commit
from tagship.system.git import Repository

from tests.conftest import GitFolder


def read(message: str) -> list[str]:
    """Each change of a message as type, `!` where it breaks, and description."""
    return [f"{change.type}{'!' * change.breaking} {change.description}" for change in read_commit(message)]


def history(repository: GitFolder) -> list[str]:
    """The changes of all commits, newest first."""
    with Repository(repository.folder) as opened:
        changes = [logged.change for logged in told(opened.log(None, "HEAD"), {})]
    return [f"{change.type}{'!' * change.breaking} {change.description}" for change in changes]


def merge(repository: GitFolder, *commits: str, message: str, branch: str = "topic") -> None:
    """A branch with some commits, merged with a commit of its own."""
    repository.git("switch", "--quiet", "--create", branch)
    for commit in commits:
        repository.write(f"{branch}-{commit}".replace("/", "-").replace("\n", "")[:80])
        repository.commit(commit)
    repository.git("switch", "--quiet", "main")
    repository.git("merge", "--quiet", "--no-ff", "--message", message, branch)
    repository.git("branch", "--delete", "--force", branch)


# Squashed commits


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        ("Drop it (#12)\n\n* feat!: drop it\n\n* fix: two\n\n* wip", ["feat! drop it", "fix two"]),
        ("fix: title (#12)\n\n* feat: one\n\n* fix: two\n\n* docs: three", ["fix title (#12)", "feat one"]),
        ("feat: one (#12)\n\n* feat: One\n\n* fix: two", ["feat one (#12)"]),
        ("feat!: one (#12)\n\n* feat!: one\n\n* fix!: two", ["feat! one (#12)", "fix! two"]),
        (
            "Rework (#3)\n\n* feat: one\n\nWhy.\n\nBREAKING CHANGE: new\n\n* fix: two\n\n---\n\nTrailer: a",
            ["feat! one", "fix two"],
        ),
        ("Words (#12)\n\n* docs: one\n\n* style: two", ["docs one", "style two"]),
        ("Words (#12)\n\n* docs: one\n\n* Correct it", ["None Words (#12)", "docs one"]),
        ("Words (#12)\n\n* one\n\n* Note: two", ["None Words (#12)"]),
        ("Words (#12)\n\n- fix: one\n- feat: two", ["fix one", "feat two"]),
        ("docs: bullets\n\n- feat: raises the minor\n- fix: raises the patch", ["docs bullets"]),
        ("docs: bullets\n\n  * feat: quoted", ["docs bullets"]),
        ('Rework (#3)\n\n* feat: one\n\n* Revert "feat: one"\n\n* fix: two', ["fix two"]),
        ('Rework (#3)\n\n* feat: one\n\n* Revert "feat: one"', ["None Rework (#3)"]),
        (
            "Squashed commit of the following:\n\ncommit 5d0e4b1f5d0e4b1f5d0e4b1f5d0e4b1f5d0e4b1f\nAuthor: A <a@b>\n"
            "Date:   Mon Sep 15 14:40:51 2025 +0200\n\n    feat: two\n    \n    BREAKING CHANGE: new\n\n"
            "commit 4d0e4b1f5d0e4b1f5d0e4b1f5d0e4b1f5d0e4b1f\nAuthor: A <a@b>\n\n    fix: one\n",
            ["fix one", "feat! two"],
        ),
    ],
)
def test_squashed(message: str, changes: list[str]) -> None:
    """A squash tells its title, and of its commits what matters more; all that follow the convention where the title
    does not."""
    assert read(message) == read(message.replace("\n", "\r\n")) == changes


def test_footers_of_a_squash() -> None:
    """A footer below a commit in the list is that commit's, one below the rule the title's."""
    one, two = read_commit("feat: a (#1)\n\n* fix!: b\n\nBREAKING CHANGE: of b\n\n---------\n\nCloses: #7")
    assert (one.breaking_note, one.references) == (None, ("#1", "#7"))
    assert (two.breaking_note, two.references) == ("of b", ())


# Merges


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        ("feat!: support X (#12)\n\nBREAKING CHANGE: moved", ["feat! support X (#12)"]),
        ("Merge pull request #12 from acme/topic\n\nfeat: one\n\nWhy.", ["feat one (#12)"]),
        ("Merge pull request #12 from acme/topic\n\nOne\n\nBREAKING CHANGE: x", ["None! One (#12)"]),
        ("Merge branch 'topic' into 'main'\n\nfeat: one\n\nSee merge request acme/model!12", ["feat one (!12)"]),
        ("feat: one\n\nSee merge request acme/sub/model!12\n", ["feat one (!12)"]),
        (
            "Merged in topic (pull request #12)\n\nfeat: one\n\nApproved-by: Bob\nBREAKING CHANGE: x",
            ["feat! one (#12)"],
        ),
        ("Merged in topic (pull request #12)\n\nTopic\n\n* feat: one\n* fix: two\n", ["feat one", "fix two"]),
        ("Pull request #12: feat: one\n\nMerge in ACME/model from topic to main\n", ["feat one (#12)"]),
        ("Merged PR 12: feat: one", ["feat one (#12)"]),
        ("Merge pull request 'feat: one' (#12) from ada/topic into main", ["feat one (#12)"]),
    ],
)
def test_titles_of_merges(message: str, changes: list[str]) -> None:
    """What GitHub, GitLab, Bitbucket, Gitea and Azure write around a title is seen through."""
    assert read(message) == read(message.replace("\n", "\r\n")) == changes


def test_merges(repository: GitFolder) -> None:
    """A merge counts by its own title, once; what it merged and nobody gave a type is told by that title."""
    repository.commit("chore: begin")
    merge(repository, "wip", "fix: typo", message="feat!: support X (#1)")
    merge(repository, "feat: y", message="Merge pull request #2 from acme/y\n\nfeat: y", branch="y")
    merge(repository, "Change z", message="Merge branch 'z'", branch="z")
    merge(repository, "fix: w", message="Merge pull request #3 from acme/w\n\nMend w", branch="w")
    assert history(repository) == [
        *("fix w", "None Change z", "feat y", "feat! support X (#1)", "fix typo", "chore begin")
    ]


def test_paths_of_a_merge(repository: GitFolder) -> None:
    """A merge touched what its branch changed."""
    repository.commit("chore: begin")
    merge(repository, "one", message="feat: one")
    with Repository(repository.folder) as opened:
        found = opened.log(None, "HEAD", with_paths=True)
    assert [(logged.is_merge, logged.paths) for logged in found][:2] == [
        (True, ("topic-one",)),
        (False, ("topic-one",)),
    ]


# Reverts


def test_reverted(repository: GitFolder) -> None:
    """What was reverted is no change, nor is the revert; what a later revert brings back is one again."""
    for name in ("a", "b"):
        repository.write(name)
        repository.commit(f"feat!: {name}")
    repository.git("revert", "--no-edit", "HEAD")
    assert history(repository) == ["feat! a"]
    repository.git("revert", "--no-edit", "HEAD")
    assert history(repository) == ["feat! b", "feat! a"]
    repository.git("revert", "--no-edit", "HEAD")
    assert history(repository) == ["feat! a"]


@pytest.mark.parametrize(
    "message",
    [
        'Revert "feat: a (#1)" (#2)',
        'Revert "feat: a" (#2)\n\nReverts acme/model#1',
        'Revert "A" (#2)\n\nReverts acme/model#1',
        "revert: feat: a",
        "revert: a\n\nRefs: {sha:.10}",
        "Take it back\n\nThis reverts commit {sha:.8}.",
    ],
)
def test_reverts_of_forges(repository: GitFolder, message: str) -> None:
    """A revert is known by the subject, by the pull request or by an abbreviated hash."""
    repository.commit("fix: z")
    sha = repository.commit("feat: a (#1)")
    repository.commit("fix: y")
    repository.commit(message.format(sha=sha))
    assert history(repository) == ["fix y", "fix z"]


@pytest.mark.parametrize(
    "message",
    [
        'Revert "feat: other"',
        'Revert "feat: a"\n\nThis reverts commit 0123456789.',
        "feat: b\n\nThis reverts commit {sha} in part.",
        "revert: b\n\nRefs: {sha:.10}, 0123456789",
        "Mend b\n\nRefs: {sha:.10}",
    ],
)
def test_no_reverts(repository: GitFolder, message: str) -> None:
    """A revert of what is released stays, as does a change that only mentions one."""
    sha = repository.commit("feat: a")
    repository.commit(message.format(sha=sha))
    assert len(history(repository)) == 2


def test_reverted_merge(repository: GitFolder) -> None:
    """To revert a merge takes back all that it brought, and no more."""
    repository.commit("chore: begin")
    merge(repository, "feat: a", "wip", message="Merge pull request #1 from acme/a\n\nfeat: all of a")
    repository.commit("fix: z")
    repository.git("revert", "--no-edit", "--mainline=1", "HEAD~")
    assert history(repository) == ["fix z", "chore begin"]


def test_reverted_by_a_merge(repository: GitFolder) -> None:
    """A pull request that reverts, and is itself a merge, is gone with its commit."""
    repository.write("a")
    sha = repository.commit("feat: a")
    revert = f'Revert "feat: a"\n\nThis reverts commit {sha}.'
    merge(repository, revert, message='Merge pull request #2 from acme/revert-1-a\n\nRevert "feat: a"')
    assert history(repository) == []


def test_reverted_commit_of_a_merge(repository: GitFolder) -> None:
    """The only commit of a merge is reverted: the merge's title, which says the same, is gone with it."""
    repository.commit("chore: begin")
    merge(repository, "feat: a", message="Merge pull request #1 from acme/a\n\nfeat: a")
    repository.git("revert", "--no-edit", "HEAD^2")
    assert history(repository) == ["chore begin"]


def test_the_later_of_two(repository: GitFolder) -> None:
    """Of two commits with one subject, the later one is reverted; a second revert takes the earlier."""
    for message in ("feat: a", "fix: a", "feat: a", 'Revert "feat: a"'):
        repository.commit(message)
    assert history(repository) == ["fix a", "feat a"]
    repository.commit('Revert "feat: a"\n\nAgain.')
    assert history(repository) == ["fix a"]


def test_largest_part(repository: GitFolder) -> None:
    """The title of a merge decides, also where its commits say less."""
    merge_message = "Merge branch 'x' into 'main'\n\nx: y\n\nBREAKING CHANGE: moved\n\nSee merge request acme/model!1"
    repository.commit("chore: begin")
    merge(repository, "fix: y", message=merge_message)
    with Repository(repository.folder) as opened:
        assert max(part_of(it.change) for it in told(opened.log(None, "HEAD"), {})) is Part.MAJOR
