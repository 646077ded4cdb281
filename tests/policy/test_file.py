"""Where the policy stands."""

import os
from pathlib import Path

import pytest
from tagship.policy.config import load_config
from tagship.policy.file import policy_file
from tagship.system.errors import UsageError

PROJECT = """
[project]
name = "train"

[tool.tagship.project]
namespace = "acme"
runs = "lora"

[tool.tagship.formats.lora]
"""


def test_table_of_a_pyproject(tmp_path: Path) -> None:
    """`[tool.tagship]` serves as release.toml does, from its own folder."""
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    assert policy_file(tmp_path) == tmp_path / "pyproject.toml"
    config = load_config(policy_file(tmp_path), {})
    assert (config.namespace, config.runs.root, config.file.name) == ("acme", tmp_path / "lora", "pyproject.toml")


def test_mistakes_have_their_whole_key(tmp_path: Path) -> None:
    """A mistake is told by the key that the file has it under."""
    (tmp_path / "pyproject.toml").write_text(PROJECT.replace("runs =", "run ="))
    with pytest.raises(UsageError, match=r"pyproject.toml has 1 mistake:\n  tool.tagship.project.run is unknown"):
        load_config(tmp_path / "pyproject.toml", {})


def test_other_pyprojects(tmp_path: Path) -> None:
    """One without the table, or that is none, is nobody's policy; release.toml is what is missing then."""
    for text in ("", "[tool.ruff]\n", "[broken", "a = " + "[" * 5000):
        (tmp_path / "pyproject.toml").write_text(text)
        assert policy_file(tmp_path) == tmp_path / "release.toml"
    with pytest.raises(UsageError, match=r"no release\.toml in"):
        load_config(policy_file(tmp_path), {})
    (tmp_path / "pyproject.toml").write_text("[tool.ruff]\n")
    with pytest.raises(UsageError, match=r"has no table \[tool\.tagship\]"):
        load_config(tmp_path / "pyproject.toml", {})


def test_two_policies(tmp_path: Path) -> None:
    """Neither is silently the one that counts."""
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "release.toml").write_text('[project]\nnamespace = "other"\n[formats.lora]\n')
    with pytest.raises(UsageError, match=r"release\.toml has a policy, and so has"):
        policy_file(tmp_path)
    assert load_config(tmp_path / "release.toml", {}).namespace == "other"


@pytest.mark.parametrize("text", ["[tool]\ntagship = 3\n", "[tool.tagship.project]\nnamespace = \n"])
def test_table_that_is_none(tmp_path: Path, text: str) -> None:
    """What seems to be the policy, and cannot be read, is told as what it is."""
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(UsageError, match=r"pyproject\.toml (is not valid TOML|has no table)"):
        load_config(policy_file(tmp_path), {})


def test_what_is_no_file(tmp_path: Path) -> None:
    """A pipe is not waited for."""
    os.mkfifo(tmp_path / "release.toml")
    with pytest.raises(UsageError, match="cannot be read: it is no file"):
        load_config(tmp_path / "release.toml", {})
