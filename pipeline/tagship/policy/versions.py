"""`[versions]` and `[checks]`: where versions begin, what a tag has to satisfy, and how strict names are held."""

import re
from collections.abc import Mapping

from msgspec import Struct

from tagship.naming.version import is_semver
from tagship.system.toml_reader import Reader

REQUIRED, WARN, OFF = "required", "warn", "off"
# Of names, which have nothing to do with tags: what they say is what the weights are.
NAMES = "names"
# Of the base model of an adapter that is published: those who can fetch the one can fetch the other.
BASE = "base"
# What people write in place of a type of Conventional Commits; the policy adds to it.
ALIASES: Mapping[str, str] = {"feature": "feat", "bugfix": "fix", "hotfix": "fix"}
# The types that an alias may stand for.
TYPES = ("feat", "fix", "perf", "revert", "docs", "chore", "ci", "build", "test", "style", "refactor")
# Every check of a tag by its name, with what it asks and how strict it is when a tag is made.
CHECKS: Mapping[str, tuple[str, str]] = {
    "clean": (REQUIRED, "the working tree is what the tag names"),
    "branch": (REQUIRED, "the commit is on the release branch"),
    "changelog": (REQUIRED, "the changelog has an entry for the version"),
    "order": (REQUIRED, "the version is greater than the last one of its stream"),
    "annotated": (WARN, "the tag is annotated"),
    "pushed": (WARN, "the tag is on the remote"),
}


class VersionPolicy(Struct, frozen=True, kw_only=True):
    """`[versions]`. `branch` is None where git is to say which branch releases are made from; `aliases` are other words
    for the types of commits; `data` the folders and files that the model is trained on."""

    first: str
    branch: str | None
    remote: str
    changelog: str
    aliases: Mapping[str, str]
    data: tuple[str, ...]


class CheckPolicy(Struct, frozen=True, kw_only=True):
    """`[checks]`: what the policy says of each check of a tag, by name; `names` is how strict a release is with names
    that say what is not so, `base` with an adapter whose base model nobody can fetch."""

    said: Mapping[str, str]
    names: str = REQUIRED
    base: str = REQUIRED

    def when_tagging(self, name: str) -> str:
        """How strict a check is before a tag is made."""
        return self.said.get(name, CHECKS[name][0])

    def when_releasing(self, name: str) -> str:
        """How strict a check is on a tag that is there.

        What the policy leaves open is then a warning: the tag cannot be made better any more.
        """
        return self.said.get(name, REQUIRED if name == "clean" else WARN)


def read_versions(table: Reader) -> VersionPolicy:
    """The table `[versions]`."""
    policy = VersionPolicy(
        first=table.parsed("first", "0.1.0", _version),
        branch=table.optional_text("branch"),
        remote=table.text("remote", "origin"),
        changelog=table.text("changelog", "CHANGELOG.md"),
        aliases=_read_aliases(table.table("aliases")),
        data=table.texts("data", ("data", "datasets")),
    )
    table.close()
    return policy


def read_checks(table: Reader) -> CheckPolicy:
    """The table `[checks]`."""
    said = {name: table.choice(name, default, (REQUIRED, WARN, OFF)) for name, (default, _) in CHECKS.items()}
    names, base = (table.choice(name, REQUIRED, (REQUIRED, WARN, OFF)) for name in (NAMES, BASE))
    table.close()
    return CheckPolicy(said={name: level for name, level in said.items() if table.has(name)}, names=names, base=base)


def _read_aliases(table: Reader) -> dict[str, str]:
    words = table.keys()
    said = {word.lower(): table.choice(word, "feat", TYPES) for word in words}
    for word in words:
        if word.lower() in TYPES:
            table.note(word, "is a type itself, and stands for nothing else")
        elif not re.fullmatch("[A-Za-z][A-Za-z0-9_-]*", word):
            table.note(word, "cannot be the type of a commit: letters, digits, - and _ can")
    return {**ALIASES, **said}


def _version(text: str) -> str:
    if not is_semver(text):
        raise ValueError(f"must be a SemVer version such as 0.1.0, not {text!r}")
    return text
