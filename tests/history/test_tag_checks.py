"""What a version tag has to satisfy, before it is made and when it is released."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tagship.cli import versions
from tagship.cli.session import open_session
from tagship.history.tag_checks import Outcome, Tagging, refuse, run_checks
from tagship.hub_server.app import EmbeddedHub
from tagship.naming.tags import read_tag
from tagship.policy.config import load_config
from tagship.policy.versions import CHECKS, OFF, REQUIRED, WARN
from tagship.release.options import Options
from tagship.system.console import Console
from tagship.system.errors import ReleaseError, UsageError
from tagship.system.git import Repository

from tests.conftest import PHI3, POLICY, RUN, GitFolder

CHANGELOG = "# Changelog\n\n## [1.1.0] - 2025-09-15\n\n- Better\n\n## [1.0.0] - 2025-09-01\n\n- First\n"

# Nobody answers there, so that no base model is looked for elsewhere.
NO_HUB = '[hub]\nendpoint = "http://127.0.0.1:9"\n'


@pytest.fixture
def ready(project: GitFolder) -> GitFolder:
    """A project released as v1.0.0, and ready to be tagged as v1.1.0."""
    project.tag("v1.0.0", "First")
    project.write("CHANGELOG.md", CHANGELOG)
    project.write("release.toml", POLICY + NO_HUB)
    project.commit("feat: better")
    return project


@pytest.fixture
def remote(ready: GitFolder, tmp_path: Path) -> GitFolder:
    """A bare remote, called origin, that has the project's branch and no tag."""
    bare = tmp_path / "remote.git"
    ready.git("clone", "--quiet", "--bare", "--no-tags", ".", str(bare))
    ready.git("remote", "add", "origin", str(bare))
    ready.git("fetch", "--quiet")
    return GitFolder(folder=bare)


def outcomes(repository: GitFolder, name: str, *, made: bool = False) -> dict[str, Outcome]:
    """What the checks find on a tag of HEAD, to be made or there already."""
    config = load_config(repository.folder / "release.toml", {})
    with Repository(config.root) as opened:
        tagging = Tagging(
            config=config,
            repository=opened,
            version_tag=read_tag(name, config.streams),
            commit=opened.head(),
            tag=opened.tag(name) if made else None,
        )
        return {outcome.name: outcome for outcome in run_checks(tagging)}


def problems(repository: GitFolder, name: str, *, made: bool = False) -> dict[str, str]:
    """The problems that the checks find."""
    found = outcomes(repository, name, made=made).values()
    return {outcome.name: outcome.problem for outcome in found if outcome.problem}


def tagged(repository: GitFolder, name: str, **options: Any) -> dict[str, Any]:
    """What `tag --json` says."""
    given = {"message": None, "push": False, "dry_run": False} | options
    with open_session(str(repository.folder / "release.toml"), Options(), Console()) as session:
        return versions.tag(session, name, **given)


def tags(repository: GitFolder) -> list[str]:
    return repository.git("tag", "--list").splitlines()


# Each check


def test_all_is_well(ready: GitFolder) -> None:
    """A tag that may be made passes every check of it; what only a made tag can have is not asked."""
    found = outcomes(ready, "v1.1.0")
    assert list(found) == ["clean", "branch", "changelog", "order"]
    assert all((it.problem, it.remedy, it.level) == (None, None, REQUIRED) for it in found.values())


def test_made_tag(ready: GitFolder, remote: GitFolder) -> None:
    """A made tag that is annotated and pushed passes all checks."""
    ready.tag("v1.1.0", "Better")
    ready.git("push", "--quiet", "origin", "v1.1.0")
    assert problems(ready, "v1.1.0", made=True) == {}
    assert list(outcomes(ready, "v1.1.0", made=True)) == list(CHECKS)


