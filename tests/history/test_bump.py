"""The next version of a stream, and what decided it."""

import json
from pathlib import Path
from typing import Any

import pytest
from tagship.cli import versions
from tagship.cli.session import open_session
from tagship.history.bump import Bump, Reason, decide
from tagship.history.conventional import Part
from tagship.naming.pattern import Pattern
from tagship.naming.tags import EXPORT, Stream, version_tags
from tagship.release.options import Options
from tagship.system.console import Console
from tagship.system.errors import ReleaseError, UsageError

from tests.conftest import POLICY, RUN, GitFolder, WriteRun

STREAM = Stream(name="semantic", pattern=Pattern("v{version}"), does=(EXPORT,))
NONE, PATCH, MINOR, MAJOR = Part


def decided(*tags: str, found: Part = NONE, **options: Any) -> Bump:
    """The version after some tags, for one reason."""
    reasons = [Reason(part=found, what="feat: x", commit="abc")] if found else []
    return decide(STREAM, version_tags(tags, [STREAM]), reasons, **{"first": "0.1.0", **options})


# Decisions


@pytest.mark.parametrize(
    ("last", "part", "version"),
    [
        ("v1.2.3", PATCH, "1.2.4"),
        ("v1.2.3", MINOR, "1.3.0"),
        ("v1.2.3", MAJOR, "2.0.0"),
        ("v0.2.3", PATCH, "0.2.4"),
        ("v0.2.3", MINOR, "0.3.0"),
        ("v0.2.3", MAJOR, "0.3.0"),
        ("v0.0.3", MAJOR, "0.1.0"),
        ("v1.2.3+cu124", PATCH, "1.2.4"),
        ("v1.9.9", MINOR, "1.10.0"),
    ],
)
def test_next_version(last: str, part: Part, version: str) -> None:
    """The largest change raises its part; before 1.0.0 what would be major raises the minor version."""
    made = decided(last, found=part)
    assert (made.version, made.tag, made.part) == (version, f"v{version}", part)
    assert made.last is not None and made.last.name == last


def test_largest_reason_decides() -> None:
    """Of all reasons the largest decides, and only those of its size are told."""
    found = [
        Reason(part=PATCH, what="fix: x", commit="a"),
        Reason(part=MAJOR, what="the tokenizer changed", file="tokenizer.json"),
        Reason(part=MAJOR, what="feat!: y", commit="b"),
        Reason(part=MINOR, what="feat: z", commit="c"),
    ]
    made = decide(STREAM, version_tags(["v1.0.0"], [STREAM]), found, first="0.1.0")
    assert (made.version, made.reasons) == ("2.0.0", (found[1], found[2]))


@pytest.mark.parametrize("part", [PATCH, MINOR, MAJOR])
def test_first_version(part: Part) -> None:
    """Before the first release the version is 0.1.0, or what the policy says."""
    assert decided(found=part).version == "0.1.0"
    assert decided(found=part, first="1.0.0").version == "1.0.0"
    assert decided().version == "0.1.0"
    assert (decided(found=part).last, decided(found=part).reasons) == (None, ())


def test_nothing_to_release() -> None:
    """Where nothing asks for a version, none is made, and the message says how to make one all the same."""
    with pytest.raises(ReleaseError, match=r"nothing since v1\.0\.0 asks for a new version") as caught:
        decided("v1.0.0")
    assert str(caught.value.remedy).endswith("invoke tag v1.0.1")
    assert decided("v1.0.0", part=PATCH).version == "1.0.1"


@pytest.mark.parametrize(
    ("last", "part", "version"),
    [("v1.2.3", PATCH, "1.2.4"), ("v1.2.3", MAJOR, "2.0.0"), ("v0.2.3", MAJOR, "1.0.0"), ("v0.2.3", MINOR, "0.3.0")],
)
def test_given_part(last: str, part: Part, version: str) -> None:
    """A part that is given overrides the reasons, which then decided nothing; major leads out of 0.y.z."""
    made = decided(last, found=MINOR, part=part)
    assert (made.version, made.part, made.reasons) == (version, part, ())


