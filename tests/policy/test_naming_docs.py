"""docs/naming.md: what it says of the policy is what the policy is."""

import re
from pathlib import Path

import pytest
from tagship.naming.fields import PatternError
from tagship.naming.pattern import Pattern
from tagship.policy.config import Config, load_config
from tagship.policy.versions import CHECKS

from tests.conftest import POLICY

PAGE = Path(__file__).parents[2] / "docs" / "naming.md"
BLOCKS = re.findall(r"^```toml\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def block(*tables: str) -> str:
    """The one example with exactly these tables."""
    (found,) = (block for block in BLOCKS if re.findall(r"^\[(.+?)\]", block, re.MULTILINE) == list(tables))
    return found


def config(folder: Path, *blocks: str) -> Config:
    """The policy of the tests, with more of it."""
    path = folder / "release.toml"
    path.write_text("\n".join((POLICY, *blocks)), encoding="utf-8")
    return load_config(path, {})


@pytest.mark.parametrize("table", ["naming", "naming.older", "tags", "versions"])
def test_what_is_said_to_be_the_default(tmp_path: Path, table: str) -> None:
    """A table that the page gives as the default changes nothing."""
    default = config(tmp_path)
    said = config(tmp_path, block(table))
    assert (said.naming, said.streams, said.versions) == (default.naming, default.streams, default.versions)
    assert [policy.names for policy in said.formats] == [policy.names for policy in default.formats]


def test_checks_of_the_page(tmp_path: Path) -> None:
    """The page names every check, with what it is when a tag is made."""
    assert config(tmp_path, block("checks")).checks.said == {name: level for name, (level, _) in CHECKS.items()}


def test_fields_of_one_s_own(tmp_path: Path) -> None:
    """The page's own fields make a run's pattern."""
    made = config(tmp_path, block("naming.fields", "naming"))
    fields = made.naming.run.parse("phi3-minimal-sft-s100-20250914")
    assert fields is not None and (fields["method"], fields["steps"]) == ("sft", 100)


def test_format_with_versions_of_its_own(tmp_path: Path) -> None:
    """The page's stream of a format is one, with its paths and its changelog."""
    path = tmp_path / "release.toml"
    path.write_text('[project]\nnamespace = "acme"\n[formats.vllm]\n' + block("formats.ollama"), encoding="utf-8")
    made = load_config(path, {})
    assert made.streams[-1].tag_of("1.3.0") == "ollama-v1.3.0"
    assert [policy.name for policy in made.released_by(made.streams[-1])] == ["ollama"]
    assert [policy.name for policy in made.released_by(made.streams[0])] == ["vllm"]


def test_refusal_of_the_page() -> None:
    """The message that the page shows is the one that is given."""
    with pytest.raises(PatternError) as caught:
        Pattern("{base}{dataset}")
    shown = " ".join(PAGE.read_text(encoding="utf-8").split())
    assert str(caught.value) in shown
