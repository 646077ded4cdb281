"""The verbs that look after what was published, in a project whose Hub is embedded."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd
from tagship.cli import published
from tagship.cli.session import Session, open_session
from tagship.cli.shell import Refusal
from tagship.cli.status import lines_of, status
from tagship.hub.connection import Hub
from tagship.release.options import Options
from tagship.system.console import Console
from tagship.system.errors import ReleaseError, UsageError

from tests.conftest import POLICY, GitFolder
from tests.published.conftest import Releases

VLLM = "acme/phi3mini4k-minimal-vllm-{}"

pytestmark = pytest.mark.usefixtures("quiet_client")


@pytest.fixture
def folder(repository: GitFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GitFolder:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    repository.write("release.toml", POLICY)
    repository.commit("Begin")
    return repository


@contextmanager
def opened(folder: GitFolder, **options: Any) -> Iterator[Session]:
    with open_session(str(folder.folder / "release.toml"), Options(**options), Console(interactive=False)) as session:
        yield session


@pytest.fixture
def released(folder: GitFolder, tmp_path: Path) -> GitFolder:
    """Two versions on the project's own Hub."""
    with opened(folder) as session, session.hub() as hub:
        releases = Releases(api=hub.api, hub=Hub(lambda: hub.api, embedded=False), folder=tmp_path / "made")
        for tag in ("v1.0.0", "v2.0.0"):
            releases.put(VLLM.format(tag), tag)
    return folder


def test_audit(released: GitFolder) -> None:
    """All of a namespace, what a tag released, or one repo; a difference is a refusal."""
    with opened(released) as session:
        assert [each["tag"] for each in published.audit(session, None)["releases"]] == ["v1.0.0", "v2.0.0"]
        assert published.audit(session, VLLM.format("v1.0.0").removeprefix("acme/"))["ok"]
        with session.hub() as hub:
            hub.api.delete_file("model.safetensors", VLLM.format("v2.0.0"))
        found = published.audit(session, VLLM.format("v2.0.0"))
        assert isinstance(found, Refusal) and not found["ok"]
    with opened(released, tag="v1.0.0") as session:
        assert [each["repo"] for each in published.audit(session, None)["releases"]] == [VLLM.format("v1.0.0")]
        with pytest.raises(ReleaseError, match=r"nothing of acme/.* was released as v1\.0\.0"):
            published.audit(session, VLLM.format("v2.0.0"))