# Prereleases


@pytest.mark.parametrize(
    ("tags", "part", "version"),
    [
        (["v1.0.0"], MINOR, "1.1.0-rc.1"),
        (["v1.0.0", "v1.1.0-rc.1"], MINOR, "1.1.0-rc.2"),
        (["v1.0.0", "v1.1.0-rc.9", "v1.1.0-rc.10"], MINOR, "1.1.0-rc.11"),
        (["v1.0.0", "v1.1.0-beta.4"], MINOR, "1.1.0-rc.1"),
        (["v1.0.0", "v1.1.0-rc.1"], MAJOR, "2.0.0-rc.1"),
        (["v1.0.0", "v1.1.0-rc.1"], PATCH, "1.1.0-rc.2"),
        (["v1.0.0", "v1.1.0-rc.1", "v1.1.0"], PATCH, "1.1.1-rc.1"),
        (["v1.0.0", "v1.1.0-rc"], MINOR, "1.1.0-rc.1"),
        ([], MINOR, "0.1.0-rc.1"),
        (["v0.1.0-rc.1"], MINOR, "0.1.0-rc.2"),
    ],
)
def test_prerelease(tags: list[str], part: Part, version: str) -> None:
    """A prerelease is of the version to come, and counted on from those that are out."""
    assert decided(*tags, found=part, prerelease="rc").version == version


@pytest.mark.parametrize(
    ("tags", "part", "version"),
    [
        (["v1.0.0", "v1.1.0-rc.2"], MINOR, "1.1.0"),
        (["v1.0.0", "v1.1.0-rc.2"], PATCH, "1.1.0"),
        (["v1.0.0", "v1.1.0-rc.2"], MAJOR, "2.0.0"),
        (["v1.0.0", "v2.0.0-rc.1"], MINOR, "2.0.0"),
        (["v0.1.0-rc.1"], PATCH, "0.1.0"),
        (["v0.5.0-rc.1"], PATCH, "0.5.0"),
    ],
)
def test_final_version(tags: list[str], part: Part, version: str) -> None:
    """After prereleases comes the version that they prepared, or a higher one that is asked for."""
    assert decided(*tags, found=part).version == version


def test_first_version_that_is_a_prerelease() -> None:
    """A policy may begin with a prerelease, which is then finished as any other."""
    assert decided(first="1.0.0-beta.1").version == "1.0.0-beta.1"
    assert decided("v1.0.0-beta.1", first="1.0.0-beta.1").version == "1.0.0"
    assert decided("v1.0.0-beta.1", first="1.0.0-beta.1", prerelease="beta").version == "1.0.0-beta.2"
    assert decided(first="1.0.0+cu124", prerelease="rc").version == "1.0.0-rc.1"


@pytest.mark.parametrize("label", ["rc.1", "rc_1", "rc+1", "größe", "r c", "rc\n", "."])
def test_label_that_is_none(label: str) -> None:
    """What cannot be a single identifier of SemVer is refused as a label."""
    with pytest.raises(UsageError, match="cannot be the label of a prerelease"):
        decided("v1.0.0", found=MINOR, prerelease=label)


def test_label_before_what_is_out() -> None:
    """After rc.2 there is no beta any more: it would be less than what is out."""
    with pytest.raises(UsageError, match=r"1\.1\.0-beta\.1 is not greater than 1\.1\.0-rc\.2"):
        decided("v1.0.0", "v1.1.0-rc.2", found=MINOR, prerelease="beta")


# Versions that are taken


