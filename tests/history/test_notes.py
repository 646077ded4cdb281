"""Release notes: what they say of commits, people, the model and the artifacts, and where they go."""

import hashlib
import json
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tagship.cli import versions
from tagship.cli.session import open_session
from tagship.history.notes import CARD_NOTES, make_notes, render_notes
from tagship.history.unreleased import gather
from tagship.release.options import Options
from tagship.system.console import Console
from tagship.system.errors import ReleaseError, UsageError

from tests.conftest import POLICY, RUN, GitFolder, WriteRun

GITHUB = "https://github.com/acme/model"
SHA = re.compile(r"\([0-9a-f]{7}\)")


@pytest.fixture
def released(project: GitFolder) -> GitFolder:
    """A project that is released as v1.0.0."""
    project.tag("v1.0.0", "First")
    return project


def noted(
    repository: GitFolder, tag: str | None = None, *, stream: str | None = None, write: bool = False
) -> dict[str, Any]:
    """What `notes --json` says."""
    options = Options(tag=tag)
    with open_session(str(repository.folder / "release.toml"), options, Console()) as session:
        return versions.notes(session, stream, write=write)


def lines(repository: GitFolder, tag: str | None = None, **options: Any) -> list[str]:
    """The lines of the notes that are not blank, without hashes."""
    text: str = noted(repository, tag, **options)["notes"]
    return [SHA.sub("", line).rstrip() for line in text.splitlines() if line]


def before(found: list[str], heading: str) -> list[str]:
    return found[: found.index(heading)]


def rewrite(path: Path, **values: Any) -> None:
    """Change a JSON file, or begin it."""
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    path.write_text(json.dumps(known | values), encoding="utf-8")


# Commits


def test_groups(released: GitFolder) -> None:
    """Commits stand by type, breaking changes first, the newest of a type at the top."""
    for message in (
        *("ci: pipelines", "docs: words", "fix: one", "fix(hub): two", "feat: three", "perf: four", "Five"),
        *("wild: six", "feat(a,b): seven\n\nBREAKING CHANGE: new\n  names", "feat!: eight"),
    ):
        released.commit(message)
    assert before(lines(released), "### Model") == [
        *("### Breaking changes", "- eight", "- **a, b:** new names"),
        *("### Added", "- **a, b:** seven", "- three"),
        *("### Changed", "- Five", "- four"),
        *("### Fixed", "- **hub:** two", "- one"),
        *("### Documentation", "- words"),
        *("### Maintenance", "- six", "- pipelines"),
    ]


def test_breaking_changes_alone(released: GitFolder) -> None:
    """Where every commit is a breaking change, nobody is told that there are no commits."""
    released.commit("feat!: eight")
    assert before(lines(released), "### Model") == ["### Breaking changes", "- eight"]


def test_no_commits(released: GitFolder) -> None:
    """Without a commit since the last release, the notes say so."""
    document = noted(released)
    assert document["notes"].startswith("No changes since v1.0.0.\n")
    assert (document["since"], document["commits"], document["tag"]) == ("v1.0.0", 0, None)


def test_reverts(released: GitFolder) -> None:
    """The revert of what was released is told, by what it takes back; of what was not, neither of the two is."""
    released.write("data/a")
    released.commit("feat(hub): one")
    released.git("revert", "--no-edit", "HEAD")
    assert before(lines(released), "### Model") == ["No changes since v1.0.0."]
    released.git("revert", "--no-edit", "HEAD")
    released.tag("v1.1.0")
    released.git("revert", "--no-edit", "HEAD~2")
    assert before(lines(released), "### Model") == ["### Reverted", "- **hub:** one"]


def test_references(released: GitFolder) -> None:
    """Issues that a commit closes are named, once."""
    released.commit("fix: one\n\nCloses #12, #3")
    released.commit("fix: two (#123)\n\nCloses #12")
    released.commit("fix: three (#4)\n\nCloses #4")
    assert before(lines(released), "### Model") == [
        "### Fixed",
        "- three (#4)",
        "- two (#123) (#12)",
        "- one (#12, #3)",
    ]