def test_rollback(released: GitFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """A plan first; --yes applies it; then there is nothing to do. A tag of no version is a mistake."""
    with opened(released) as session:
        planned = published.rollback(session, "v1.0.0", yes=False, create_pr=False)
        assert not planned["applied"] and [change["repo"] for change in planned["changes"]] == [VLLM.format("v2.0.0")]
        applied = published.rollback(session, "v1.0.0", yes=True, create_pr=False)
        assert applied["applied"]
        assert all(change["url"].startswith("http://127.0.0.1:8765/acme/") for change in applied["changes"])
        assert published.rollback(session, "v1.0.0", yes=True, create_pr=False)["changes"] == []
        assert "--yes does it" in capsys.readouterr().err
        for tag, words in ((None, "which release"), ("main", "is no version tag")):
            with pytest.raises(UsageError, match=words):
                published.rollback(session, tag, yes=True, create_pr=False)


def test_matrix(released: GitFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table, Markdown or a page on standard output, or in a file; with --json nothing else is there."""
    with opened(released) as session:
        document = published.matrix(session, None, None, json=False)
        assert capsys.readouterr().out.splitlines() == [
            "phi3mini4k-minimal",
            "  version  vllm",
            "  v2.0.0   live, latest",
            "  v1.0.0   live",
        ]
        published.matrix(session, True, None, json=False)
        page = capsys.readouterr().out
        assert (
            page.startswith("<!doctype html>")
            and document["models"][0]["versions"][0]["formats"]["vllm"]["url"] in page
        )
        published.matrix(session, None, str(tmp_path / "m.md"), json=False)
        assert "| v1.0.0 | [live](http://127.0.0.1:8765/" in (tmp_path / "m.md").read_text()
        capsys.readouterr()
        published.matrix(session, None, None, json=True)
        assert capsys.readouterr().out == ""


def test_matrix_in_a_narrow_terminal(
    released: GitFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table that is wider than the terminal has a line for each format of each version; what fits stays a table."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    with opened(released) as session:
        told = {}
        for columns in ("22", "23"):
            monkeypatch.setenv("COLUMNS", columns)
            published.matrix(session, None, None, json=False)
            told[columns] = capsys.readouterr().out.splitlines()
    assert told["23"][1:3] == ["  version  vllm", "  v2.0.0   live, latest"]
    narrow = ["phi3mini4k-minimal", "  v2.0.0", "    vllm  live, latest", "  v1.0.0", "    vllm  live"]
    assert told["22"] == narrow


def test_mistakes_in_options(released: GitFolder, tmp_path: Path) -> None:
    """Each is a mistake in the options, told as that."""
    with opened(released, formats=("bogus",)) as session:
        with pytest.raises(UsageError, match="unknown format 'bogus'"):
            published.rollback(session, "v1.0.0", yes=False, create_pr=False)
        with pytest.raises(UsageError, match="both go to standard output"):
            published.matrix(session, True, True, json=False)
        with pytest.raises(UsageError, match="cannot be written"):
            published.matrix(session, str(tmp_path), None, json=False)
        for name in ("", "a/b/c"):
            with pytest.raises(UsageError, match="is no repository"):
                published.audit(session, name)


def test_damaged(released: GitFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """A release that cannot be read makes an audit fail, and is left alone by a rollback, which says so."""
    repo = VLLM.format("v2.0.0")
    with opened(released) as session:
        with session.hub() as hub:
            operation = CommitOperationAdd("release.json", b"{")
            commit = hub.api.create_commit(repo, [operation], commit_message="spoil").oid
            hub.api.delete_tag(repo, tag="v2.0.0")
            hub.api.create_tag(repo, tag="v2.0.0", revision=commit)
        found = published.audit(session, None)
        assert isinstance(found, Refusal)
        assert [each["ok"] for each in found["releases"]] == [True, False]
        assert published.rollback(session, "v1.0.0", yes=True, create_pr=False)["changes"] == []
        assert f"{repo} is left as it is" in " ".join(capsys.readouterr().err.split())


def test_status(released: GitFolder) -> None:
    """What is published, by model and version; what cannot be seen is said."""
    with opened(released) as session:
        document = status(session)
    assert [version["name"] for version in document["models"][0]["versions"]] == ["v2.0.0", "v1.0.0"]
    assert document["runs"] is None
    assert document["unseen"] == ["CI runs are not seen: there is no remote origin"]
    released.git("remote", "add", "origin", "/srv/models.git")
    with opened(released) as session:
        assert status(session)["unseen"] == [
            "CI runs are not seen: the remote origin is /srv/models.git, which is on no forge"
        ]
    assert "    v2.0.0             2025-09-15  vllm" in list(lines_of(document))
    with opened(released) as session:
        published.rollback(session, "v1.0.0", yes=True, create_pr=False)
        document = status(session)
    assert [version["withdrawn"] for version in document["models"][0]["versions"]] == [["vllm"], []]
    assert "    v2.0.0             2025-09-15  vllm  withdrawn" in list(lines_of(document))


def test_nothing_published(folder: GitFolder) -> None:
    """No Hub is started for it."""
    with opened(folder) as session:
        assert published.matrix(session, None, None, json=True)["models"] == []
        for ask in (published.audit, lambda s, _: published.rollback(s, "v1.0.0", yes=False, create_pr=False)):
            with pytest.raises(ReleaseError, match="nothing was published yet"):
                ask(session, None)
    assert not (folder.folder / ".tagship/hub").exists()
