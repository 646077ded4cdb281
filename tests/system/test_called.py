"""The name of the program in messages."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import tagship
from tagship.cli.program import collection
from tagship.system.called import called


@pytest.mark.parametrize(
    ("first", "name"),
    [
        ("/usr/bin/tagship", "tagship"),
        ("tagship", "tagship"),
        ("/venv/bin/invoke", "invoke"),
        ("inv", "invoke"),
        ("", "invoke"),
    ],
)
def test_called(monkeypatch: pytest.MonkeyPatch, first: str, name: str) -> None:
    """It is the one that was called; whoever calls the functions themselves has Invoke."""
    monkeypatch.setattr(sys, "argv", [first, "release"])
    assert called() == name


def spoken(tree: ast.Module) -> Iterator[str]:
    """The texts of a module but for its docstrings."""
    documented = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documented:
            yield node.value


def test_messages_say_what_was_called() -> None:
    """No text of the program says `invoke` where it was perhaps called by its other name."""
    named = re.compile(rf"\binvoke (--help )?({'|'.join(collection().tasks)})\b")
    folder = Path(tagship.__path__[0])
    found = [
        f"{path.relative_to(folder)}: {text}"
        for path in sorted(folder.rglob("*.py"))
        if "_shipped" not in path.parts
        for text in spoken(ast.parse(path.read_text(encoding="utf-8")))
        if named.search(text)
    ]
    assert found == []
