"""Release lines: which tags, commits and files count for a stream's versions, in real git repositories."""

from pathlib import Path

import pytest
from tagship.history.line import Line, changes_since, choose_stream, last_release, line_of, releases_before
from tagship.policy.config import load_config
from tagship.system.errors import ReleaseError, UsageError
from tagship.system.git import Repository

from tests.conftest import GitFolder

POLICY = """\
[project]
namespace = "acme"

[formats.vllm]
[formats.lora]
[formats.ollama]
stream = "ollama-v{version}"
"""
TWO_STREAMS = POLICY.replace("[formats.lora]", '[formats.lora]\nstream = "lora-v{version}"')


@pytest.fixture
def started(repository: GitFolder) -> GitFolder:
    """A project that is released as v1.0.0, and its format ollama as ollama-v1.0.0."""
    repository.write("release.toml", POLICY)
    repository.commit("Begin")
    repository.tag("v1.0.0", "First")
    repository.tag("ollama-v1.0.0", "First")
    return repository


def commit(repository: GitFolder, message: str, *names: str) -> None:
    """A commit that changes files."""
    for name in names:
        path = repository.folder / name
        repository.write(name, (path.read_text(encoding="utf-8") if path.exists() else "") + message)
    repository.commit(message)


def line_in(repository: GitFolder, stream: str | None = None, folder: str = ".") -> Line:
    """The line of a stream as the project's policy has it."""
    config = load_config(repository.folder / folder / "release.toml", {})
    with Repository(config.root) as opened:
        return line_of(config, choose_stream(config, stream), opened)


def changes(repository: GitFolder, stream: str | None = None, folder: str = ".") -> list[str]:
    """The subjects of a stream's commits since its last release, oldest first."""
    line = line_in(repository, stream, folder)
    with Repository(repository.folder) as opened:
        head = opened.head()
        since = last_release(releases_before(opened, line, head), final=True)
        found = changes_since(opened, line, since, head.sha)
    return [logged.commit.message for logged in reversed(found)]


def releases(repository: GitFolder, stream: str | None = None, version: str | None = None) -> list[str]:
    """The stream's tags up to HEAD, highest first."""
    line = line_in(repository, stream)
    with Repository(repository.folder) as opened:
        return [tag.name for tag in releases_before(opened, line, opened.head(), version)]


# Streams


def test_streams(started: GitFolder) -> None:
    """A format's own stream is chosen by the format's name; without a name it is the first one."""
    config = load_config(started.folder / "release.toml", {})
    assert choose_stream(config, None).name == "semantic"
    assert (choose_stream(config, "ollama").format, choose_stream(config, "model").format) == ("ollama", None)
    with pytest.raises(UsageError, match=r"there is no stream 'olama'.*did you mean 'ollama'"):
        choose_stream(config, "olama")


def test_tag_of_a_format_releases_it_alone(started: GitFolder) -> None:
    """A tag of a format's own stream releases that format, and a tag of the others all the rest."""
    config = load_config(started.folder / "release.toml", {})
    released = {
        name: [policy.name for policy in config.released_by(choose_stream(config, name))]
        for name in ("ollama", "semantic", "model", "export")
    }
    rest = ["vllm", "lora"]
    assert released == {"ollama": ["ollama"], "semantic": rest, "model": rest, "export": rest}


def test_changelogs(started: GitFolder) -> None:
    """A format with its own stream has its own changelog, by its name or as the policy says."""
    assert line_in(started).changelog == started.folder / "CHANGELOG.md"
    assert line_in(started, "ollama").changelog == started.folder / "CHANGELOG-ollama.md"
    started.write("release.toml", POLICY + 'changelog = "docs/ollama.md"\n[versions]\nchangelog = "NEWS.md"\n')
    assert line_in(started).changelog == started.folder / "NEWS.md"
    assert line_in(started, "ollama").changelog == started.folder / "docs/ollama.md"


# Tags


def test_releases(started: GitFolder) -> None:
    """The releases of a stream are its tags alone, the highest first, prereleases and build numbers among them."""
    for tag in ("v1.0.1", "v1.10.0", "v1.9.0", "v2.0.0-rc.2", "v2.0.0-rc.10", "v2.0.0+cu124", "model-v7.0.0", "v3"):
        started.tag(tag, tag)
    assert releases(started) == [
        "v2.0.0+cu124",
        *("v2.0.0-rc.10", "v2.0.0-rc.2", "v1.10.0", "v1.9.0", "v1.0.1", "v1.0.0"),
    ]
    assert releases(started, "ollama") == ["ollama-v1.0.0"]
    assert releases(started, "model") == ["model-v7.0.0"]
    assert releases(started, "export") == []


def test_releases_below_a_version(started: GitFolder) -> None:
    """The releases before a version are those below it, though the commit has higher ones too."""
    for tag in ("v1.1.0", "v1.2.0-rc.1", "v1.2.0"):
        started.tag(tag)
    assert releases(started, version="1.2.0") == ["v1.2.0-rc.1", "v1.1.0", "v1.0.0"]
    assert releases(started, version="1.2.0-rc.1") == ["v1.1.0", "v1.0.0"]
    assert releases(started, version="1.0.0") == []


