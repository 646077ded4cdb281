"""Changelogs: a version's text is found, a version is added, and nothing that a person wrote is changed."""

import re
from datetime import date
from pathlib import Path

import pytest
from tagship.history.changelog import entry, insert
from tagship.system.errors import ReleaseError

DAY = date(2026, 1, 2)
NOTES = "### Fixed\n\n- generated"
OWN = Path(__file__).parents[2] / "CHANGELOG.md"
LINKS = "[Unreleased]: https://example.org/compare/v1.0.0...HEAD\n[1.0.0]: https://example.org/v1.0.0\n"


@pytest.mark.parametrize(
    "heading",
    [
        "## [2.0.0] - 2026-01-02",
        "## [2.0.0]",
        "## 2.0.0",
        "## v2.0.0",
        "## [v2.0.0]",
        "## 2.0.0 - 2026-01-02",
        "## 2.0.0 (2026-01-02)",
        "## 2.0.0: the second",
        "## [2.0.0](https://example.org/v1...v2) (2026-01-02)",
        "## [2.0.0][two] - 2026-01-02 [YANKED]",
        "## [2.0.0 - 2026-01-02]",
        "##\t2.0.0 ##",
        "# 2.0.0",
        "### [2.0.0](https://example.org/v1...v2) (2026-01-02)",
        "## Version 2.0.0 (January 2, 2026)",
        "## Release v2.0.0",
        "## Changes in 2.0.0",
        "## \U0001f680 2.0.0 (2026-01-02)",
        "## **2.0.0** / 2026-01-02",
        "## tagship 2.0.0 (2026-01-02)",
        "## <a name='x'></a>2.0.0",
        "2.0.0 (2026-01-02)\n------------------",
        "v2.0.0\n======",
        '<a name="2.0.0"></a>\n## 2.0.0',
    ],
)
def test_headings(heading: str) -> None:
    """The forms of a version's heading that people and tools write."""
    text = f"# Changelog\n\n## [3.0.0]\n\n- three\n\n{heading}\n\n- two\n\n## [1.0.0]\n\n- one\n"
    assert entry(text, "2.0.0") == entry(text, "v2.0.0") == "- two"
    assert entry(text.replace("\n", "\r\n"), "2.0.0") == "- two"
    assert insert(text, "2.0.0", DAY, NOTES) == text


@pytest.mark.parametrize(
    "heading",
    [
        "## [2.0.0-rc.1]",
        "## [2.0.0+build.7]",
        "## [12.0.0]",
        "## [2.0.01]",
        "## [2.0]",
        "## [2x0y0]",
        "##### [2.0.0]",
        "    ## 2.0.0",
        "- ## 2.0.0",
        "> ## 2.0.0",
        "## Since 2.0.0",
        "## [ollama-v2.0.0]",
        "## other@2.0.0",
        "### 2.0.0 is gone",
        "2.0.0 is gone.",
        "Text, and 2.0.0",
    ],
)
def test_other_headings(heading: str) -> None:
    """Another version, another stream's tag, and what is no heading of a version."""
    assert entry(f"# Changelog\n\n{heading}\n\n- two\n", "2.0.0") is None


def test_exact_version() -> None:
    """A prerelease, a build and a stream's tag have their own text."""
    text = "## [ollama-v1.0.0]\n\na\n\n## [1.0.0+b]\n\nb\n\n## [1.0.0]\n\nc\n\n## [1.0.0-rc.1]\n\nd\n"
    found = [entry(text, version) for version in ("ollama-v1.0.0", "1.0.0+b", "1.0.0", "v1.0.0-rc.1", "vllm-v1.0.0")]
    assert found == ["a", "b", "c", "d", None]


def test_body() -> None:
    """A body ends at the next heading of level 1 or 2, keeps its inner lines, and has no blank lines around it."""
    text = (
        f"## [2.0.0]\n\n \n  - deep\n\n### Fixed\n- x\n\n# Older\n\n## [1.0.0]\n- one [#1]\n\n<!-- links -->\n\n{LINKS}"
    )
    assert entry(text, "2.0.0") == "  - deep\n\n### Fixed\n- x"
    assert entry(text, "1.0.0") == "- one [#1]"


@pytest.mark.parametrize("below", ["", "\n", "\n\n \n", "\n\n## [1.0.0]\n\n- one\n", f"\n\n{LINKS}"])
def test_empty_body(below: str) -> None:
    """A heading with nothing below it has an empty body, which is not the same as no heading."""
    assert entry(f"# Changelog\n\n## [2.0.0]{below}", "2.0.0") == ""


def test_definitions_within_a_section() -> None:
    """Only the definitions that close the file are not of a section; a footnote is text."""
    text = "## [2.0.0]\n\n- see [#1]\n\n[#1]: https://example.org/1\n\n## [1.0.0]\n\n- one[^1]\n\n[^1]: a footnote\n"
    assert entry(text, "2.0.0") == "- see [#1]\n\n[#1]: https://example.org/1"
    assert entry(text, "1.0.0") == "- one[^1]\n\n[^1]: a footnote"


