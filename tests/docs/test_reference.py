"""docs/reference/ is what the program says of itself."""

from typing import Any

import pytest
from tagship.cli.program import collection
from tagship.formats.registry import shipped_names
from tagship.policy.schema import keys_of, schema_of

from docs.site import reference


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return reference.pages()


def test_pages_are_up_to_date(pages: dict[str, str]) -> None:
    """`python -m docs.site.reference` was run after the last change, and there is no page that it does not write."""
    assert {path.name: path.read_text(encoding="utf-8") for path in reference.FOLDER.iterdir()} == pages


def test_every_option_of_every_task_is_there(pages: dict[str, str]) -> None:
    """A task has a heading, and each of its options a row below it."""
    sections = dict(part.split("\n", 1) for part in pages["tasks.md"].split("\n### ")[1:])
    arguments = {name: task.get_arguments() for name, task in collection().tasks.items()}
    assert list(sections) == list(arguments)
    for name, taken in arguments.items():
        rows = [line for line in sections[name].splitlines() if line.startswith("| `--")]
        assert len(rows) == len(taken), name


def test_every_key_is_there(pages: dict[str, str]) -> None:
    """Every key that release.toml may have has a row, and the tables are headings."""
    page = pages["release-toml.md"]
    keys = {key for key in keys_of(schema_of(shipped_names())) if "." in key}
    listed = {line.split("`")[1].replace("[]", "") for line in page.splitlines() if line.startswith("| `")}
    assert listed == keys


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"type": "string"}, "string"),
        ({"type": "integer", "minimum": 1}, "integer from 1"),
        ({"type": "number", "minimum": 0, "maximum": 1}, "number from 0 to 1"),
        ({"type": "array", "items": {"type": "string"}}, "list of strings"),
        ({"type": "array", "items": {"enum": ["export", "publish"]}}, 'list of `"export"`, `"publish"`'),
        ({"enum": ["required", "warn", "off"]}, 'one of `"required"`, `"warn"`, `"off"`'),
    ],
)
def test_types_are_told_in_words(schema: dict[str, Any], kind: str) -> None:
    """What a value may be is said without JSON Schema."""
    assert reference._kind(schema) == kind


def test_a_field_without_a_meaning_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """A field that was added to the manifest, and is not told of, ends the making of the pages with its name."""
    told = reference._MEANINGS.read_text(encoding="utf-8")
    (tmp_path / "manifest.toml").write_text(told.replace('"repo_id" =', '"repo" ='), encoding="utf-8")
    monkeypatch.setattr(reference, "_MEANINGS", tmp_path / "manifest.toml")
    with pytest.raises(ValueError, match="differ in repo, repo_id"):
        reference.pages()