def test_maintenance_branch(started: GitFolder) -> None:
    """On a maintenance branch the last release is its own: a higher one of another branch does not count."""
    commit(started, "feat!: two", "a")
    started.tag("v2.0.0", "Two")
    started.git("checkout", "--quiet", "-b", "1.x", "v1.0.0")
    commit(started, "fix: one", "b")
    started.tag("v1.0.1")
    commit(started, "fix: other", "b")
    assert releases(started) == ["v1.0.1", "v1.0.0"]
    assert changes(started) == ["fix: other"]
    started.git("checkout", "--quiet", "main")
    assert releases(started) == ["v2.0.0", "v1.0.0"]


def test_last_release(started: GitFolder) -> None:
    """The last final release passes over prereleases; the last one of all does not."""
    started.tag("v1.1.0-rc.1")
    line = line_in(started)
    with Repository(started.folder) as opened:
        tags = releases_before(opened, line, opened.head())
    assert [getattr(last_release(tags, final=final), "name", None) for final in (True, False)] == [
        "v1.0.0",
        "v1.1.0-rc.1",
    ]
    assert last_release(tags[:1], final=True) is None


# Commits


def test_scopes(started: GitFolder) -> None:
    """A scope gives a commit to the format's own stream, or keeps it out of it; with both scopes it is of both."""
    commit(started, "feat: all", "a")
    commit(started, "feat(ollama): one", "a")
    commit(started, "feat(vllm): other", "a")
    commit(started, "feat(ollama, vllm): both", "a")
    commit(started, "feat(Ollama): upper", "a")
    commit(started, "feat(hub): unknown", "a")
    shared = ["feat: all", "feat(vllm): other", "feat(ollama, vllm): both", "feat(hub): unknown"]
    assert changes(started) == shared
    assert changes(started, "model") == ["Begin", *shared]
    own = ["feat: all", "feat(ollama): one", "feat(ollama, vllm): both", "feat(Ollama): upper", "feat(hub): unknown"]
    assert changes(started, "ollama") == own


def test_scopes_of_two_streams(started: GitFolder) -> None:
    """Two formats with streams of their own do not see each other's commits, nor do all others."""
    started.write("release.toml", TWO_STREAMS)
    started.tag("lora-v1.0.0")
    commit(started, "feat(ollama): one", "a")
    commit(started, "feat(lora): other", "a")
    commit(started, "feat(lora/ollama): both", "a")
    assert changes(started) == []
    assert changes(started, "ollama") == ["feat(ollama): one", "feat(lora/ollama): both"]
    assert changes(started, "lora") == ["feat(lora): other", "feat(lora/ollama): both"]


def test_own_files(started: GitFolder) -> None:
    """A commit that only touches one line's own files is of that line; with another file it is of all."""
    for name in ("templates/ollama/x", "templates/cards/ollama.md.j2", "CHANGELOG-ollama.md"):
        commit(started, f"Own {name}", name)
    commit(started, "Other format", "templates/vllm/x")
    commit(started, "Shared changelog", "CHANGELOG.md")
    commit(started, "Both", "templates/ollama/x", "README.md")
    commit(started, "Alike", "templates/ollama-old/x")
    assert changes(started) == ["Other format", "Shared changelog", "Both", "Alike"]
    own = [f"Own {name}" for name in ("templates/ollama/x", "templates/cards/ollama.md.j2", "CHANGELOG-ollama.md")]
    assert changes(started, "ollama") == [*own, "Both", "Alike"]


def test_paths(started: GitFolder) -> None:
    """`paths` limits which commits count for the format, and makes its own files no others'."""
    started.write("release.toml", POLICY + 'paths = ["./gguf/", "tools/*.py", "Modelfile"]\n')
    commit(started, "Policy")
    commit(started, "Folder", "gguf/größe \n1/x")
    commit(started, "Pattern", "tools/deep/convert.py")
    commit(started, "File", "Modelfile")
    commit(started, "fix(ollama): by scope alone", "README.md")
    commit(started, "Beside", "gguf-old/x", "tools/convert.sh", "Modelfile.txt")
    commit(started, "Empty")
    assert changes(started, "ollama") == ["Folder", "Pattern", "File"]
    assert changes(started) == ["Policy", "Beside", "Empty"]


@pytest.mark.parametrize("paths", ['["adapters", "gguf"]', '["adapters/*"]', '["."]', '["./adapters/", "*"]'])
def test_paths_of_what_all_share(started: GitFolder, paths: str) -> None:
    """The runs are of all formats, though one counts them among its own paths."""
    started.write("release.toml", POLICY + f"paths = {paths}\n")
    commit(started, "Retrain", "adapters/run/adapter_model.safetensors")
    assert "Retrain" in changes(started, "ollama")
    assert "Retrain" in changes(started)


def test_empty_commits(started: GitFolder) -> None:
    """An empty commit is of every line, but for its scope: it says that something happened."""
    commit(started, "feat: elsewhere")
    commit(started, "feat(ollama): elsewhere")
    assert changes(started) == ["feat: elsewhere"]
    assert changes(started, "ollama") == ["feat: elsewhere", "feat(ollama): elsewhere"]


