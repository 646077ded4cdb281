"""How CI installs the copy of tagship that runs here."""

from pathlib import Path

from tagship.setup.install_line import PLACEHOLDER, install_line
from tagship.system.installation import Source

from tests.conftest import GitFolder


def test_from_where_it_came() -> None:
    """A copy from an address is installed from it; one from an index by its version, which somebody has to look at."""
    pinned = install_line(Source(version="0.1.0", url="git+https://example.org/t@abc"), "gguf")
    assert (pinned.line, pinned.to_do) == ('pip install "tagship[gguf] @ git+https://example.org/t@abc"', None)
    assert install_line(Source(version="0.1.0"), "").line == 'pip install "tagship==0.1.0"'
    indexed = install_line(Source(version="0.1.0"), "gguf")
    assert indexed.line == 'pip install "tagship[gguf]==0.1.0"' and "--index-url" in str(indexed.to_do)


def test_from_a_clone(repository: GitFolder, tmp_path: Path) -> None:
    """A clone whose commit is on its remote stands for the remote; before that CI cannot have it, which is told."""
    source = Source(version="0.1.0", path=repository.folder, editable=True)
    sha = repository.commit("start")
    repository.git("init", "--quiet", "--bare", str(tmp_path / "remote.git"))
    repository.git("remote", "add", "origin", "https://me:secret@git.example.org/acme/tagship.git")
    for_nobody = install_line(source, "gguf")
    assert PLACEHOLDER in for_nobody.line and str(repository.folder) in str(for_nobody.to_do)
    repository.git("update-ref", "refs/remotes/origin/main", sha)
    pushed = install_line(source, "gguf")
    assert (pushed.line, pushed.to_do) == (
        f'pip install "tagship[gguf] @ git+https://git.example.org/acme/tagship@{sha}"',
        None,
    )
    repository.commit("not pushed")
    assert PLACEHOLDER in install_line(source, "gguf").line


def test_from_nowhere(tmp_path: Path) -> None:
    """A copy that was never installed, and a folder that is no clone, are told as that."""
    for source in (None, Source(version="0.1.0", path=tmp_path), Source(version="0.1.0", path=tmp_path / "t.whl")):
        line = install_line(source, "gguf")
        assert PLACEHOLDER in line.line and "REPLACE.invalid" in str(line.to_do)