@pytest.mark.parametrize(
    ("taken", "part", "version", "skipped"),
    [
        (["v1.1.0"], MINOR, "1.2.0", ["v1.1.0"]),
        (["v1.0.1"], MINOR, "1.1.0", []),
        (["v1.1.0", "v1.2.0", "v1.3.0"], MINOR, "1.4.0", ["v1.1.0", "v1.2.0", "v1.3.0"]),
        (["v2.0.0"], MAJOR, "3.0.0", ["v2.0.0"]),
        (["v1.0.1+cu124"], PATCH, "1.0.2", ["v1.0.1+cu124"]),
        (["v1.1.0-rc.1"], MINOR, "1.1.0", []),
    ],
)
def test_taken(taken: list[str], part: Part, version: str, skipped: list[str]) -> None:
    """A version that is taken elsewhere is skipped for the next one of its kind."""
    made = decided("v1.0.0", found=part, taken=version_tags(taken, [STREAM]))
    assert (made.version, [tag.name for tag in made.skipped]) == (version, skipped)


def test_taken_before_the_first() -> None:
    """The first version is skipped as well, and prereleases go on from those that are taken."""
    taken = version_tags(["v0.1.0", "v1.1.0-rc.1", "v1.1.0-rc.2", "v2.0.0-beta.1", "v3.0.0"], [STREAM])
    assert decided(taken=taken).version == "0.2.0"
    assert decided(first="2.0.0-beta.1", taken=taken).version == "2.0.0-beta.2"
    assert decided("v1.0.0", found=MINOR, prerelease="rc", taken=taken).version == "1.1.0-rc.3"
    assert decided("v2.0.0", found=MAJOR, prerelease="rc", taken=taken).version == "4.0.0-rc.1"
    with pytest.raises(ReleaseError) as caught:
        decided("v1.0.0", taken=version_tags(["v1.0.1"], [STREAM]))
    assert str(caught.value.remedy).endswith("invoke tag v1.0.2")


# The verb


@pytest.fixture
def released(project: GitFolder) -> GitFolder:
    """A project that is released as v1.0.0."""
    project.tag("v1.0.0", "First")
    return project


def bumped(
    repository: GitFolder,
    stream: str | None = None,
    *,
    folder: str = ".",
    part: str | None = None,
    pre: str | None = None,
) -> dict[str, Any]:
    """What `bump --json` says."""
    with open_session(str(repository.folder / folder / "release.toml"), Options(), Console()) as session:
        return versions.bump(session, stream, part, pre)


def configure(repository: GitFolder, **values: Any) -> None:
    """Change the run's adapter."""
    path = repository.folder / "adapters" / RUN / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | values), encoding="utf-8")


@pytest.mark.parametrize(
    ("message", "version"),
    [
        ("fix: x", "1.0.1"),
        ("perf: x", "1.0.1"),
        ("Untyped", "1.0.1"),
        ("feat: x", "1.1.0"),
        ("feat!: x", "2.0.0"),
        ("docs: x\n\nBREAKING CHANGE: y", "2.0.0"),
    ],
)
def test_commits(released: GitFolder, message: str, version: str) -> None:
    """Commits decide by Conventional Commits, and the one that did is named."""
    released.commit("docs: nothing")
    sha = released.commit(message)
    released.commit("chore: nothing")
    document = bumped(released)
    assert (document["last"], document["version"], document["tag"]) == ("v1.0.0", version, f"v{version}")
    (reason,) = document["reasons"]
    assert (reason["commit"], reason["what"], reason["file"]) == (sha, message.partition("\n")[0], None)
    assert reason["part"] == document["part"]


def test_commits_that_ask_for_nothing(released: GitFolder) -> None:
    """Documentation and maintenance ask for no version, nor does the last release itself."""
    with pytest.raises(ReleaseError, match=r"nothing since v1\.0\.0"):
        bumped(released)
    released.commit("docs: x")
    released.commit("ci: y")
    with pytest.raises(ReleaseError, match=r"nothing since v1\.0\.0"):
        bumped(released)


