"""`tag`, `tags`, `bump`, `notes` and `doctor`, and releases of every kind of version tag."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi
from tagship.cli import versions
from tagship.cli.doctor import diagnose, explain_tag
from tagship.cli.session import Session, open_session
from tagship.cli.tags import tags_as_json, tags_as_lines
from tagship.hub_server.app import EmbeddedHub
from tagship.release.options import Options
from tagship.system.console import Console
from tagship.system.errors import ReleaseError, UsageError

from tests.conftest import PHI3, POLICY, RUN, GitFolder, WriteRun
from tests.end_to_end.conftest import Project

Call = Callable[..., dict[str, Any]]


@pytest.fixture
def folder(repository: GitFolder, write_run: WriteRun) -> GitFolder:
    """A project with a run, on a commit that the changelog has 1.0.0 for."""
    repository.write("release.toml", POLICY)
    write_run(repository.folder / "adapters" / RUN)
    repository.write("CHANGELOG.md", "# Changelog\n\n## [1.0.0] - 2025-09-15\n\nBy hand.\n")
    repository.commit("feat: train on minimal schemas")
    return repository


@pytest.fixture
def in_session(folder: GitFolder) -> Callable[..., Any]:
    """A function that calls another with a session of the project."""

    def call(body: Callable[[Session], Any], **options: Any) -> Any:
        with open_session(
            str(folder.folder / "release.toml"), Options(**options), Console(interactive=False)
        ) as session:
            return body(session)

    return call


@pytest.fixture
def tag(in_session: Callable[..., Any]) -> Call:
    """`invoke tag`, in this process."""

    def call(name: str, *, message: str | None = None, push: bool = False, dry_run: bool = False) -> Any:
        return in_session(lambda session: versions.tag(session, name, message=message, push=push, dry_run=dry_run))

    return call


@pytest.fixture
def bump(in_session: Callable[..., Any]) -> Call:
    """`invoke bump`, in this process."""

    def call(stream: str | None = None, part: str | None = None, pre: str | None = None) -> Any:
        return in_session(lambda session: versions.bump(session, stream, part, pre))

    return call


@pytest.fixture
def notes(in_session: Callable[..., Any]) -> Call:
    """`invoke notes`, in this process."""

    def call(stream: str | None = None, *, write: bool = False, **options: Any) -> Any:
        return in_session(lambda session: versions.notes(session, stream, write=write), **options)

    return call


@pytest.fixture
def doctor(in_session: Callable[..., Any]) -> Call:
    """`invoke doctor`, in this process."""

    def call(name: str | None = None) -> Any:
        explain = (lambda session: explain_tag(session, name)) if name else diagnose
        return in_session(explain)

    return call


@pytest.fixture
def tags(in_session: Callable[..., Any]) -> Call:
    """`invoke tags --json`, in this process."""

    def call(**options: Any) -> Any:
        return json.loads("".join(in_session(lambda session: list(tags_as_json(session)), **options)))

    return call


def bare_remote(folder: GitFolder | Project, at: Path) -> Path:
    """An empty remote, named origin, that has the main branch."""
    folder.git("init", "--quiet", "--bare", "--initial-branch=main", str(at))
    folder.git("remote", "add", "origin", str(at))
    folder.git("push", "--quiet", "origin", "main")
    return at


def on_remote(at: Path) -> list[str]:
    listed = subprocess.run(["git", "tag", "--list"], cwd=at, check=True, capture_output=True, text=True)
    return listed.stdout.split()


def refuse_pushes(at: Path) -> None:
    hook = at / "hooks/pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'tags are protected here' >&2\nexit 1\n")
    hook.chmod(0o755)


def new_files(project: Project, before: set[str]) -> set[str]:
    return {name for name in project.files() - before if "__pycache__" not in name}


def levels(document: dict[str, Any]) -> dict[str, str]:
    return {finding["what"].split(":")[0]: finding["level"] for finding in document["findings"]}


# Whole ways, as users go them


def test_from_a_commit_to_a_release(project: Project, tmp_path: Path) -> None:
    """bump, notes --write, tag --push, release: each says what the next one needs, and twice is once."""
    remote = bare_remote(project, tmp_path / "origin.git")
    assert project.invoke("bump").stdout == "0.1.0\n"
    refused = project.invoke("bump", "--tag", "--push")
    assert (refused.code, refused.stdout) == (1, "")
    assert "invoke notes --tag v0.1.0 --write" in refused.stderr
    assert project.git("tag") == "" and on_remote(remote) == []
    assert project.invoke("notes", "--tag", "v0.1.0", "--write").code == 0
    project.git("add", "CHANGELOG.md")
    project.git("commit", "--quiet", "--message", "docs: what 0.1.0 brings")
    tagged = project.invoke("bump", "--tag", "--push", "--json").document
    assert (tagged["tag"], tagged["created"], tagged["pushed"]) == ("v0.1.0", True, True)
    assert project.git("cat-file", "-t", "v0.1.0") == "tag"
    assert "train on minimal schemas" in project.git("tag", "--list", "--format=%(contents)", "v0.1.0")
    assert on_remote(remote) == ["v0.1.0"]
    again = project.invoke("tag", "v0.1.0", "--push", "--json")
    assert (again.code, again.document["created"], again.document["message"]) == (0, False, tagged["message"])
    assert _marks(project) == {"v0.1.0": (True, False)}
    released = project.invoke("release", "--format", "lora", "--json")
    assert released.code == 0, released.stderr
    assert "Tagged release detected: v0.1.0" in released.stderr and "warning" not in released.stderr
    (entry,) = released.document["formats"]
    card = (project.folder / entry["export_dir"] / "README.md").read_text()
    assert "exact_match" in card and "What is new" not in card  # in a first version
    assert _marks(project) == {"v0.1.0": (True, True)}
    nothing = project.invoke("bump")
    assert (nothing.code, nothing.stdout) == (1, "") and "nothing since v0.1.0" in nothing.stderr


def _marks(project: Project) -> dict[str, tuple[bool, bool]]:
    streams = project.invoke("tags", "--json").document["streams"]
    return {tag["tag"]: (tag["pushed"], tag["released"]) for stream in streams for tag in stream["tags"]}


def test_release_with_build_metadata(project: Project, tmp_path: Path) -> None:
    """v1.2.3+cu124 stays as it is in files and tags, also the Hub's; a repo's name has 1.2.3_cu124.

    The tag is lightweight and was not pushed: both are warnings with the commands that mend it.
    """
    remote = bare_remote(project, tmp_path / "origin.git")
    project.git("tag", "v1.2.3+cu124")
    done = project.invoke("release", "--format", "lora", "--json")
    assert done.code == 0, done.stderr
    for warning, remedy in (
        ("v1.2.3+cu124 is a lightweight tag", 'git tag --force "v1.2.3+cu124"'),
        ("v1.2.3+cu124 is not on origin", "git push origin v1.2.3+cu124"),
        ("has no entry for 1.2.3+cu124", "invoke notes --tag v1.2.3+cu124 --write"),
    ):
        assert warning in done.stderr and remedy in done.stderr
    (entry,) = done.document["formats"]
    assert entry["repo_id"] == "acme/phi3avro-minimal-lora-v1.2.3_cu124"
    assert entry["export_dir"].endswith("-lora-v1.2.3+cu124") and entry["artifact"].endswith("-v1.2.3+cu124.tar.gz")
    assert done.document["version"] == "1.2.3+cu124"
    assert _hub_tags(project, entry["repo_id"]) == {"v1.2.3+cu124": entry["commit"]}
    assert on_remote(remote) == []
    read = project.invoke("name", entry["repo_id"], "--json").document["readings"]
    assert [reading["fields"]["version"] for reading in read] == ["1.2.3+cu124"]


def test_release_of_a_stream_with_a_slash(project: Project) -> None:
    """A stream's tags may have a slash and any letters: they are tagged, released and found on the Hub so."""
    project.replace("release.toml", "[hub]", '[tags]\nsemantic = { pattern = "выпуск/v{version}" }\n\n[hub]')
    project.git("commit", "--quiet", "--all", "--message", "chore: tag in our own way")
    assert project.invoke("notes", "--tag", "выпуск/v1.0.0", "--write").code == 0
    project.git("add", "CHANGELOG.md")
    project.git("commit", "--quiet", "--message", "docs: what 1.0.0 brings")
    tagged = project.invoke("tag", "выпуск/v1.0.0", "--message", "# Первый выпуск")
    assert tagged.code == 0, tagged.stderr
    assert project.git("tag", "--list", "--format=%(contents:subject)", "выпуск/*") == "# Первый выпуск"
    done = project.invoke("release", "--format", "lora", "--json")
    assert done.code == 0, done.stderr
    (entry,) = done.document["formats"]
    assert entry["repo_id"] == "acme/phi3avro-minimal-lora-v1.0.0"
    assert _hub_tags(project, entry["repo_id"]) == {"выпуск/v1.0.0": entry["commit"]}
    assert _marks(project) == {"выпуск/v1.0.0": (False, True)}


