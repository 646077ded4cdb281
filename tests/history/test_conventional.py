"""Commit messages by Conventional Commits 1.0.0: what they say, and which part of the version they raise."""

import pytest
from tagship.history.conventional import Change, Part, co_authors, part_of, read_message


@pytest.mark.parametrize(
    ("subject", "type_", "scopes", "breaking", "description"),
    [
        ("feat: add it", "feat", (), False, "add it"),
        ("fix(ollama): mend it", "fix", ("ollama",), False, "mend it"),
        ("fix(ollama, vllm): mend both", "fix", ("ollama", "vllm"), False, "mend both"),
        ("fix(ollama/vllm): mend both", "fix", ("ollama", "vllm"), False, "mend both"),
        ("fix(a,,a/ b): mend", "fix", ("a", "b"), False, "mend"),
        ("fix(): mend", "fix", (), False, "mend"),
        ("fix(model card): mend", "fix", ("model card",), False, "mend"),
        ("feat!: drop it", "feat", (), True, "drop it"),
        ("refactor(api)!: rename", "refactor", ("api",), True, "rename"),
        ("feat!(api, hub): mark before the scope", "feat", ("api", "hub"), True, "mark before the scope"),
        ("FEAT: shout", "feat", (), False, "shout"),
        ("Fix(Hub): Mixed Case", "fix", ("Hub",), False, "Mixed Case"),
        ("Deps!: drop 3.10", "deps", (), True, "drop 3.10"),
        ("tokenizer: keep spaces", "tokenizer", (), False, "keep spaces"),
        ("fix: a: b", "fix", (), False, "a: b"),
        ("fix:  two spaces ", "fix", (), False, "two spaces"),
        ("  \n\nfeat: after blank lines", "feat", (), False, "after blank lines"),
        ("revert: the noodle incident", "revert", (), False, "the noodle incident"),
    ],
)
def test_subject(subject: str, type_: str, scopes: tuple[str, ...], breaking: bool, description: str) -> None:
    """A subject has a type, perhaps scopes, perhaps `!`, and a description after a colon and a space."""
    change = read_message(subject)
    assert (change.type, change.scopes, change.breaking) == (type_, scopes, breaking)
    assert change.description == description
    assert change.breaking_note == (description if breaking else None)


@pytest.mark.parametrize(
    "subject",
    [
        "",
        "Add a thing",
        "feat:no space",
        "feat : space before the colon",
        "feat (x): space before the scope",
        "feat:",
        "fix(a(b)): nested",
        "fix(a: open",
        "Note: a sentence",
        "Tokenizer: keep spaces",
        "https://example.org",
        "Merge branch 'x'",
        "two words: no type",
        "ci/cd: no word",
    ],
)
def test_other_subjects(subject: str) -> None:
    """Any other subject is the description of a change without a type, and raises the patch."""
    change = read_message(subject)
    assert (change.type, change.scopes, change.breaking, change.breaking_note) == (None, (), False, None)
    assert change.description == subject
    assert part_of(change) is Part.PATCH


@pytest.mark.parametrize(
    ("body", "note"),
    [
        ("BREAKING CHANGE: the name is new", "the name is new"),
        ("BREAKING-CHANGE: the name is new", "the name is new"),
        ("BREAKING CHANGE:no space", "no space"),
        ("Why it is.\n\nBREAKING CHANGE: new\nReviewed-by: Z", "new"),
        ("Reviewed-by: Z\nBREAKING CHANGE: new\n  and\n  old\nRefs: #1", "new\nand\nold"),
        ("BREAKING CHANGE: one\n\ntwo\n\nCloses #3", "one\n\ntwo"),
        ("BREAKING CHANGE: new\n(cherry picked from commit 0123456)", "new"),
        ("BREAKING CHANGE:\n\n- one\n- two", "- one\n- two"),
        ("BREAKING CHANGE: one\nBREAKING-CHANGE: two", "one\n\ntwo"),
        ("BREAKING CHANGE:", "add it"),
    ],
)
def test_breaking_footer(body: str, note: str) -> None:
    """A BREAKING CHANGE footer breaks whatever the type; its note goes on to the next footer."""
    for subject in ("docs: add it", "docs!: add it"):
        for newline in ("\n", "\r\n"):
            change = read_message(f"{subject}\n\n{body}\n".replace("\n", newline))
            assert (change.breaking, change.breaking_note) == (True, note)
            assert part_of(change) is Part.MAJOR