@pytest.mark.parametrize(
    ("values", "version", "file"),
    [
        ({"base_model_name_or_path": "acme/other"}, "2.0.0", "adapter_config.json"),
        ({"r": 64}, "2.0.0", "adapter_config.json"),
        ({"lora_alpha": 32}, "1.1.0", "adapter_config.json"),
    ],
)
def test_model_is_the_least(released: GitFolder, values: dict[str, Any], version: str, file: str) -> None:
    """The version is never less than what changed in the model, whatever the commit says of it."""
    configure(released, **values)
    released.commit("chore: a small thing")
    document = bumped(released)
    assert document["version"] == version
    assert [(reason["file"], reason["commit"]) for reason in document["reasons"]] == [(file, None)]


def test_commits_may_ask_for_more(released: GitFolder) -> None:
    """A commit that says more than the model decides."""
    configure(released, lora_alpha=32)
    sha = released.commit("feat!: answers in JSON")
    document = bumped(released)
    assert (document["version"], [reason["commit"] for reason in document["reasons"]]) == ("2.0.0", [sha])


@pytest.mark.parametrize("name", ["release.toml", "templates/cards/vllm.md.j2", "templates/vllm/x"])
def test_card_or_policy(released: GitFolder, name: str) -> None:
    """A change of the policy or of a card alone is a patch."""
    path = released.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text((POLICY if name == "release.toml" else "") + "\n# more\n", encoding="utf-8")
    released.commit("docs: a word more")
    document = bumped(released)
    assert (document["version"], [reason["file"] for reason in document["reasons"]]) == ("1.0.1", [name])