def _hub_tags(project: Project, repo_id: str) -> dict[str, str]:
    with EmbeddedHub(root=project.folder / ".tagship/hub") as server:
        refs = HfApi(endpoint=server.url, token=False).list_repo_refs(repo_id)
        return {tag.name: tag.target_commit for tag in refs.tags}


def test_shallow_clone(project: Project, make_project: Callable[[], Project]) -> None:
    """Without the history there are no notes: it is said, with the command that fetches it, before anything is
    written; a policy whose cards have no notes needs none."""
    project.git("commit", "--quiet", "--allow-empty", "--message", "feat: more")
    project.git("tag", "v1.0.0", "--message", "Release v1.0.0")
    clone = make_project()
    clone.git("remote", "add", "origin", project.folder.as_uri())
    clone.git("fetch", "--quiet", "--depth=1", "origin", "tag", "v1.0.0")
    clone.git("checkout", "--quiet", "v1.0.0")
    before = clone.files()
    refused = clone.invoke("release", "--format", "lora")
    assert (refused.code, refused.stdout) == (1, "")
    assert "this clone is shallow" in refused.stderr and "git fetch --unshallow --tags" in refused.stderr
    assert new_files(clone, before) == set()
    looked = clone.invoke("doctor", "--json")
    findings = looked.document["findings"]
    assert looked.code == 1
    assert [f["remedy"][:21] for f in findings if f["level"] == "stop"] == ["git fetch --unshallow"]
    clone.replace("release.toml", "[card]\n", "[card]\nnotes = false\n")
    clone.git("commit", "--quiet", "--all", "--message", "chore: no notes on cards")
    clone.git("tag", "v1.1.0", "--message", "Release v1.1.0")
    done = clone.invoke("release", "--format", "lora", "--json")
    assert done.code == 0, done.stderr
    card = clone.folder / done.document["formats"][0]["export_dir"] / "README.md"
    assert "What is new" not in card.read_text()