def test_clean(ready: GitFolder) -> None:
    """Changes in the working tree are named, the first five of them, but for what releases write."""
    for name in ("exports/x", "dist/x", ".tagship/x"):
        ready.write(name)
    assert problems(ready, "v1.1.0") == {}
    for number in range(7):
        ready.write(f"new {number}.txt")
    found = outcomes(ready, "v1.1.0")["clean"]
    listed = ", ".join(f"new {number}.txt" for number in range(5))
    assert found.problem == f"the working tree is not what v1.1.0 tags: {listed} and 2 more"
    command, _, _ = str(found.remedy).partition(", or commit")
    subprocess.run(command, shell=True, check=True, cwd=ready.folder, capture_output=True)
    assert problems(ready, "v1.1.0") == {} and not list(ready.folder.glob("new*"))
    # The embedded Hub is no change to be put aside.
    assert all((ready.folder / name).exists() for name in ("exports/x", "dist/x", ".tagship/x"))


def test_branch(ready: GitFolder) -> None:
    """A commit that is on no release branch is told; a detached HEAD that is on one is fine."""
    ready.git("checkout", "--quiet", "--detach")
    assert problems(ready, "v1.1.0") == {}
    sha = ready.commit("Side")
    assert problems(ready, "v1.1.0") == {"branch": f"{sha[:10]} is not on the release branch main"}
    ready.git("checkout", "--quiet", "main")
    ready.git("merge", "--quiet", sha)
    assert problems(ready, "v1.1.0") == {}


def test_branch_of_the_policy(ready: GitFolder) -> None:
    """The policy names the release branch; one that is not there is told."""
    ready.write("release.toml", POLICY + '[versions]\nbranch = "stable"\n')
    ready.commit("Stable")
    assert problems(ready, "v1.1.0") == {"branch": "there is no branch 'stable' to release from"}
    ready.git("branch", "stable", "HEAD~1")
    assert problems(ready, "v1.1.0")["branch"].endswith("is not on the release branch stable")
    ready.git("branch", "--force", "stable", "HEAD")
    assert problems(ready, "v1.1.0") == {}


def test_no_branch(ready: GitFolder) -> None:
    """Where neither main nor master is there, the policy is to name the branch."""
    ready.git("branch", "--move", "main", "develop")
    found = outcomes(ready, "v1.1.0")["branch"]
    assert found.problem == "there is no branch main or master to release from"
    assert found.remedy == "name the release branch in [versions] branch"


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        (CHANGELOG, True),
        ("## v1.1.0\n\ntext\n", True),
        ("## [1.1.0]\n", False),
        ("## [Unreleased]\n\n- 1.1.0\n", False),
        ("## [1.1.0-rc.1]\n\ntext\n", False),
        ("", False),
        (None, False),
    ],
)
def test_changelog(ready: GitFolder, text: str | None, passes: bool) -> None:
    """The changelog needs a text under the version's heading; without it the command that writes one is told."""
    if text is None:
        (ready.folder / "CHANGELOG.md").unlink()
    else:
        ready.write("CHANGELOG.md", text)
    ready.commit("Changelog")
    found = outcomes(ready, "v1.1.0")["changelog"]
    assert (found.problem is None) == passes
    if not passes:
        assert found.problem == "CHANGELOG.md has no entry for 1.1.0"
        assert found.remedy == "invoke notes --tag v1.1.0 --write, and commit it"


def test_changelog_of_a_prerelease(ready: GitFolder) -> None:
    """A prerelease may be written of as unreleased, which it is; a final version may not."""
    ready.write("CHANGELOG.md", "# Changelog\n\n## [Unreleased]\n\n- Better\n")
    ready.commit("docs: changelog")
    assert "changelog" not in problems(ready, "v1.1.0-rc.1")
    assert "changelog" in problems(ready, "v1.1.0")