def test_without_own_streams(repository: GitFolder) -> None:
    """Where no format has its own stream, every commit counts whatever it touches, and a merge by its own title."""
    repository.write("release.toml", POLICY.replace('stream = "ollama-v{version}"', ""))
    repository.commit("Begin")
    repository.tag("v1.0.0")
    commit(repository, "feat(ollama): one", "templates/ollama/x")
    repository.git("checkout", "--quiet", "-b", "side", "HEAD~1")
    commit(repository, "Side", "side")
    repository.git("merge", "--quiet", "--no-ff", "--message=Merge branch 'main'", "main")
    assert sorted(changes(repository)) == ["Side", "feat(ollama): one"]
    repository.git("commit", "--quiet", "--amend", "--message=feat: merge")
    assert sorted(changes(repository)) == ["Side", "feat(ollama): one", "feat: merge"]


def test_no_release_before(repository: GitFolder) -> None:
    """Without a release, every commit counts."""
    repository.write("release.toml", POLICY)
    repository.commit("Begin")
    commit(repository, "feat: more", "a")
    assert changes(repository) == ["Begin", "feat: more"]


def test_two_tags_on_one_commit(started: GitFolder) -> None:
    """After two versions on one commit, commits count from it on."""
    started.tag("v1.1.0")
    assert changes(started) == []
    commit(started, "fix: later", "a")
    assert changes(started) == ["fix: later"]


# A project in a subfolder


@pytest.fixture
def nested(repository: GitFolder) -> GitFolder:
    """A repository whose project is in the subfolder models, released in both of its streams."""
    repository.write("models/release.toml", POLICY)
    repository.commit("Begin")
    repository.tag("v1.0.0")
    repository.tag("ollama-v1.0.0")
    return repository


def test_subfolder(nested: GitFolder) -> None:
    """Of a repository with more in it, only the project's folder counts."""
    commit(nested, "Inside", "models/a")
    commit(nested, "Outside", "src/a", "models-old/a", "release.toml")
    commit(nested, "Empty")
    assert changes(nested, folder="models") == ["Inside"]
    assert changes(nested, "ollama", folder="models") == ["Inside"]


def test_own_files_in_a_subfolder(nested: GitFolder) -> None:
    """In a subfolder, too, one line's own files are no others'."""
    commit(nested, "Own", "models/templates/ollama/x")
    commit(nested, "Other", "models/templates/vllm/x")
    assert changes(nested, folder="models") == ["Other"]
    assert changes(nested, "ollama", folder="models") == ["Own"]


def test_paths_in_a_subfolder(nested: GitFolder) -> None:
    """`paths` begins at the project's folder, and may lead out of it."""
    nested.write("models/release.toml", POLICY + 'paths = ["gguf", "../tools"]\n')
    commit(nested, "Inside", "models/gguf/x")
    commit(nested, "Outside", "tools/x")
    commit(nested, "At the top", "gguf/x")
    assert changes(nested, "ollama", folder="models") == ["Inside", "Outside"]


# Shallow clones


def clone(repository: GitFolder, depth: int) -> GitFolder:
    """A clone with the last commits only."""
    target = repository.folder.with_name(f"depth-{depth}")
    repository.git("clone", "--quiet", f"--depth={depth}", f"file://{repository.folder}", str(target))
    return GitFolder(folder=target)


def test_shallow_clone(started: GitFolder) -> None:
    """A clone that ends before the last release is refused with the command that fetches the rest."""
    commit(started, "feat: one", "a")
    commit(started, "feat: two", "a")
    shallow = clone(started, 1)
    with pytest.raises(ReleaseError, match="this clone is shallow") as caught:
        changes(shallow)
    remedy = str(caught.value.remedy)
    assert remedy.startswith("git fetch --unshallow --tags")
    shallow.git(*remedy.partition(" (")[0].split()[1:])
    assert changes(shallow) == ["feat: one", "feat: two"]


def test_shallow_clone_that_is_deep_enough(started: GitFolder) -> None:
    """A shallow clone that reaches back to the last release is as good as a whole one."""
    for number in range(3):
        commit(started, f"feat: {number}", "a")
    started.tag("v1.1.0")
    commit(started, "fix: last", "a")
    assert changes(clone(started, 2)) == ["fix: last"]
    with pytest.raises(ReleaseError, match="shallow"):
        changes(clone(started, 1))


def test_whole_clone_made_shallow(started: GitFolder, tmp_path: Path) -> None:
    """Notes of an old version need what lies below it, though the last release is here."""
    commit(started, "feat: one", "a")
    started.tag("v1.1.0")
    shallow = clone(started, 1)
    line = line_in(shallow)
    with Repository(shallow.folder) as opened:
        assert changes_since(opened, line, releases_before(opened, line, opened.head())[0], opened.head().sha) == []
        with pytest.raises(ReleaseError, match="shallow"):
            changes_since(opened, line, None, opened.head().sha)