def test_tags_that_decide(project: Project) -> None:
    """Of two version tags on a commit the order of [tags] decides, which is said; a format's own tag is its alone."""
    project.replace("release.toml", "[formats.ollama]\n", '[formats.ollama]\nstream = "ollama-v{version}"\n')
    project.git("commit", "--quiet", "--all", "--message", "chore: version ollama by itself")
    for name in ("export-v3.0.0", "model-v2.0.0", "v1.0.0"):
        project.git("tag", name, "--message", name)
    plan = project.invoke("plan", "--json")
    assert plan.document["tag"] == "v1.0.0"
    assert [entry["format"] for entry in plan.document["formats"]] == ["vllm", "lora"]
    assert "Tagged release detected: v1.0.0" in plan.stderr
    assert "model-v2.0.0 is on this commit too; the order of [tags] decides" in plan.stderr
    project.git("commit", "--quiet", "--allow-empty", "--message", "fix(ollama): the template")
    project.git("tag", "ollama-v0.9.0", "--message", "Ollama 0.9.0")
    plan = project.invoke("plan", "--json")
    assert plan.document["tag"] == "ollama-v0.9.0"
    assert [entry["repo_id"] for entry in plan.document["formats"]] == ["acme/phi3avro-minimal-q4_k_m-gguf-v0.9.0"]


def test_push_that_is_refused(project: Project, tmp_path: Path) -> None:
    """A remote that refuses the tag is quoted; the tag is kept here, and a later --push brings it there."""
    remote = bare_remote(project, tmp_path / "origin.git")
    refuse_pushes(remote)
    project.replace("release.toml", "[card]", '[checks]\nchangelog = "off"\n\n[card]')
    project.git("commit", "--quiet", "--all", "--message", "chore: no changelog")
    refused = project.invoke("tag", "v1.0.0", "--push", "--json")
    assert (refused.code, refused.document["error"] in refused.stderr) == (1, True)
    assert "v1.0.0 is tagged here, and origin did not take it" in refused.stderr
    assert "tags are protected here" in refused.stderr and "git push origin v1.0.0" in refused.stderr
    assert project.git("cat-file", "-t", "v1.0.0") == "tag" and on_remote(remote) == []
    (remote / "hooks/pre-receive").unlink()
    assert project.invoke("tag", "v1.0.0", "--push").code == 0
    assert on_remote(remote) == ["v1.0.0"]