@pytest.mark.parametrize(
    "body",
    [
        "breaking change: in lower case",
        "Breaking-Change: in mixed case",
        "There is no BREAKING CHANGE: it works",
        "    BREAKING CHANGE: quoted",
        "BREAKING CHANGE without a colon",
        "BREAKING  CHANGE: two spaces",
    ],
)
def test_no_breaking_footer(body: str) -> None:
    """Only the upper-case footer at the start of a line breaks."""
    change = read_message(f"feat: add it\n\n{body}")
    assert (change.breaking, change.breaking_note, part_of(change)) == (False, None, Part.MINOR)


def test_breaking_without_a_type() -> None:
    """A breaking change is seen without the convention, in a footer or as the subject itself."""
    change = read_message("Rename it\n\nBREAKING CHANGE: new name")
    assert (change.type, change.description, change.breaking_note) == (None, "Rename it", "new name")
    for subject in ("BREAKING CHANGE: new name", "BREAKING-CHANGE: new name"):
        change = read_message(subject)
        assert (change.type, change.description, change.breaking_note) == (None, subject, "new name")
        assert part_of(change) is Part.MAJOR


@pytest.mark.parametrize(
    ("subject", "type_", "scopes", "description"),
    [
        ('Revert "feat: x"', "revert", (), "x"),
        ('Revert "feat(ollama): x"', "revert", ("ollama",), "x"),
        ('Revert "feat: x (#12)" (#13)', "revert", (), "x (#12)"),
        ('Revert "Add x"', "revert", (), "Add x"),
        ('Revert "feat: say "x""', "revert", (), 'say "x"'),
        ('Revert "feat!: x"', "revert", (), "x"),
        ('Revert "Revert "feat: x""', "feat", (), "x"),
        ('Reapply "feat: x"', "feat", (), "x"),
        ('Revert "Reapply "feat: x""', "revert", (), "x"),
        ('fixup! Revert "feat: x"', "revert", (), "x"),
        ('Revert "fixup! feat: x"', "revert", (), "x"),
        ("fixup! feat(ollama): x", "feat", ("ollama",), "x"),
        ("squash! fixup! fix: x", "fix", (), "x"),
        ("amend! Add x", None, (), "Add x"),
        ('Revert "unclosed', None, (), 'Revert "unclosed'),
    ],
)
def test_subjects_by_git(subject: str, type_: str | None, scopes: tuple[str, ...], description: str) -> None:
    """What git writes around a subject is seen through, and a revert of a revert is the change again."""
    change = read_message(f"{subject}\n\nThis reverts commit 0123456789.")
    assert (change.type, change.scopes, change.description) == (type_, scopes, description)
    assert not change.breaking


def test_reverted_breaking_change() -> None:
    """To revert a breaking change raises the patch, to bring it back or to say that it breaks the major."""
    assert part_of(read_message('Revert "feat!: x"')) is Part.PATCH
    assert part_of(read_message('Reapply "feat!: x"')) is Part.MAJOR
    assert part_of(read_message('Revert "feat: x"\n\nBREAKING CHANGE: x is gone')) is Part.MAJOR


def test_deep_reverts() -> None:
    """Reverts may be nested as deep as a person likes."""
    assert read_message('Revert "' * 2001 + "feat: x" + '"' * 2001).type == "revert"