def test_changelog_that_cannot_be_read(ready: GitFolder) -> None:
    """A changelog in another encoding, or that is a folder, is told with the reason."""
    (ready.folder / "CHANGELOG.md").write_bytes(b"## [1.1.0]\n\ngr\xf6\xdfer\n")
    ready.commit("Latin")
    assert problems(ready, "v1.1.0")["changelog"].startswith("CHANGELOG.md cannot be read: 'utf-8'")
    (ready.folder / "CHANGELOG.md").unlink()
    ready.write("CHANGELOG.md/x")
    ready.commit("Folder")
    assert "directory" in problems(ready, "v1.1.0")["changelog"]


def test_changelog_of_a_format(ready: GitFolder) -> None:
    """A tag of a format's stream needs an entry in the format's changelog, by its version or its whole name."""
    ready.write(
        "release.toml", POLICY.replace("[formats.ollama]\n", '[formats.ollama]\nstream = "ollama-v{version}"\n')
    )
    ready.commit("Streams")
    assert problems(ready, "ollama-v1.1.0") == {"changelog": "CHANGELOG-ollama.md has no entry for 1.1.0"}
    for heading in ("## [1.1.0]", "## ollama-v1.1.0"):
        ready.write("CHANGELOG-ollama.md", f"{heading}\n\n- Better\n")
        ready.commit("Entry")
        assert problems(ready, "ollama-v1.1.0") == {}


@pytest.mark.parametrize(
    ("name", "passes"),
    [
        ("v1.0.1", True),
        ("v1.0.0", True),
        ("v2.0.0-rc.1", True),
        ("v0.9.0", False),
        ("v1.0.0-rc.1", False),
        ("v1.0.0+cu124", False),
        ("model-v0.1.0", True),
    ],
)
def test_order(ready: GitFolder, name: str, passes: bool) -> None:
    """A version is greater than the last one of its own stream; build numbers make none greater."""
    found = outcomes(ready, name)["order"]
    assert (found.problem is None) == passes
    if not passes:
        assert str(found.problem).endswith("is not greater than 1.0.0, the last version of the stream semantic")
        assert found.remedy == "invoke bump --stream semantic says which one is next"


def test_order_on_a_maintenance_branch(ready: GitFolder) -> None:
    """A higher version of another branch is no hindrance."""
    ready.commit("feat!: two")
    ready.tag("v2.0.0", "Two")
    ready.git("checkout", "--quiet", "-b", "1.x", "HEAD~1")
    assert outcomes(ready, "v1.1.0")["order"].problem is None
    ready.git("checkout", "--quiet", "main")
    assert outcomes(ready, "v1.1.0")["order"].problem is not None


def test_two_versions_on_one_commit(ready: GitFolder) -> None:
    """Of two version tags on one commit the lower one is out of order, and the higher one is not."""
    ready.tag("v1.1.0", "One")
    ready.tag("v1.2.0", "Two")
    assert outcomes(ready, "v1.2.0", made=True)["order"].problem is None
    assert "1.1.0 is not greater than 1.2.0" in str(outcomes(ready, "v1.1.0", made=True)["order"].problem)


def test_lightweight_tag(ready: GitFolder) -> None:
    """A lightweight tag is told, and the command that is told makes it an annotated one."""
    ready.tag("v1.1.0")
    found = outcomes(ready, "v1.1.0", made=True)["annotated"]
    assert (found.level, found.problem) == (WARN, "v1.1.0 is a lightweight tag: it says neither who made it nor why")
    subprocess.run(str(found.remedy), shell=True, cwd=ready.folder, check=True, capture_output=True)
    assert outcomes(ready, "v1.1.0", made=True)["annotated"].problem is None
    assert ready.git("rev-parse", "v1.1.0^{commit}") == ready.git("rev-parse", "HEAD")