def test_one_document(project: Project) -> None:
    """With --json each verb prints one JSON document, and nothing else, on standard output."""
    project.git("tag", "v1.0.0", "--message", "Release v1.0.0")
    project.git("commit", "--quiet", "--allow-empty", "--message", "fix: a field")
    documents = {}
    for line in ("tags", "bump", "notes", "doctor", "doctor --tag v1.0", "name v1.0.0", "migrate", "version --tag v1"):
        done = project.invoke(*line.split(), "--json")
        assert done.code == (1 if line == "doctor --tag v1.0" else 0), done.stderr  # that triggers nothing
        documents[line] = json.loads(done.stdout)
    assert [tag["tag"] for tag in documents["tags"]["streams"][0]["tags"]] == ["v1.0.0"]
    assert (documents["bump"]["part"], documents["bump"]["version"]) == ("patch", "1.0.1")
    assert "a field" in documents["notes"]["notes"] and documents["notes"]["since"] == "v1.0.0"
    assert documents["doctor"]["ok"] is True
    assert (documents["doctor --tag v1.0"]["triggers"], documents["doctor --tag v1.0"]["meant"]) == (False, "v1.0.0")


def test_mistakes(project: Project) -> None:
    """Bad input ends with 2, what is refused with 1; the message says what was meant, and nothing is tagged."""
    before = project.files()
    for line, code, words in (
        ("tag v1.0", 2, "did you mean v1.0.0?"),
        ("tag --bogus", 2, "tag has no option --bogus"),
        ("tag v1.0.0", 1, "CHANGELOG.md has no entry for 1.0.0"),
        ("tag v1.0.0 --push", 1, "there is no remote 'origin'"),
        ("bump --part huge", 2, "--part must be one of patch, minor, major"),
        ("bump --stream modell", 2, "did you mean 'model'?"),
        ("bump --pre a..b", 2, "cannot be the label of a prerelease"),
        ("notes --tag nightly --write", 2, "'nightly' is no version tag"),
        ("notes --tag v1.0.0 --stream model", 2, "v1.0.0 is of the stream semantic"),
        ("doctor --hub ftp://hub", 2, "--hub"),
        ("tags --config other.toml", 2, "no other.toml"),
    ):
        done = project.invoke(*line.split())
        assert (done.code, done.stdout) == (code, ""), done.stderr
        assert words in done.stderr and "Traceback" not in done.stderr
    assert project.git("tag") == "" and new_files(project, before) == set()


# tag


def test_tag(folder: GitFolder, tag: Call) -> None:
    """A tag that passes is annotated, with the notes as its message; the document says what was checked."""
    document = tag("v1.0.0")
    assert document == {
        "tag": "v1.0.0",
        "version": "1.0.0",
        "commit": folder.git("rev-parse", "HEAD"),
        "message": document["message"],
        "created": True,
        "pushed": False,
        "checks": {"clean": None, "branch": None, "changelog": None, "order": None},
    }
    assert document["message"].startswith("Release v1.0.0\n\n### Added\n\n- train on minimal schemas")
    assert folder.git("tag", "--list", "--format=%(contents)", "v1.0.0") == document["message"]


def test_own_message(folder: GitFolder, tag: Call) -> None:
    """A given message is kept as it is, also a line that begins with '#'."""
    tag("v1.0.0", message="First\n\n# Not a comment\n- ü")
    assert folder.git("tag", "--list", "--format=%(contents)", "v1.0.0") == "First\n\n# Not a comment\n- ü"


def test_dry_run(folder: GitFolder, tag: Call, tmp_path: Path) -> None:
    """--dry-run checks and shows the message, and neither tags nor pushes."""
    remote = bare_remote(folder, tmp_path / "origin.git")
    document = tag("v1.0.0", push=True, dry_run=True)
    assert (document["created"], document["pushed"]) == (False, False)
    assert "train on minimal schemas" in document["message"]
    assert folder.git("tag") == "" and on_remote(remote) == []


def test_dry_run_of_what_is_refused(folder: GitFolder, tag: Call) -> None:
    """--dry-run refuses what would be refused."""
    folder.write("new.txt")
    with pytest.raises(ReleaseError, match="clean"):
        tag("v1.0.0", dry_run=True)


def test_twice(folder: GitFolder, tag: Call) -> None:
    """The same tag again on the same commit changes nothing."""
    tag("v1.0.0")
    made = folder.git("rev-parse", "v1.0.0")
    assert tag("v1.0.0", message="Other")["created"] is False
    assert folder.git("rev-parse", "v1.0.0") == made


