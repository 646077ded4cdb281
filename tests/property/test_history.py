"""Properties of history: any message is read, no changelog loses a line, no address gives away a secret."""

import re
from datetime import date

from hypothesis import assume, given
from hypothesis import strategies as st
from tagship.history.changelog import entry, insert
from tagship.history.conventional import Part, co_authors, part_of, read_message
from tagship.history.web_links import commit_link, compare_link, web_address
from tagship.system.errors import ReleaseError

PIECES = st.sampled_from(
    [
        *(
            "feat",
            "fix",
            "Note",
            "(",
            ")",
            "!",
            ": ",
            " ",
            "\n",
            "\r\n",
            "\n\n",
            ",",
            "/",
            "#12",
            "GH-3",
            '"',
            "é",
            "\x0c",
        ),
        *('Revert "', 'Reapply "', "fixup! ", "BREAKING CHANGE: ", "BREAKING-CHANGE:", "Closes ", "Refs: ", "text"),
        *("Co-authored-by: Ada <a@b>", "(cherry picked from commit 0)"),
    ]
)
messages = st.text(max_size=60) | st.lists(PIECES, max_size=15).map("".join)

VERSIONS = st.from_regex(r"(ollama-)?v?[0-9]\.[0-9]\.[0-9](-rc\.[0-9])?(\+b[0-9])?", fullmatch=True)
LINES = st.sampled_from(
    [
        *("", "", " ", "# Changelog", "text", "- item", "  - deep", "### Added", "## About", "<!-- c -->", "\ufeff"),
        *("## [Unreleased]", "## unreleased", "## [1.0.0] - 2025-01-01", "## 2.0.0", "## v1.1.1", "## [ollama-v1.0.0]"),
        *("# 1.1.0 (2026-11-01)", "### [1.0.0](https://e.org/compare/v0...v1)", "v1.0.0, 2025-01-01", "-----", "====="),
        *("* Changes in 1.0.0", "**1.0.0**", "# model 1.0.0 (2026-01-01)", '<a name="x"></a>', "> quoted", "## Added"),
        *("[Unreleased]: https://e.org/compare/v1.0.0...HEAD", "---", "model (1.0.0)"),
        *(
            "[1.0.0]: https://example.org",
            "[^1]: note",
            "```",
            "~~~",
            "    ```",
            "- ```",
            "<!--",
            "-->",
            "\x0c",
            "a\u2028b",
        ),
    ]
)
COMMENT = "<!-- c -->"
NEWLINES = st.sampled_from(["\n", "\n", "\r\n"])
changelogs = (
    st.builds(lambda lines, newline, end: newline.join(lines) + end, st.lists(LINES, max_size=14), NEWLINES, NEWLINES)
    | st.builds(lambda lines, newline: newline.join(lines), st.lists(LINES, max_size=14), NEWLINES)
    | st.lists(st.tuples(LINES, NEWLINES).map("".join), max_size=8).map("".join)
    | st.text(max_size=40)
)
# Markdown that ends the blocks that it opens, and has no heading of a version, as notes are.
notes_texts = st.lists(
    st.sampled_from(
        ["### Added", "- item", "  - deep", "", "```\n## 1.0.0\n```", "<!-- c -->", "[a]: b", "\x0c", "    x", "- <!--"]
    ),
    max_size=6,
).flatmap(lambda lines: NEWLINES.map(lambda newline: "\n".join(lines).replace("\n", newline)))


@given(messages)
def test_any_message_is_read(message: str) -> None:
    """Any text is a change, whose parts are as promised."""
    change = read_message(message)
    assert change.type is None or (change.type == change.type.lower() and change.type.strip())
    assert all(scope and scope == scope.strip() for scope in change.scopes)
    assert change.breaking == (change.breaking_note is not None) == (part_of(change) is Part.MAJOR)
    assert "\n" not in change.description
    assert change.description in message
    assert len(set(change.references)) == len(change.references)
    assert all(reference in message for reference in change.references)
    assert all(name and "@" not in name for name in co_authors(message))


@given(
    st.from_regex(r"[a-z]{1,8}", fullmatch=True),
    st.lists(st.from_regex(r"[a-z]{1,5}", fullmatch=True), max_size=3, unique=True),
    st.booleans(),
    st.from_regex(r"[A-Za-z][A-Za-z .:!()]{0,20}[a-z]", fullmatch=True),
)
def test_what_is_written_is_read(type_: str, scopes: list[str], breaking: bool, description: str) -> None:
    """A subject written by the convention gives back what it was written from."""
    scope = f"({', '.join(scopes)})" if scopes else ""
    change = read_message(f"{type_}{scope}{'!' if breaking else ''}: {description}")
    assert (change.type, change.scopes, change.breaking) == (type_, tuple(scopes), breaking)
    assert change.description == description
    undone = read_message(f'Revert "{type_}{scope}: {description}"')
    assert (undone.type, undone.scopes, undone.description) == ("revert", tuple(scopes), description)