def test_commits_without_a_convention(released: GitFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """Commits that follow no convention are counted and said, as are types that nobody gave a meaning."""
    for message in ("feat: x", "wip: one", "wip: two", "Words", "More words", "Third", "Fourth"):
        sha = released.commit(message)
    document = bumped(released)
    assert (document["commits"], document["unconventional"]) == (7, 4)
    said = capsys.readouterr().err
    assert "4 of 7 commits follow no convention (type: description), and count as a patch: " in said
    assert f"{sha[:7]} Fourth; " in said
    assert "More words; and 1 more" in said
    assert "types that raise nothing, as nobody said what they mean: wip (2)" in said


def test_conventional_commits_alone(released: GitFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """Where every commit follows the convention, nothing is said of those that don't."""
    released.commit("feature(hub): x")
    assert bumped(released)["unconventional"] == 0
    assert "convention" not in capsys.readouterr().err


def test_aliases_of_the_policy(released: GitFolder) -> None:
    """Words that the policy names decide as the types that they stand for."""
    released.write("release.toml", POLICY + '[versions.aliases]\nmodel = "feat"\n')
    released.commit("chore: policy")
    released.commit("model: train for longer")
    assert bumped(released)["version"] == "1.1.0"
    released.commit("hotfix!: x")
    assert bumped(released)["version"] == "2.0.0"


def test_squashed_and_merged(released: GitFolder) -> None:
    """What was squashed, and the title of a merge, decide, and are named by their own line."""
    sha = released.commit("Drop the old endpoint (#12)\n\n* feat!: drop it\n\n* fix: two")
    (reason,) = bumped(released)["reasons"]
    assert (reason["commit"], reason["part"], reason["what"]) == (sha, "major", "feat!: drop it")


def test_reverted(released: GitFolder) -> None:
    """What was reverted before the release asks for nothing."""
    released.write("a")
    released.commit("feat!: x")
    released.git("revert", "--no-edit", "HEAD")
    with pytest.raises(ReleaseError, match=r"nothing since v1\.0\.0"):
        bumped(released)


def test_first_release(project: GitFolder) -> None:
    """Without a release the version is the policy's first one."""
    document = bumped(project)
    assert (document["last"], document["part"], document["version"]) == (None, None, "0.1.0")
    project.write("release.toml", POLICY + '[versions]\nfirst = "1.0.0"\n')
    assert bumped(project)["tag"] == "v1.0.0"


def test_no_commits(repository: GitFolder) -> None:
    """A repository without commits has nothing to release."""
    repository.write("release.toml", POLICY)
    with pytest.raises(ReleaseError, match="has no commit yet"):
        bumped(repository)


def test_without_runs(repository: GitFolder) -> None:
    """Where there is no training run yet, commits alone decide."""
    repository.write("release.toml", POLICY)
    repository.commit()
    repository.tag("v1.0.0")
    repository.commit("feat: x")
    assert bumped(repository)["version"] == "1.1.0"


def test_parts(released: GitFolder) -> None:
    """--part overrides what the changes ask for, and another word is refused."""
    released.commit("feat: x")
    assert [bumped(released, part=part)["version"] for part in ("patch", "minor", "major")] == [
        "1.0.1",
        "1.1.0",
        "2.0.0",
    ]
    assert bumped(released, part="patch")["reasons"] == []
    with pytest.raises(UsageError, match="--part must be one of patch, minor, major, not 'none'"):
        bumped(released, part="none")


def test_way_to_a_final_version(released: GitFolder) -> None:
    """rc.1, rc.2 and the final version follow each other, and count from the last final one."""
    for message, pre, version in (
        ("feat: x", "rc", "1.1.0-rc.1"),
        ("fix: y", "rc", "1.1.0-rc.2"),
        ("docs: z", None, "1.1.0"),
        ("fix: a", "rc", "1.1.1-rc.1"),
        ("feat: b", None, "1.2.0"),
    ):
        released.commit(message)
        document = bumped(released, pre=pre)
        assert document["version"] == version
        released.tag(document["tag"], "Release")


def test_maintenance_branch(released: GitFolder) -> None:
    """A higher release of another branch does not count."""
    released.commit("feat!: x")
    released.tag("v2.0.0")
    released.git("checkout", "--quiet", "--detach", "v1.0.0")
    released.commit("fix: y")
    assert bumped(released)["version"] == "1.0.1"


def test_taken_on_another_branch(released: GitFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """A version that another branch has is skipped, and that is said."""
    released.git("checkout", "--quiet", "-b", "side")
    released.commit("feat: x")
    released.tag("v1.1.0")
    released.git("checkout", "--quiet", "main")
    released.commit("feat: y")
    document = bumped(released)
    assert (document["last"], document["tag"], document["skipped"]) == ("v1.0.0", "v1.2.0", ["v1.1.0"])
    assert "v1.1.0 is taken, on another branch: skipped" in capsys.readouterr().err


def test_taken_on_the_remote(released: GitFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A version that only the remote has is skipped; a remote that does not answer is said."""
    remote = tmp_path / "remote.git"
    released.commit("feat: y")
    released.git("clone", "--quiet", "--bare", ".", str(remote))
    released.git("remote", "add", "origin", str(remote))
    GitFolder(folder=remote).git("tag", "v1.1.0")
    assert bumped(released)["tag"] == "v1.2.0"
    assert "v1.1.0 is taken, on origin: skipped" in capsys.readouterr().err
    remote.rename(tmp_path / "gone.git")
    assert bumped(released)["tag"] == "v1.1.0"
    assert "origin did not say which versions it has" in capsys.readouterr().err


def test_merged_branches(released: GitFolder) -> None:
    """What a merge brings counts, and a release that it brings is the last one."""
    released.git("checkout", "--quiet", "-b", "side")
    released.commit("feat: x")
    released.tag("v1.5.0")
    released.commit("fix: y")
    released.git("checkout", "--quiet", "main")
    released.commit("docs: z")
    released.git("merge", "--quiet", "--no-ff", "--message=Merge", "side")
    document = bumped(released)
    assert (document["last"], document["version"]) == ("v1.5.0", "1.5.1")
    assert [reason["what"] for reason in document["reasons"]] == ["fix: y"]


def test_streams_of_formats(released: GitFolder) -> None:
    """A format's stream has versions of its own, from its own commits alone."""
    own = POLICY.replace("[formats.ollama]\n", '[formats.ollama]\nstream = "ollama-v{version}"\n')
    released.write("release.toml", own)
    released.commit("docs: streams")
    assert bumped(released, "ollama")["tag"] == "ollama-v0.1.0"
    released.tag("ollama-v0.1.0")
    released.tag("v1.0.1")
    released.commit("feat(ollama): x")
    assert bumped(released, "ollama")["tag"] == "ollama-v0.2.0"
    with pytest.raises(ReleaseError, match=r"nothing since v1\.0\.1"):
        bumped(released)
    released.commit("fix(vllm): y")
    assert bumped(released)["tag"] == "v1.0.2"
    assert bumped(released, "ollama")["tag"] == "ollama-v0.2.0"
    configure(released, r=8)
    released.commit("chore: train")
    assert (bumped(released)["tag"], bumped(released, "ollama")["tag"]) == ("v2.0.0", "ollama-v0.2.0")


def test_policy_change_of_a_format_with_paths(released: GitFolder) -> None:
    """What lies outside of a format's `paths` raises no version of it, not even the policy or the weights."""
    own = 'stream = "ollama-v{version}"\npaths = ["gguf"]\n'
    released.write("release.toml", POLICY.replace("[formats.ollama]\n", f"[formats.ollama]\n{own}"))
    released.tag("ollama-v1.0.0")
    configure(released, r=8)
    released.commit("feat: x")
    with pytest.raises(ReleaseError, match=r"nothing since ollama-v1\.0\.0"):
        bumped(released, "ollama")
    released.write("gguf/x")
    released.commit("fix: y")
    assert bumped(released, "ollama")["version"] == "1.0.1"
    assert bumped(released)["version"] == "2.0.0"


def test_runs_that_are_not_in_git(
    repository: GitFolder, write_run: WriteRun, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where nothing tells of the last release's model, that is said, and commits decide."""
    repository.write("release.toml", POLICY)
    repository.write(".gitignore", "adapters/\n")
    write_run(repository.folder / "adapters" / RUN)
    repository.commit()
    repository.tag("v1.0.0")
    repository.commit("fix: x")
    assert bumped(repository)["version"] == "1.0.1"
    assert "nothing here tells what the model of v1.0.0 was made of" in capsys.readouterr().err


def test_reasons_are_shown(released: GitFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """People see the version, what it follows, and which commits and files decided."""
    configure(released, r=64, target_modules=["q"])
    sha = released.commit("feat!: [bold] answers")
    bumped(released)
    said = capsys.readouterr().err
    assert "Next: v2.0.0  after v1.0.0: major" in said
    assert f"major: feat!: [bold] answers (commit {sha[:10]})" in said
    assert "major: the adapter's r is 64, and was 32 (adapter_config.json)" in said


def test_shallow_clone(released: GitFolder, tmp_path: Path) -> None:
    """A shallow clone without the last release is refused, rather than given a first version."""
    released.commit("feat: x")
    clone = tmp_path / "clone"
    released.git("clone", "--quiet", "--depth=1", f"file://{released.folder}", str(clone))
    with pytest.raises(ReleaseError, match="this clone is shallow") as caught:
        bumped(GitFolder(folder=clone))
    assert "git fetch --unshallow --tags" in str(caught.value.remedy)
    GitFolder(folder=clone).git("fetch", "--quiet", "--unshallow", "--tags")
    assert bumped(GitFolder(folder=clone))["version"] == "1.1.0"


def test_detached_head(released: GitFolder) -> None:
    """A checkout without a branch, as CI makes it, is bumped as any other."""
    released.commit("feat: x")
    released.git("checkout", "--quiet", "--detach")
    assert bumped(released)["version"] == "1.1.0"