def test_tag_that_is_elsewhere(folder: GitFolder, tag: Call) -> None:
    """A version names one commit for ever."""
    tag("v1.0.0")
    folder.commit("fix: more")
    with pytest.raises(ReleaseError, match=r"the tag v1\.0\.0 is on .* already") as caught:
        tag("v1.0.0")
    assert caught.value.remedy is not None and "invoke bump" in caught.value.remedy


def test_lightweight_tag_that_is_there(folder: GitFolder, tag: Call, capsys: pytest.CaptureFixture[str]) -> None:
    """A tag that somebody made by hand is checked as a release checks it: a lightweight one is warned of."""
    folder.git("tag", "v1.0.0")
    assert tag("v1.0.0")["created"] is False
    said = capsys.readouterr().err
    assert "v1.0.0 is a lightweight tag" in said and 'git tag --force "v1.0.0"' in said
    folder.write("release.toml", f'{POLICY}\n[checks]\nannotated = "required"\n')
    folder.commit("chore: be strict")
    folder.git("tag", "v1.0.1")
    with pytest.raises(ReleaseError, match=r"annotated: v1\.0\.1 is a lightweight tag"):
        tag("v1.0.1")


def test_every_refusal_at_once(folder: GitFolder, tag: Call) -> None:
    """All checks that fail are told together, each with what mends it, and nothing is tagged."""
    folder.git("tag", "v2.0.0", "--message", "Two")
    folder.git("checkout", "--quiet", "-b", "topic")
    folder.commit("fix: on a branch")
    folder.write("new.txt")
    with pytest.raises(ReleaseError) as caught:
        tag("v1.5.0")
    first, *listed = str(caught.value).splitlines()
    assert first == "v1.5.0 does not pass 4 checks:"
    assert [line.split(":")[0].strip() for line in listed] == ["clean", "branch", "changelog", "order"]
    for words in ("new.txt", "release branch main", "no entry for 1.5.0", "not greater than 2.0.0"):
        assert words in str(caught.value)
    assert folder.git("tag") == "v2.0.0"


BREAKING: dict[str, Callable[[GitFolder], object]] = {
    "clean": lambda folder: folder.write("new.txt"),
    "branch": lambda folder: (folder.git("checkout", "--quiet", "-b", "topic"), folder.commit("fix: topic")),
    "changelog": lambda folder: (folder.write("CHANGELOG.md", ""), folder.commit("docs: empty")),
    "order": lambda folder: folder.git("tag", "v1.0.1", "--message", "Later"),
}


@pytest.mark.parametrize("check", BREAKING)
@pytest.mark.parametrize("level", ["required", "warn", "off"])
def test_strictness(folder: GitFolder, tag: Call, capsys: pytest.CaptureFixture[str], check: str, level: str) -> None:
    """[checks] says of each check whether it is required, is warned of, or is not made."""
    folder.write("release.toml", f'{POLICY}\n[checks]\n{check} = "{level}"\n')
    folder.commit("chore: how strict we are")
    BREAKING[check](folder)
    if level == "required":
        with pytest.raises(ReleaseError, match=f"1 check:\n  {check}: "):
            tag("v1.0.0")
        assert "v1.0.0" not in folder.git("tag").split()
        return
    assert (check in tag("v1.0.0")["checks"]) is (level == "warn")
    assert (f"warning: {check}: " in capsys.readouterr().err) is (level == "warn")
    assert "v1.0.0" in folder.git("tag").split()


def test_release_branch(folder: GitFolder, tag: Call) -> None:
    """[versions] branch names the release branch; one that is not there is told."""
    folder.git("checkout", "--quiet", "-b", "stable")
    folder.write("release.toml", POLICY + '[versions]\nbranch = "stable"\n')
    folder.commit("chore: release from stable")
    assert tag("v1.0.0", dry_run=True)["checks"]["branch"] is None
    folder.write("release.toml", POLICY + '[versions]\nbranch = "gone"\n')
    folder.commit("chore: release from nowhere")
    with pytest.raises(ReleaseError, match="there is no branch 'gone' to release from"):
        tag("v1.0.0")


def test_push(folder: GitFolder, tag: Call, tmp_path: Path) -> None:
    """--push pushes this tag alone, also one that was made before."""
    remote = bare_remote(folder, tmp_path / "origin.git")
    folder.git("tag", "nightly")
    assert tag("v1.0.0")["pushed"] is False and on_remote(remote) == []
    for _ in range(2):
        assert tag("v1.0.0", push=True)["pushed"] is True
    assert on_remote(remote) == ["v1.0.0"]