def test_odd_messages(released: GitFolder) -> None:
    """Whatever a commit says stays on its line, and begins no HTML, table or code."""
    released.commit("fix: a | b `c` <script> größe\tx")
    released.commit("fix: x\n\nBREAKING CHANGE: one\n\n## two\n- three")
    found = before(lines(released), "### Model")
    assert found == [
        *("### Breaking changes", "- one ## two - three", "### Fixed", "- x"),
        "- a \\| b \\`c\\` &lt;script&gt; größe x",
    ]


def test_links(released: GitFolder) -> None:
    """Where the remote has pages, commits and the comparison are linked; a secret in its address is not."""
    sha = released.commit("feat: one")
    plain = noted(released, "v1.1.0")["notes"]
    assert f"- one ({sha[:7]})\n" in plain
    assert "http" not in plain
    released.git("remote", "add", "origin", "https://ada:SECRET@github.com/acme/model.git")
    text = noted(released, "v1.1.0")["notes"]
    assert f"- one ([{sha[:7]}]({GITHUB}/commit/{sha}))\n" in text
    assert f"[All changes]({GITHUB}/compare/v1.0.0...v1.1.0)" in text
    assert "SECRET" not in text
    assert "compare" not in noted(released)["notes"]


def test_remote_without_pages(released: GitFolder, tmp_path: Path) -> None:
    """A remote on the disk has no pages to link to."""
    released.git("remote", "add", "origin", str(tmp_path))
    released.commit("feat: one")
    assert "](" not in noted(released, "v1.1.0")["notes"]