def test_tag_that_is_not_pushed(ready: GitFolder, remote: GitFolder) -> None:
    """A tag that the remote does not have is told, and the command that is told pushes it."""
    ready.tag("v1.1.0", "Better")
    found = outcomes(ready, "v1.1.0", made=True)["pushed"]
    assert found.level == WARN
    assert str(found.problem).startswith("v1.1.0 is not on origin")
    ready.git(*str(found.remedy).split()[1:])
    assert outcomes(ready, "v1.1.0", made=True)["pushed"].problem is None


def test_tag_that_was_moved(ready: GitFolder, remote: GitFolder) -> None:
    """A tag that names something else on the remote is told: the name alone is no proof."""
    ready.tag("v1.1.0", "Better")
    ready.git("push", "origin", "v1.1.0")
    ready.git("tag", "--force", "v1.1.0", "--message", "Moved")
    assert "another tag v1.1.0" in str(outcomes(ready, "v1.1.0", made=True)["pushed"].problem)


def test_checkout_for_ci(ready: GitFolder, remote: GitFolder) -> None:
    """actions/checkout makes an annotated tag a lightweight one: it is the remote's that counts. A tag on another
    commit is told by both."""
    ready.tag("v1.1.0", "Better")
    ready.git("push", "origin", "v1.1.0")
    ready.git("tag", "--force", "v1.1.0", "v1.1.0^{commit}")
    found = outcomes(ready, "v1.1.0", made=True)
    assert found["annotated"].problem is None and found["pushed"].problem is None
    ready.git("tag", "--force", "v1.1.0", "HEAD~1")
    assert "one of them was moved" in str(outcomes(ready, "v1.1.0", made=True)["pushed"].problem)


def test_remote_that_is_gone(ready: GitFolder, remote: GitFolder) -> None:
    """A remote that does not answer is told with git's words."""
    ready.tag("v1.1.0", "Better")
    remote.folder.rename(remote.folder.with_name("moved.git"))
    found = str(outcomes(ready, "v1.1.0", made=True)["pushed"].problem)
    assert found.startswith("origin did not say whether it has v1.1.0: git ls-remote: ")
    assert "remote.git" in found


def test_no_remote(ready: GitFolder) -> None:
    """Without a remote there is nowhere to push to, which is no problem."""
    ready.tag("v1.1.0", "Better")
    assert problems(ready, "v1.1.0", made=True) == {}


# How strict they are


@pytest.mark.parametrize("made", [False, True])
def test_levels(ready: GitFolder, made: bool) -> None:
    """What the policy says of a check holds before and after tagging; what it leaves open is milder after."""
    ready.tag("v1.1.0")
    said = {name: outcome.level for name, outcome in outcomes(ready, "v1.1.0", made=made).items()}
    if made:
        assert said == {"clean": REQUIRED, **dict.fromkeys(list(CHECKS)[1:], WARN)}
    else:
        assert set(said.values()) == {REQUIRED}
    for level in (REQUIRED, WARN, OFF):
        table = "".join(f'{name} = "{level}"\n' for name in CHECKS)
        ready.write("release.toml", f"{POLICY}[checks]\n{table}")
        said = {name: outcome.level for name, outcome in outcomes(ready, "v1.1.0", made=made).items()}
        assert set(said.values()) == ({level} if level != OFF else set())


def test_unknown_check(ready: GitFolder) -> None:
    """A check that there is not, or a word that is no level, is a mistake of the policy."""
    ready.write("release.toml", POLICY + '[checks]\nbranchs = "off"\norder = "maybe"\n')
    with pytest.raises(UsageError, match=r"checks\.order unknown 'maybe'") as caught:
        load_config(ready.folder / "release.toml", {})
    assert "checks.branchs is unknown: did you mean 'branch'?" in str(caught.value)


def found_by(*levels: tuple[str, str | None]) -> Sequence[Outcome]:
    return [
        Outcome(name=f"check{number}", level=level, problem=problem, remedy="mend it")
        for number, (level, problem) in enumerate(levels)
    ]