def test_push_without_a_remote(folder: GitFolder, tag: Call) -> None:
    """Where there is no remote, nothing is tagged either."""
    with pytest.raises(ReleaseError, match="there is no remote 'origin'") as caught:
        tag("v1.0.0", push=True)
    assert caught.value.remedy is not None and "git remote add origin URL" in caught.value.remedy
    assert folder.git("tag") == ""


def test_push_over_another_tag(folder: GitFolder, tag: Call, tmp_path: Path) -> None:
    """A tag of that name on the remote, of another commit, is never overwritten."""
    remote = bare_remote(folder, tmp_path / "origin.git")
    folder.git("tag", "v1.0.0", "HEAD")
    folder.git("push", "--quiet", "origin", "v1.0.0")
    folder.git("tag", "--delete", "v1.0.0")
    theirs = subprocess.check_output(["git", "rev-parse", "v1.0.0"], cwd=remote)
    folder.commit("fix: more")
    with pytest.raises(ReleaseError, match=r"origin has a tag v1\.0\.0 already"):
        tag("v1.0.0", push=True)
    assert subprocess.check_output(["git", "rev-parse", "v1.0.0"], cwd=remote) == theirs
    assert folder.git("tag") == ""


@pytest.mark.parametrize("name", ["", "v1.0", "1.0.0", "nightly", "v01.0.0", "--push", "v1.0.0 ", "refs/tags/v1.0.0"])
def test_tag_of_no_stream(folder: GitFolder, tag: Call, name: str) -> None:
    """Only version tags are made, and another name is a mistake in the options."""
    with pytest.raises(UsageError):
        tag(name)
    assert folder.git("tag") == ""


# bump


def test_first_version(bump: Call) -> None:
    """A stream begins where [versions] first says."""
    document = bump()
    assert (document["last"], document["version"], document["tag"]) == (None, "0.1.0", "v0.1.0")
    assert bump("model")["tag"] == "model-v0.1.0"


def test_bump_by_commits(folder: GitFolder, bump: Call) -> None:
    """The commits since the stream's last tag decide, and the reasons name them."""
    folder.git("tag", "v1.0.0", "--message", "One")
    fix = folder.commit("fix: a field")
    assert bump()["version"] == "1.0.1"
    feat = folder.commit("feat: nested schemas")
    document = bump()
    assert (document["part"], document["version"]) == ("minor", "1.1.0")
    assert [reason["commit"] for reason in document["reasons"]] == [feat]
    folder.commit("feat!: another prompt")
    assert bump()["version"] == "2.0.0"
    assert bump(part="patch")["version"] == "1.0.1"
    assert bump(part="patch")["reasons"] == []
    assert bump(pre="rc")["version"] == "2.0.0-rc.1"
    assert fix


def test_bump_by_the_model(folder: GitFolder, bump: Call, write_run: WriteRun) -> None:
    """Another adapter asks for a new version, whatever the commit's message says."""
    folder.git("tag", "v1.0.0", "--message", "One")
    write_run(folder.folder / "adapters" / RUN.replace("r32", "r8").replace("20250914", "20250915"), rank=8)
    folder.commit("chore: train again")
    document = bump()
    assert document["version"] != "1.0.0"
    assert any(reason["file"] for reason in document["reasons"])


def test_nothing_to_bump(folder: GitFolder, bump: Call) -> None:
    """Without a change there is no next version, and what to do about it is told."""
    folder.git("tag", "v1.0.0", "--message", "One")
    with pytest.raises(ReleaseError, match=r"nothing since v1\.0\.0 asks for a new version") as caught:
        bump()
    assert caught.value.remedy is not None and "invoke tag v1.0.1" in caught.value.remedy


# notes


def test_notes_are_written_once(folder: GitFolder, notes: Call) -> None:
    """--write puts the notes into the changelog below a heading of the tag's date; twice changes nothing."""
    folder.git("tag", "v1.1.0", "--message", "Release")
    document = notes(write=True, tag="v1.1.0")
    text = (folder.folder / "CHANGELOG.md").read_text()
    assert "## [1.1.0] - 2025-09-15\n\n### Added\n\n- train on minimal schemas" in text
    assert document["notes"].strip() in text
    assert text.endswith("## [1.0.0] - 2025-09-15\n\nBy hand.\n")
    notes(write=True, tag="v1.1.0")
    assert (folder.folder / "CHANGELOG.md").read_text() == text