@pytest.mark.parametrize(
    "hidden",
    [
        "```markdown\n## [2.0.0]\n```",
        "~~~\n```\n## [2.0.0]\n~~~",
        "````\n```\n## [2.0.0]\n`````",
        "```\n``` x\n    ```\n## [2.0.0]\n   ```  ",
        "- ```\n  ## [2.0.0]\n  ```",
        "  ```\n## [2.0.0]\n   ```",
        "1. - ~~~\n     ~~~ x\n     ## [2.0.0]\n     ~~~",
        "<!--\n## [2.0.0]\n-->",
        "<!-- ## [2.0.0]\n```\n-->",
        "- <!--\n  ## [2.0.0]\n  -->",
        "<!-- ## [2.0.0] -->",
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_hidden_headings(hidden: str, newline: str) -> None:
    """What looks like a heading in a code block or a comment is none, and the block ends where it ends."""
    text = f"## [3.0.0]\n\n{hidden}\n\n## [1.0.0]\n\n- one\n".replace("\n", newline)
    assert entry(text, "2.0.0") is None
    assert entry(text, "3.0.0") == hidden.rstrip()
    assert entry(text, "1.0.0") == "- one"


@pytest.mark.parametrize(
    "shown",
    ["``` a ` b", "`` x", "- ``` in a bullet\n- x", "- <!--", "text <!--", "<!-- a --> <!--", "> ```", "    ```"],
)
def test_nothing_is_hidden(shown: str) -> None:
    """A line that opens no block, or a block that ends with its list, hides no heading."""
    assert entry(f"{shown}\n\n## [2.0.0]\n\n- two\n", "2.0.0") == "- two"


def test_under_unreleased() -> None:
    """What a person wrote under Unreleased becomes the version's, followed by the notes."""
    text = f"# Changelog\n\n## [Unreleased]\n\n### Added\n\n- by hand\n\n## [1.0.0] - 2025-01-01\n\n- one\n\n{LINKS}"
    assert insert(text, "2.0.0", DAY, NOTES) == (
        "# Changelog\n\n## [Unreleased]\n\n## [2.0.0] - 2026-01-02\n\n### Added\n\n- by hand\n\n"
        "### Fixed\n\n- generated\n\n## [1.0.0] - 2025-01-01\n\n- one\n\n"
        "[Unreleased]: https://example.org/compare/v2.0.0...HEAD\n"
        "[2.0.0]: https://example.org/compare/v1.0.0...v2.0.0\n[1.0.0]: https://example.org/v1.0.0\n"
    )


@pytest.mark.parametrize(
    "heading",
    ["## [Unreleased]", "## Unreleased", "## [unreleased]", "## UNRELEASED", "## [Unreleased](https://x) - 2026-xx-xx"],
)
def test_empty_unreleased(heading: str) -> None:
    """Under an empty Unreleased, in any form, the notes are all of the version."""
    text = f"# Changelog\n\n{heading}\n\n## [1.0.0]\n\n- one\n"
    new = f"# Changelog\n\n{heading}\n\n## [2.0.0] - 2026-01-02\n\n### Fixed\n\n- generated\n\n## [1.0.0]\n\n- one\n"
    assert insert(text, "2.0.0", DAY, NOTES) == new


@pytest.mark.parametrize(
    ("text", "new"),
    [
        ("## [Unreleased]", "## [Unreleased]\n\nH\n\nN"),
        ("## [Unreleased]\n", "## [Unreleased]\n\nH\n\nN\n"),
        ("## [Unreleased]\n- x", "## [Unreleased]\n\nH\n\n- x\n\nN"),
        ("## [Unreleased]\n- x\n## 1.0.0\n", "## [Unreleased]\n\nP\n\n- x\n\nN\n\n## 1.0.0\n"),
        ("## [Unreleased]\n- x\n\n[a]: b", "## [Unreleased]\n\nH\n\n- x\n\nN\n\n[a]: b"),
        ("## [Unreleased]\n[a]: b\n", "## [Unreleased]\n\nH\n\nN\n\n[a]: b\n"),
        ("## [Unreleased]\n- x\n\n\n", "## [Unreleased]\n\nH\n\n- x\n\nN\n\n\n"),
        ("# C\n\n## 1.0.0\n- one", "# C\n\nP\n\nN\n\n## 1.0.0\n- one"),
        ("# C\n## ollama-v1.0.0\n", "# C\n\nH\n\nN\n\n## ollama-v1.0.0\n"),
        ("# C\n\n## About 1.0\n\nx\n\n## v1.0.0\n", "# C\n\n## About 1.0\n\nx\n\nV\n\nN\n\n## v1.0.0\n"),
        ("# C\n\n## 2025-01-01\n", "# C\n\nH\n\nN\n\n## 2025-01-01\n"),
        ("## 1.0.0\n", "P\n\nN\n\n## 1.0.0\n"),
        ("# C\n\nPreamble.\n", "# C\n\nPreamble.\n\nH\n\nN\n"),
        ("# C", "# C\n\nH\n\nN"),
        ("# C\n\n- ``` x\n", "# C\n\nH\n\nN\n\n- ``` x\n"),
        ("# C\n\n[a]: b\n", "# C\n\nH\n\nN\n\n[a]: b\n"),
        ("# C\n\n<!-- links -->\n[a]: b\n", "# C\n\nH\n\nN\n\n<!-- links -->\n[a]: b\n"),
        ("# C\n\n<!-- the end -->\n", "# C\n\n<!-- the end -->\n\nH\n\nN\n"),
        ("# C\n\n## [2.0.0] - 2020\n", "# C\n\n## [2.0.0] - 2020\n\nN\n"),
        ("## 2.0.0\n## 1.0.0\n\n- one\n", "## 2.0.0\n\nN\n\n## 1.0.0\n\n- one\n"),
        ("## Unreleased\n\n- x\n\n## 2.0.0\n\n[a]: b", "## Unreleased\n\n- x\n\n## 2.0.0\n\nN\n\n[a]: b"),
        ("\ufeff## Unreleased\n\n- x\n", "\ufeff## Unreleased\n\nH\n\n- x\n\nN\n"),
    ],
)
def test_places(text: str, new: str) -> None:
    """The place of notes (N) and heading, new (H) or as those that are there (P, V), with the file's line ends."""
    for mark, form in (("H", "## [2.0.0]"), ("P", "## 2.0.0"), ("V", "## v2.0.0")):
        new = re.sub(f"^{mark}$", f"{form} - 2026-01-02", new, flags=re.MULTILINE)
    new = re.sub("^N$", NOTES, new, flags=re.MULTILINE)
    for newline in ("\n", "\r\n"):
        expected = new.replace("\n", newline)
        given = text.replace("\n", newline)
        # A file of one line without an end has no line ends to keep.
        if newline in given or newline == "\n":
            assert insert(given, "2.0.0", DAY, NOTES) == expected
            assert insert(expected, "2.0.0", date(2027, 1, 1), "### Other\n\n- other") == expected


@pytest.mark.parametrize("text", ["", "\n", " "])
def test_empty_file(text: str) -> None:
    """An empty file becomes a changelog."""
    new = insert(text, "2.0.0", DAY, NOTES)
    assert new.lstrip().splitlines() == [
        "# Changelog",
        "",
        "The format is based on [Keep a Changelog](https://keepachangelog.com/en/1.1.0/).",
        "",
        "## [2.0.0] - 2026-01-02",
        "",
        "### Fixed",
        "",
        "- generated",
    ]
    assert entry(new, "2.0.0") == NOTES


def test_no_notes() -> None:
    """Without notes a heading is added once, over what a person wrote."""
    for notes in ("", " \n", "<!-- nothing -->", "[a]: https://example.org"):
        new = insert("## Unreleased\n\n- by hand\n", "2.0.0", DAY, notes)
        assert new == "## Unreleased\n\n## [2.0.0] - 2026-01-02\n\n- by hand\n"
        empty = insert("## Unreleased\n", "2.0.0", DAY, notes)
        assert empty == "## Unreleased\n\n## [2.0.0] - 2026-01-02\n"
        assert insert(empty, "2.0.0", DAY, notes) == empty


def test_other_streams_version() -> None:
    """The same version of another stream is another version."""
    text = insert("# C\n\n## [ollama-v1.0.0] - 2025-01-01\n\n- other\n", "1.0.0", DAY, "- mine")
    assert entry(text, "1.0.0") == "- mine"
    assert entry(text, "ollama-v1.0.0") == "- other"


@pytest.mark.parametrize("opening", ["```", "~~~~ x\n~~~", "<!-- x", "```\n    ```\n```` x"])
def test_unclosed_block(opening: str) -> None:
    """A block without an end is an error where it would swallow the version, with its line, and only there."""
    for text in (f"# C\n\n{opening}\n", f"## Unreleased\n\n{opening}\n\n## 1.0.0\n"):
        with pytest.raises(ReleaseError, match="line 3 ") as caught:
            insert(text, "2.0.0", DAY, NOTES)
        assert caught.value.remedy
    below = f"## Unreleased\n\n- x\n\n## 1.0.0\n\n{opening}\n"
    assert entry(insert(below, "2.0.0", DAY, NOTES), "2.0.0") == f"- x\n\n{NOTES}"


def test_own_changelog() -> None:
    """This project's own changelog takes its next versions, and keeps every line."""
    text = OWN.read_text(encoding="utf-8")
    first = insert(text, "98.0.0", DAY, NOTES)
    second = insert(first, "99.0.0", DAY, "- later")
    by_hand = entry(text, "Unreleased")
    assert entry(first, "98.0.0") == entry(second, "98.0.0") == f"{by_hand}\n- generated"
    assert entry(second, "99.0.0") == "- later"
    assert entry(second, "Unreleased") == ""
    added = {"## [98.0.0] - 2026-01-02", "## [99.0.0] - 2026-01-02", "- generated", "- later"}
    kept = [line for line in second.split("\n") if line and line not in added]
    assert kept == [line for line in text.split("\n") if line and line not in added]