def test_refusal() -> None:
    """A tag is refused for every required check that found a problem, all named at once, and for nothing else."""
    refuse(list(found_by((WARN, "a"), (REQUIRED, None))), "v1.0.0")
    with pytest.raises(ReleaseError) as caught:
        refuse(list(found_by((REQUIRED, "a"), (WARN, "b"), (REQUIRED, "c"))), "v1.0.0")
    assert str(caught.value) == ("v1.0.0 does not pass 2 checks:\n  check0: a (mend it)\n  check2: c (mend it)")


# The verb


def test_tag(ready: GitFolder) -> None:
    """A tag that passes is made on HEAD, annotated, with the notes as its message."""
    document = tagged(ready, "v1.1.0")
    assert (document["created"], document["pushed"], document["version"]) == (True, False, "1.1.0")
    assert document["checks"] == dict.fromkeys(("clean", "branch", "changelog", "order"))
    assert document["message"].startswith("Release v1.1.0\n\n### Added\n\n- better (")
    assert ready.git("tag", "--list", "--format=%(contents)", "v1.1.0") == document["message"].strip()
    assert ready.git("cat-file", "-t", "v1.1.0") == "tag"


def test_refused_tag(ready: GitFolder) -> None:
    """A tag that does not pass is not made, and all that is wrong is told."""
    ready.write("untracked.txt")
    with pytest.raises(ReleaseError, match="does not pass 3 checks") as caught:
        tagged(ready, "v0.9.0")
    assert all(f"\n  {name}: " in str(caught.value) for name in ("clean", "changelog", "order"))
    assert tags(ready) == ["v1.0.0"]