def test_contributors(released: GitFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Authors and co-authors are named once each, by the names that .mailmap gives them."""
    released.commit("feat: one\n\nCo-authored-by: bob <bob@example.org>\nCo-authored-by: Zoë <z@example.org>")
    monkeypatch.setenv("GIT_AUTHOR_NAME", "bob")
    released.commit("feat: two")
    monkeypatch.setenv("GIT_AUTHOR_NAME", "C.")
    monkeypatch.setenv("GIT_AUTHOR_EMAIL", "c@example.org")
    released.write(".mailmap", "Carl <c@example.org>\n")
    released.commit("feat: three")
    document = noted(released)
    assert document["contributors"] == ["Ada", "bob", "Carl", "Zoë"]
    assert "Contributors: Ada, bob, Carl, Zoë.\n" in document["notes"]


@pytest.mark.parametrize(
    ("path", "listed"),
    [
        (f"adapters/{RUN}/README.md", True),
        ("models/base/config.json", True),
        ("release.toml", True),
        ("templates/notes.md.j2", True),
        ("data/train.jsonl", True),
        ("tests.jsonl", True),
        ("train.py", False),
        ("adapters.py", False),
        ("CHANGELOG.md", False),
    ],
)
def test_what_concerns_the_model(released: GitFolder, path: str, listed: bool) -> None:
    """Commits that touch neither run, base, policy nor data are told by their number."""
    more = '[bases."acme/base"]\npath = "models/base"\n[evaluate]\nfile = "tests.jsonl"\nscore = "exact"\n'
    released.write("release.toml", POLICY + more)
    released.commit("chore: policy")
    released.tag("v1.0.1")
    text = "{{ notes.folded }}" if path.startswith("templates") else f"{POLICY}{more}# more\n"
    released.write(path, text if path.endswith((".toml", ".j2")) else "{}\n")
    released.commit("feat: one")
    found = lines(released)
    if path.startswith("templates"):
        assert found == ["0"]
    else:
        assert ("- one" in found) is listed
        assert ("1 commit touches neither run, base model, policy nor data." in found) is not listed


def test_folded(released: GitFolder) -> None:
    """All others are one line, but for what breaks something; their authors are contributors all the same."""
    for number, message in enumerate(("feat: one", "fix: two", "Three", "feat!: four")):
        released.write(f"train{number}.py")
        released.commit(message)
    released.write("data/train.jsonl")
    released.commit("feat: more data")
    assert before(lines(released), "### Model") == [
        *("### Breaking changes", "- four", "### Added", "- more data"),
        "3 commits touch neither run, base model, policy nor data.",
    ]


def test_data_of_the_policy(released: GitFolder) -> None:
    """The policy says where the data is."""
    released.write("release.toml", POLICY + '[versions]\ndata = ["corpus", "*.parquet"]\n')
    released.commit("chore: policy")
    for path in ("corpus/a", "b.parquet", "data/c"):
        released.write(path)
        released.commit(f"feat: {path}")
    assert lines(released)[:3] == ["### Added", "- b.parquet", "- corpus/a"]


# The model


def test_same_model(released: GitFolder) -> None:
    """A model that did not change is told as the last release's; one that did by what changed."""
    released.write("train.py")
    released.commit("feat: one")
    found = lines(released)
    assert found[found.index("### Model") + 1] == "The model is that of v1.0.0."
    run = released.folder / "adapters" / RUN
    (run / "adapter_model.safetensors").write_bytes(b"other")
    (run / "chat_template.jinja").write_text("{{ messages }}")
    rewrite(run / "adapter_config.json", lora_alpha=32, target_modules=["q"])
    released.commit("feat: train again")
    found = lines(released)
    assert found[found.index("### Model") + 1 :][:4] == [
        "- the chat template changed",
        '- the adapter\'s target_modules is ["q"], and was null',
        "- the adapter's weights changed",
        "- base model: microsoft/Phi-3-mini-4k-instruct",
    ]
    assert "- alpha: 32 (was 64)" in found


def test_card_notes(released: GitFolder) -> None:
    """The card tells its readers of the model: what else happened is a number, also where it breaks something."""
    released.write("train.py")
    released.commit("feat!: one")
    released.write("data/train.jsonl")
    released.commit("feat!: answers in JSON")
    with open_session(str(released.folder / "release.toml"), Options(), Console()) as session:
        stream = session.config.streams[0]
        run = released.folder / "adapters" / RUN
        coming = gather(session.config, session.repository, stream, session.repository.head(), run=run)
        text = render_notes(make_notes(coming, None, session.now), session.templates, CARD_NOTES)
    assert text == (
        "The model is that of v1.0.0.\n\n- **Breaking:** answers in JSON\n"
        "- 1 commit of the repository, which touches neither run, base model, policy nor data\n"
    )


def test_model(released: GitFolder, write_run: WriteRun) -> None:
    """The model's base, rank, data and metrics are told, each with what it was where that is another value."""
    run = released.folder / "adapters" / RUN
    metadata = {"dataset": {"name": "minimal", "rows": 9}, "epochs": 20, "eval_loss": 0.5, "duration": 5}
    rewrite(run / "experiment_metadata.json", **metadata)
    released.commit("docs: record")
    released.tag("v1.0.1")
    rewrite(
        run / "experiment_metadata.json",
        eval_loss=0.25,
        train_loss=1e-7,
        note="fine",
        metrics={"exact match": 0.75, "passed": True, "name": "x"},
    )
    rewrite(run / "adapter_config.json", r=64, revision="abc")
    released.commit("feat: better")
    found = lines(released)
    assert found[found.index("### Model") :] == [
        "### Model",
        "- base model: microsoft/Phi-3-mini-4k-instruct at abc (was microsoft/Phi-3-mini-4k-instruct)",
        f"- run: {RUN}",
        "- rank: 64 (was 32)",
        "- alpha: 64",
        "- dataset: minimal",
        "- epochs: 20",
        "- eval_loss: 0.25 (was 0.5)",
        "- train_loss: 1e-07",
        "- exact match: 0.75",
        "- passed: True",
        "Contributors: Ada.",
    ]


def test_first_model(project: GitFolder) -> None:
    """Before the first release the model is told without what it was."""
    found = lines(project)
    assert "- rank: 32" in found
    assert not any("(was" in line for line in found)


def test_old_model(released: GitFolder, write_run: WriteRun) -> None:
    """The notes of an old tag tell the model of their own time."""
    later = RUN.replace("20250914", "20251001")
    shutil.rmtree(released.folder / "adapters" / RUN)
    write_run(released.folder / "adapters" / later, rank=8)
    released.commit("feat: new run")
    released.tag("v2.0.0")
    assert f"- run: {RUN}" in lines(released, "v1.0.0")
    assert f"- run: {later} (was {RUN})" in lines(released, "v2.0.0")


def test_without_runs(repository: GitFolder) -> None:
    """Where there is no training run, nothing is told of a model."""
    repository.write("release.toml", POLICY)
    repository.commit("feat: begin")
    assert lines(repository) == ["### Added", "- begin", "Contributors: Ada."]


# Artifacts


def test_artifacts(released: GitFolder) -> None:
    """The archives of a release that are here are told with their sizes and checksums; another's are not."""
    dist = released.folder / "dist"
    dist.mkdir()
    sums = []
    for form, version in (("vllm", "v1.0.0"), ("lora", "v0.9.0")):
        path = dist / f"{form}-{RUN}-{version}.tar.gz"
        path.write_bytes(b"x" * 1500)
        sums.append(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n")
    (dist / "SHA256SUMS").write_text("".join(sums), encoding="utf-8")
    (dist / f"ollama-q4_k_m-{RUN}-v1.0.0.tar.gz").write_bytes(b"without a checksum")
    found = [line for line in lines(released, "v1.0.0") if line.startswith("|")]
    digest = hashlib.sha256(b"x" * 1500).hexdigest()
    assert found[2:] == [f"| vllm-{RUN}-v1.0.0.tar.gz | 1.5 kB | `{digest}` |"]


# Versions and streams


def test_since_the_last_final_version(released: GitFolder) -> None:
    """A prerelease's notes follow the version before it; a final version's go back to the last final one."""
    for number, message in enumerate(("feat: one", "feat: two"), start=1):
        released.commit(message)
        released.tag(f"v1.1.0-rc.{number}")
    released.commit("fix: three")
    released.tag("v1.1.0")
    since = {tag: noted(released, tag) for tag in ("v1.1.0-rc.1", "v1.1.0-rc.2", "v1.1.0", "v1.2.0")}
    assert {tag: (it["since"], it["commits"]) for tag, it in since.items()} == {
        "v1.1.0-rc.1": ("v1.0.0", 1),
        "v1.1.0-rc.2": ("v1.1.0-rc.1", 1),
        "v1.1.0": ("v1.0.0", 3),
        "v1.2.0": ("v1.1.0", 0),
    }


def test_tag_to_come(released: GitFolder) -> None:
    """A tag that is not there yet has the notes of what HEAD would be as it."""
    released.commit("feat: one")
    document = noted(released, "v1.1.0")
    assert (document["tag"], document["version"], document["since"], document["commits"]) == (
        *("v1.1.0", "1.1.0", "v1.0.0"),
        1,
    )


def test_tag_that_is_there(released: GitFolder) -> None:
    """A tag that is there has the notes up to its own commit."""
    released.commit("feat: one")
    released.tag("v1.1.0")
    released.commit("feat: two")
    assert "- one" in lines(released, "v1.1.0")
    assert "- two" not in lines(released, "v1.1.0")


def test_first_notes(project: GitFolder) -> None:
    """Without a release before it, the notes have every commit."""
    project.commit("feat: one")
    document = noted(project)
    assert (document["since"], document["commits"]) == (None, 2)


def test_streams(project: GitFolder) -> None:
    """The notes of a format's stream have its commits alone, and those of the others none of them."""
    project.write(
        "release.toml", POLICY.replace("[formats.ollama]\n", '[formats.ollama]\nstream = "ollama-v{version}"\n')
    )
    project.commit("chore: streams")
    project.tag("v1.0.0")
    project.tag("ollama-v1.0.0")
    project.commit("feat(ollama): one")
    project.commit("feat(vllm): two")
    project.commit("feat: three")
    assert before(lines(project), "### Model")[1:] == ["- three", "- **vllm:** two"]
    for options in ({"tag": "ollama-v1.1.0"}, {"stream": "ollama"}):
        assert before(lines(project, **options), "### Model")[1:] == ["- three", "- **ollama:** one"]


def test_tag_of_no_stream(released: GitFolder) -> None:
    """A tag of no stream has no notes: it is told why, and what was probably meant."""
    with pytest.raises(UsageError, match=r"'v1\.2' is no version tag") as caught:
        noted(released, "v1.2")
    assert caught.value.remedy == "did you mean v1.2.0?"


def test_shallow_clone(released: GitFolder, tmp_path: Path) -> None:
    """In a shallow clone, missing history is said with the command that fetches it; nothing is written."""
    released.commit("feat: one")
    released.tag("v1.1.0")
    released.git("clone", "--quiet", "--depth=1", f"file://{released.folder}", str(tmp_path / "clone"))
    clone = GitFolder(folder=tmp_path / "clone")
    for options in ({"tag": "v1.1.0"}, {"tag": "v1.1.0", "write": True}):
        with pytest.raises(ReleaseError, match="this clone is shallow") as caught:
            noted(clone, **options)
        assert "git fetch --unshallow --tags" in str(caught.value.remedy)
    assert not (clone.folder / "CHANGELOG.md").exists()
    assert noted(clone)["commits"] == 0
    clone.git("fetch", "--quiet", "--unshallow", "--tags")
    assert noted(clone, "v1.1.0")["commits"] == 1


# The template, the changelog, the tag


def test_own_template(released: GitFolder) -> None:
    """A project's own template makes the notes."""
    released.write(
        "templates/notes.md.j2", "{{ notes.tag }} since {{ notes.since.name }}: {{ notes.groups.Added | length }}\n"
    )
    released.commit("feat: one")
    assert noted(released, "v1.1.0")["notes"] == "v1.1.0 since v1.0.0: 1\n"
    released.write("templates/notes.md.j2", "{{ notes.missing }}")
    with pytest.raises(ReleaseError, match=r"the template notes\.md\.j2 cannot be rendered.*missing"):
        noted(released)


def test_changelog(released: GitFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The notes are written under a heading of the next version, and what a person wrote stays, line by line."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(int(datetime(2026, 1, 2, tzinfo=UTC).timestamp())))
    written = "# Changes\r\n\r\n## [Unreleased]\r\n\r\nBy hand.\r\n\r\n## [1.0.0] - 2025-01-01\r\n\r\n- First\r\n"
    (released.folder / "CHANGELOG.md").write_bytes(written.encode())
    released.write("data/train.jsonl")
    released.commit("feat: one")
    document = noted(released, write=True)
    assert document["tag"] == "v1.1.0"
    text = (released.folder / "CHANGELOG.md").read_bytes().decode()
    left = iter(text.split("\r\n"))
    assert all(line in left for line in written.split("\r\n"))
    assert "## [1.1.0] - 2026-01-02\r\n\r\nBy hand.\r\n\r\n### Added\r\n\r\n- one (" in text
    noted(released, "v1.1.0", write=True)
    assert (released.folder / "CHANGELOG.md").read_bytes().decode() == text


def test_changelog_of_an_old_release(released: GitFolder) -> None:
    """The entry of a tag that is there has its commit's date."""
    noted(released, "v1.0.0", write=True)
    assert "## [1.0.0] - 2025-09-15\n" in (released.folder / "CHANGELOG.md").read_text(encoding="utf-8")


def test_changelog_of_a_format(project: GitFolder) -> None:
    """A format with its own stream has its own changelog."""
    project.write(
        "release.toml", POLICY.replace("[formats.ollama]\n", '[formats.ollama]\nstream = "ollama-v{version}"\n')
    )
    noted(project, stream="ollama", write=True)
    assert "## [0.1.0]" in (project.folder / "CHANGELOG-ollama.md").read_text(encoding="utf-8")
    assert not (project.folder / "CHANGELOG.md").exists()


def test_changelog_that_is_no_text(released: GitFolder) -> None:
    """A changelog in another encoding is refused and left as it is."""
    (released.folder / "CHANGELOG.md").write_bytes(b"gr\xf6\xdfer\n")
    with pytest.raises(ReleaseError, match="is not UTF-8"):
        noted(released, "v1.1.0", write=True)
    assert (released.folder / "CHANGELOG.md").read_bytes() == b"gr\xf6\xdfer\n"


def test_message_of_a_tag(released: GitFolder) -> None:
    """A tag's message is its notes, unless another one is given."""
    released.write("release.toml", POLICY + '[checks]\nchangelog = "off"\n')
    released.commit("feat: one")
    notes = noted(released, "v1.1.0")["notes"]
    with open_session(str(released.folder / "release.toml"), Options(), Console()) as session:
        versions.tag(session, "v1.1.0", message=None, push=False, dry_run=False)
        versions.tag(session, "v1.2.0", message="By hand", push=False, dry_run=False)
    assert released.git("tag", "--list", "--format=%(contents)", "v1.1.0") == f"Release v1.1.0\n\n{notes}".strip()
    assert released.git("tag", "--list", "--format=%(contents)", "v1.2.0") == "By hand"