@pytest.mark.parametrize(
    ("message", "references"),
    [
        ("fix: x (#12)", ("#12",)),
        ("Mend gh-7 and GH-12, #12", ("gh-7", "GH-12", "#12")),
        ("fix: x\n\nCloses #12", ("#12",)),
        ("fix: x\n\nCloses: #12, #13", ("#12", "#13")),
        ("fix: x\n\nFixes GH-12", ("GH-12",)),
        ("fix: x\n\nrefs: see #12 and\n #13", ("#12", "#13")),
        ("fix: x (#3)\n\nResolves #1\nRefs: #3, #2", ("#3", "#1", "#2")),
        ("fix: x\n\nFixes #1\n\nAlso touches #2.", ("#1",)),
        ("fix: x\n\nReviewed-by: #1\nSee #2", ()),
        ("fix: x\n\nFixes the crash of #1", ()),
        ("fix: x of acme/model#12, #0, #12ab, c#1, &#39; and https://example.org/#4", ()),
        ("fix: x\n\nCloses: acme/model#12", ()),
        ("fix: x (!7)", ("!7",)),
        ("fix: not!7 but acme/model!8", ()),
        ('Revert "feat: x (#12)" (#13)', ("#12", "#13")),
    ],
)
def test_references(message: str, references: tuple[str, ...]) -> None:
    """Issues are read from the subject and from the footers that name issues, each once."""
    assert read_message(message).references == references


@pytest.mark.parametrize(
    ("subject", "part"),
    [
        *((f"{name}: x", Part.PATCH) for name in ("fix", "perf", "revert", "PERF")),
        *((f"{name}: x", Part.NONE) for name in ("docs", "chore", "ci", "build", "test", "style", "refactor", "Docs")),
        ("feat: x", Part.MINOR),
        ("wip: x", Part.NONE),
        ("chore!: x", Part.MAJOR),
        ("Change x", Part.PATCH),
    ],
)
def test_part(subject: str, part: Part) -> None:
    """A feature raises the minor, a repair the patch, work that users don't see nothing."""
    assert part_of(read_message(subject)) is part


def test_aliases() -> None:
    """Words of the policy stand for types, in any case; others go on raising nothing."""
    aliases = {"feature": "feat", "hotfix": "fix"}
    for subject, part in (
        ("feature(hub): x", Part.MINOR),
        ("Feature: x", Part.MINOR),
        ("HOTFIX: x", Part.PATCH),
        ("feature!: x", Part.MAJOR),
        ('Revert "feature: x"', Part.PATCH),
        ("wip: x", Part.NONE),
    ):
        assert part_of(read_message(subject, aliases)) is part
    assert read_message("feature: x", aliases).type == "feat"
    assert read_message("feature: x").type == "feature"


def test_parts_are_ordered() -> None:
    """The greatest part of several changes is the one to raise."""
    subjects = ("docs: a", "feat: b", "fix: c")
    assert max(part_of(read_message(subject)) for subject in subjects) is Part.MINOR
    assert Part.NONE < Part.PATCH < Part.MINOR < Part.MAJOR


def test_whole_message() -> None:
    """The last example of the specification, with all that a message can have."""
    message = """fix(runs)!: prevent racing of requests

Introduce a request id and a reference to latest request. Dismiss
incoming responses other than from latest request.

Reviewed-by: Z
Refs: #123
BREAKING CHANGE: timeouts are gone
"""
    assert read_message(message) == Change(
        subject="fix(runs)!: prevent racing of requests",
        type="fix",
        scopes=("runs",),
        breaking=True,
        breaking_note="timeouts are gone",
        description="prevent racing of requests",
        references=("#123",),
    )


def test_co_authors() -> None:
    """The trailers' names, without addresses, each once."""
    message = """feat: x

Co-authored-by: Ada Lovelace <ada@example.org>
co-authored-by:  Grace Hopper  <grace@example.org>
Co-authored-by: Ada Lovelace <ada@example.com>
Co-authored-by: <nobody@example.org>
Co-authored-by: Without Mail
 Co-authored-by: Quoted <q@example.org>
"""
    names = ("Ada Lovelace", "Grace Hopper")
    assert co_authors(message) == co_authors(message.replace("\n", "\r\n")) == names
    assert co_authors("feat: x") == ()