def test_notes_keep_a_person_s_text(folder: GitFolder, notes: Call) -> None:
    """An entry that is there is left as it is; what stands under Unreleased becomes the version's, with the notes."""
    before = (folder.folder / "CHANGELOG.md").read_text()
    notes(write=True, tag="v1.0.0")
    assert (folder.folder / "CHANGELOG.md").read_text() == before
    folder.write("CHANGELOG.md", "# Changelog\r\n\r\n## Unreleased\r\n\r\nWhat I want to say.\r\n")
    notes(write=True, tag="v1.1.0")
    written = (folder.folder / "CHANGELOG.md").read_bytes().decode()
    assert written.index("## [1.1.0]") < written.index("What I want to say.") < written.index("### Added")
    assert "\n" not in written.replace("\r\n", "")


def test_notes_of_the_next_version(folder: GitFolder, notes: Call) -> None:
    """Without --tag, --write takes the version that bump says, and notes alone are of what is not released."""
    assert (notes()["tag"], notes()["since"]) == (None, None)
    assert notes(write=True)["tag"] == "v0.1.0"
    assert "## [0.1.0]" in (folder.folder / "CHANGELOG.md").read_text()


def test_notes_of_an_earlier_tag(folder: GitFolder, notes: Call) -> None:
    """The notes of a tag are of its own commits, whatever came after."""
    folder.git("tag", "v1.0.0", "--message", "One")
    folder.commit("fix: a field")
    folder.git("tag", "v1.0.1", "--message", "One and a bit")
    folder.commit("feat: later")
    document = notes(tag="v1.0.1")
    assert (document["since"], document["commits"], document["version"]) == ("v1.0.0", 1, "1.0.1")
    assert "a field" in document["notes"] and "later" not in document["notes"]


def test_changelog_that_is_no_text(folder: GitFolder, notes: Call) -> None:
    """A changelog that is not UTF-8 is not written over."""
    (folder.folder / "CHANGELOG.md").write_bytes(b"\xff\xfe")
    with pytest.raises(ReleaseError, match=r"CHANGELOG\.md is not UTF-8"):
        notes(write=True, tag="v1.1.0")
    assert (folder.folder / "CHANGELOG.md").read_bytes() == b"\xff\xfe"


def test_changelog_of_a_format(folder: GitFolder, notes: Call, tag: Call) -> None:
    """A format with versions of its own has a changelog of its own, which is looked at for its tags."""
    folder.write(
        "release.toml", POLICY.replace("[formats.ollama]\n", '[formats.ollama]\nstream = "ollama-v{version}"\n')
    )
    folder.commit("chore: version ollama by itself")
    with pytest.raises(ReleaseError, match=r"changelog: CHANGELOG-ollama\.md has no entry for 1\.0\.0"):
        tag("ollama-v1.0.0")
    notes(write=True, tag="ollama-v1.0.0")
    folder.commit("docs: ollama")
    assert tag("ollama-v1.0.0")["created"] is True
    assert "1.0.0" in (folder.folder / "CHANGELOG-ollama.md").read_text()


# doctor


def test_tag_that_triggers(folder: GitFolder, doctor: Call) -> None:
    """doctor --tag says what a tag triggers, and what its checks find."""
    folder.git("tag", "v1.0.0", "--message", "One")
    document = doctor("v1.0.0")
    assert (document["triggers"], document["stream"], document["version"]) == (True, "semantic", "1.0.0")
    assert document["does"] == ["export", "publish"]
    assert {finding["level"] for finding in document["findings"]} == {"ok"}


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("v1.0", "v1.0.0"),
        ("V1.0.0", "v1.0.0"),
        ("model_v2.0.0", "model-v2.0.0"),
        ("v01.2.3", "v1.2.3"),
        ("nightly", None),
    ],
)
def test_tag_that_does_not(doctor: Call, name: str, meant: str | None) -> None:
    """doctor --tag says why a tag triggers nothing, and which one was probably meant."""
    document = doctor(name)
    assert (document["triggers"], document["meant"]) == (False, meant)
    (finding,) = document["findings"]
    assert finding["level"] == "stop" and f"{name} triggers nothing" in finding["what"]