def lines_of(text: str) -> list[str]:
    """A text's lines with their ends; the last may have none."""
    return [line for line in text.replace("\n", "\n\0").split("\0") if line]


@given(changelogs, VERSIONS, notes_texts)
def test_changelog_keeps_what_was_written(text: str, version: str, notes: str) -> None:
    """Every line stays, in order and byte for byte; the version is found; a second time changes nothing."""
    assume("\0" not in text)
    try:
        new = insert(text, version, date(2026, 1, 2), notes)
    except ReleaseError as error:
        assert error.remedy
        unclosed = any(block in text for block in ("```", "~~~", "<!--"))
        assert unclosed or re.search("stands first|stands below a version|in an unknown form", str(error))
        return
    # The one line that may change, and does so in its address alone.
    text, kept = (re.sub(r"/compare/\S*?\.\.\.HEAD", "/compare/{}...HEAD", page) for page in (text, new))
    left = iter(lines_of(kept))
    for line in lines_of(text):
        # Only the last line may have got an end, where something follows it.
        assert any(line == kept or (line[-1] != "\n" and kept in (line + "\n", line + "\r\n")) for kept in left)
    if text.strip():
        assert new.endswith("\n") == text.endswith("\n")
    assert insert(new, version, date(2027, 3, 4), notes) == new
    check_entry(text, new, version, notes)


def check_entry(text: str, new: str, version: str, notes: str) -> None:
    """The version's text is what it was, or what stood under Unreleased and the notes."""
    found, before, waiting = entry(new, version), entry(text, version), entry(text, "Unreleased")
    assert found is not None
    if before:
        assert new == text
        return
    shown = [
        line for line in notes.replace("\r\n", "\n").split("\n") if line.strip() and line not in ("[a]: b", COMMENT)
    ]
    # A group that the person began takes the lines of the notes', and keeps its own heading.
    assert all(line.lstrip("# ").casefold() in found.casefold() for line in shown)
    # Links that stand in the middle go on to the new version, too.
    if before is None and "## unreleased" not in text and "[Unreleased]: " not in text and "[1.0.0]: " not in text:
        assert found.startswith(waiting or "")


@given(changelogs, VERSIONS)
def test_any_changelog_is_read(text: str, version: str) -> None:
    """Any text has the version's body or has none, and a body has no blank lines around it."""
    body = entry(text, version)
    if body:
        assert body.split("\n")[0].strip()
        assert body == body.rstrip()
        assert body in text.replace("\r\n", "\n")


hosts = st.sampled_from(["github.com", "gitlab.example.org", "127.0.0.1", "[::1]", "localhost", "git.sr.ht"])
# SECRET is in it whole, so that a part of it is seen in a link.
around = st.text(st.characters(exclude_categories=["Cs"]), max_size=4) | st.text("@:/?#[]\\ %1a.", max_size=5)
secrets = st.builds(lambda a, b, c: f"{a}SECRET{b}SECRET{c}", around, around, around)


@given(
    st.sampled_from(["https", "http", "ssh", "git", "git+ssh", "HTTPS", "ftp"]),
    st.sampled_from(["", "ada:", "SECRET:"]),
    secrets,
    hosts,
    st.sampled_from(["", ":8000", ":22"]),
)
def test_no_secret_in_a_link(scheme: str, user: str, secret: str, host: str, port: str) -> None:
    """No part of a user's name, password or token is in a page's address, however odd."""
    for remote in (f"{scheme}://{user}{secret}@{host}{port}/acme/model.git", f"{user}{secret}@{host}:acme/model.git"):
        web = web_address(remote)
        assert web is None or "secret" not in web.lower()
        assert web is None or "@" not in web


@given(
    st.sampled_from(["https", "ssh", "git"]),
    hosts,
    st.from_regex(r"[a-z0-9-]{1,6}/[a-zA-Z0-9._-]{0,6}x", fullmatch=True),
)
def test_secrets_change_nothing(scheme: str, host: str, path: str) -> None:
    """An address with a user and a secret has the page of the one without."""
    assert web_address(f"{scheme}://{host}/{path}.git") == f"https://{host}/{path}"
    assert web_address(f"{scheme}://ada:S3:c%40ret@{host}/{path}") == f"https://{host}/{path}"


@given(st.text(max_size=40) | st.text("abC@:/\\.[]~?# \n", max_size=25))
def test_any_address_has_a_page_or_none(remote: str) -> None:
    """Any text has a page that is one URL without a password, or none."""
    web = web_address(remote)
    if web is not None:
        assert web.startswith(("https://", "http://"))
        assert web_address(web) == web
        assert not set(web) & set(" \n()<>\"'@?#")


@given(st.text(min_size=1, max_size=10), st.text(min_size=1, max_size=10), hosts)
def test_links_are_urls(old: str, new: str, host: str) -> None:
    """A commit or tag of any name is one segment of a link."""
    for link in (commit_link(f"https://{host}/a/b", new), compare_link(f"https://{host}/a/b", old, new)):
        assert link.isascii()
        assert not set(link.removeprefix(f"https://{host}")) & set(" \n?#()<>")