def test_check_that_is_only_warned_of(ready: GitFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """What the policy only wants to be warned of stops no tag; what is off is not looked at."""
    ready.write("release.toml", POLICY + '[checks]\nchangelog = "warn"\norder = "off"\n')
    ready.commit("Policy")
    document = tagged(ready, "v0.9.0", message="Old")
    assert document["checks"]["changelog"] == "CHANGELOG.md has no entry for 0.9.0"
    assert "order" not in document["checks"]
    assert "warning: changelog: CHANGELOG.md has no entry" in capsys.readouterr().err


def test_dry_run(ready: GitFolder, remote: GitFolder) -> None:
    """A dry run checks, says the message, and makes and pushes nothing."""
    document = tagged(ready, "v1.1.0", push=True, dry_run=True)
    assert (document["created"], document["pushed"]) == (False, False)
    assert document["message"].startswith("Release v1.1.0")
    assert (tags(ready), tags(remote)) == (["v1.0.0"], [])


def test_push(ready: GitFolder, remote: GitFolder) -> None:
    """A tag is pushed where that is asked for, alone; one that is there already is pushed later."""
    assert tagged(ready, "v1.1.0")["pushed"] is False
    assert tags(remote) == []
    document = tagged(ready, "v1.1.0", push=True)
    assert (document["created"], document["pushed"]) == (False, True)
    assert tags(remote) == ["v1.1.0"]


def test_tag_on_another_commit(ready: GitFolder) -> None:
    """A version that names another commit is never moved."""
    with pytest.raises(ReleaseError, match=r"the tag v1\.0\.0 is on [0-9a-f]{10} already"):
        tagged(ready, "v1.0.0")


@pytest.mark.parametrize(
    ("name", "meant"),
    [("v1.2", "did you mean v1.2.0?"), ("model_v1.2.0", "did you mean model-v1.2.0?"), ("nightly", "such as v1.0.0")],
)
def test_tag_of_no_stream(ready: GitFolder, name: str, meant: str) -> None:
    """A name that is no version tag is refused with what was probably meant."""
    with pytest.raises(UsageError, match="is no version tag") as caught:
        tagged(ready, name)
    assert meant in str(caught.value.remedy)
    assert tags(ready) == ["v1.0.0"]


def test_no_commits(repository: GitFolder) -> None:
    """A repository without commits cannot be tagged."""
    repository.write("release.toml", POLICY)
    with pytest.raises(ReleaseError, match="has no commit yet"):
        tagged(repository, "v1.0.0")


def test_tag_that_the_remote_has(ready: GitFolder, remote: GitFolder) -> None:
    """A name that the remote has is not made here, whether it is to be pushed or not; fetched, it is the same tag."""
    remote.git("tag", "--annotate", "--message=Another clone's", "v1.1.0")
    for push in (False, True):
        with pytest.raises(ReleaseError, match=r"origin has a tag v1\.1\.0 already") as caught:
            tagged(ready, "v1.1.0", push=push)
        assert "git fetch origin tag v1.1.0" in str(caught.value.remedy)
    assert tags(ready) == ["v1.0.0"]
    ready.git("fetch", "--quiet", "origin", "tag", "v1.1.0")
    assert tagged(ready, "v1.1.0", push=True)["pushed"] is True


def test_remote_that_cannot_be_asked(ready: GitFolder, remote: GitFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the remote does not answer, no tag is made that is to be pushed; any other is, with a warning."""
    remote.folder.rename(remote.folder.with_name("moved.git"))
    with pytest.raises(ReleaseError, match="origin cannot be asked for its tags"):
        tagged(ready, "v1.1.0", push=True)
    assert tags(ready) == ["v1.0.0"]
    assert tagged(ready, "v1.1.0")["created"] is True
    assert "origin did not say whether it has v1.1.0" in capsys.readouterr().err


# What the release of a tag would refuse


def test_tag_without_a_run(ready: GitFolder) -> None:
    """Where there is no run to release, no tag is made."""
    ready.git("rm", "-r", "--quiet", "adapters")
    ready.commit("chore: no run")
    with pytest.raises(ReleaseError, match="no training run"):
        tagged(ready, "v1.1.0")
    assert tags(ready) == ["v1.0.0"]


def test_tag_with_a_base_that_is_not_whole(ready: GitFolder) -> None:
    """Where the base model is not in its folder, or not whole, no tag is made."""
    ready.write("release.toml", f'{POLICY}[bases."{PHI3}"]\npath = "base"\n')
    ready.commit("chore: base")
    for said in ("should be in .*base, which does not exist", "has no config.json"):
        with pytest.raises(ReleaseError, match=said):
            tagged(ready, "v1.1.0")
        (ready.folder / "base").mkdir(exist_ok=True)
    assert tags(ready) == ["v1.0.0"]


def test_tag_of_a_classifier(ready: GitFolder) -> None:
    """A run whose model writes no text is refused before a tag of it is made."""
    path = ready.folder / "adapters" / RUN / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"task_type": "SEQ_CLS"}))
    ready.commit("chore: train")
    with pytest.raises(ReleaseError, match="sequence classification"):
        tagged(ready, "v1.1.0")
    assert tags(ready) == ["v1.0.0"]


def test_pushed_tag_with_a_base_that_no_hub_has(ready: GitFolder, remote: GitFolder, tmp_path: Path) -> None:
    """A tag that is to be pushed is not made where the Hub does not have the base model."""
    with EmbeddedHub(root=tmp_path / "hub") as hub:
        ready.write("release.toml", f'{POLICY}[hub]\nendpoint = "{hub.url}"\n')
        ready.commit("chore: hub")
        with pytest.raises(ReleaseError, match=f"there is no model {PHI3}"):
            tagged(ready, "v1.1.0", push=True)
    assert (tags(ready), tags(remote)) == (["v1.0.0"], [])


def test_pushed_tag_without_a_hub(ready: GitFolder, remote: GitFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """Where no Hub answers, the tag is pushed, and that nobody knows of the base is said."""
    assert tagged(ready, "v1.1.0", push=True)["pushed"] is True
    assert "nobody could say whether the base model is there" in capsys.readouterr().err