def test_tag_that_another_one_decides_over(folder: GitFolder, doctor: Call) -> None:
    """doctor --tag says where another tag on the commit decides, and where it is on another commit or missing."""
    for name in ("v1.0.0", "model-v1.0.0"):
        folder.git("tag", name, "--message", name)
    whats = [finding["what"] for finding in doctor("model-v1.0.0")["findings"]]
    assert any(what.startswith("v1.0.0 is on the same commit, and outside of CI decides") for what in whats)
    folder.commit("fix: more")
    stopped = [finding for finding in doctor("v1.0.0")["findings"] if finding["level"] == "stop"]
    assert [finding["remedy"] for finding in stopped] == ["git checkout v1.0.0"]
    stopped = [finding for finding in doctor("v3.0.0")["findings"] if finding["level"] == "stop"]
    assert [finding["remedy"] for finding in stopped] == ["invoke tag v3.0.0"]


def test_doctor_stops_at_a_run_that_is_none(folder: GitFolder, doctor: Call) -> None:
    """What would stop a release is told with what mends it, and the document is not ok."""
    (folder.folder / "adapters" / RUN / "adapter_config.json").unlink()
    document = doctor()
    assert document["ok"] is False
    assert "adapter_config.json" in document["findings"][-1]["what"]


def test_doctor_writes_nothing(folder: GitFolder, doctor: Call) -> None:
    """Looking changes nothing, and goes on to say what stops a release, here a base model that is not whole."""
    folder.write("release.toml", f'{POLICY}\n[bases."{PHI3}"]\npath = "base"\n')
    folder.write("base/config.json", "{}")
    folder.commit("chore: keep the base here")
    folder.git("tag", "v1.0.0", "--message", "One")
    before = sorted(folder.folder.rglob("[!.]*"))
    document = doctor()
    assert document["ok"] is False
    assert levels(document)["the tag v1.0.0"] == "ok"
    assert sorted(folder.folder.rglob("[!.]*")) == before and not (folder.folder / ".tagship").exists()


# tags


def test_list(folder: GitFolder, tags: Call) -> None:
    """Each stream's tags are listed by precedence, highest first, with date, message and kind; others by name."""
    names = ("v1.0.0", "v1.10.0", "v1.9.0", "v2.0.0-rc.2", "v2.0.0-rc.10", "v2.0.0", "model-v1.0.0", 'say-"hi"', "v1.0")
    for name in names:
        folder.git("tag", name, "--message", f"{name}: first line\n\nMore.")
    folder.git("tag", "export-v1.0.0")
    document = tags()
    listed = {stream["stream"]: [tag["tag"] for tag in stream["tags"]] for stream in document["streams"]}
    assert listed == {
        "semantic": ["v2.0.0", "v2.0.0-rc.10", "v2.0.0-rc.2", "v1.10.0", "v1.9.0", "v1.0.0"],
        "model": ["model-v1.0.0"],
        "export": ["export-v1.0.0"],
    }
    assert sorted(document["other"]) == ['say-"hi"', "v1.0"]
    (exported,) = document["streams"][2]["tags"]
    assert (exported["annotated"], exported["message"]) == (False, "feat: train on minimal schemas")
    assert document["streams"][1]["tags"] == [
        {
            "tag": "model-v1.0.0",
            "version": "1.0.0",
            "commit": folder.git("rev-parse", "HEAD"),
            "date": "2025-09-15T14:40:51+02:00",
            "message": "model-v1.0.0: first line",
            "annotated": True,
            "pushed": False,
            "released": False,
            "repos": [],
        }
    ]


def test_list_for_people(folder: GitFolder, in_session: Callable[..., Any]) -> None:
    """People read a line for each tag, and of tags that trigger nothing the first ten."""
    for number in range(12):
        folder.git("tag", f"nightly-{number:02}")
    folder.git("tag", "v1.0.0", "--message", "First")
    text = "".join(in_session(lambda session: list(tags_as_lines(session))))
    assert "semantic  (v{version})\n  v1.0.0                   2025-09-15  not pushed, not released  First\n" in text
    assert "model  (model-v{version})\n  none\n" in text
    assert text.endswith("nightly-09 and 2 more\n")


def test_list_without_remote_and_hub(folder: GitFolder, tags: Call, capsys: pytest.CaptureFixture[str]) -> None:
    """Where remote and Hub do not answer, it is said, and what they would tell is null."""
    folder.git("tag", "v1.0.0", "--message", "One")
    folder.git("remote", "add", "origin", str(folder.folder / "gone.git"))
    (tag,) = tags(hub="http://127.0.0.1:9")["streams"][0]["tags"]
    assert (tag["pushed"], tag["released"], tag["repos"]) == (None, None, [])
    said = capsys.readouterr().err
    assert "origin did not say which tags it has" in said and "could not be reached" in said
