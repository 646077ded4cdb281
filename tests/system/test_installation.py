"""Where a copy of tagship came from, by what its installer recorded."""

from pathlib import Path
from typing import Any

import pytest
from tagship.system.installation import how_to_install, installed_from, read_source

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("record", "requirement"),
    [
        ({}, "tagship[gguf]==0.1.0"),
        (
            {"url": "https://github.com/acme/tagship.git", "vcs_info": {"vcs": "git", "commit_id": COMMIT}},
            f"tagship[gguf] @ git+https://github.com/acme/tagship.git@{COMMIT}",
        ),
        (
            {
                "url": "https://me:secret@git.example.org/t",
                "vcs_info": {"vcs": "git", "commit_id": COMMIT},
                "subdirectory": "py",
            },
            f"tagship[gguf] @ git+https://git.example.org/t@{COMMIT}#subdirectory=py",
        ),
        (
            {"url": "ssh://git@github.com/acme/t", "vcs_info": {"vcs": "git", "commit_id": COMMIT}},
            f"tagship[gguf] @ git+ssh://git@github.com/acme/t@{COMMIT}",
        ),
        (
            {"url": "https://example.org/tagship-0.1.0.whl", "archive_info": {"hashes": {"sha256": "ab"}}},
            "tagship[gguf] @ https://example.org/tagship-0.1.0.whl#sha256=ab",
        ),
        ({"url": "file:///srv/my%20clone", "dir_info": {"editable": True}}, None),
        ({"url": "file:///srv/tagship-0.1.0.whl", "archive_info": {}}, None),
    ],
)
def test_source(record: dict[str, Any], requirement: str | None) -> None:
    """An address keeps its commit or digest, and loses a password; a version is of an index; what is on this machine
    alone is told as its path."""
    source = read_source("0.1.0", record)
    assert source.requirement("gguf") == requirement
    if requirement is None:
        assert source.path in (Path("/srv/my clone"), Path("/srv/tagship-0.1.0.whl"))


def test_nobody_is_told_the_name_alone() -> None:
    """What is missing is installed from where this copy came, whatever else an index calls tagship."""
    assert installed_from() is not None
    line = how_to_install("gguf")
    assert line.startswith("pip install ") and "[gguf]" in line
    assert "==" in line or "/" in line
