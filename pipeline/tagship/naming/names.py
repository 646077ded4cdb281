"""The names of a release: how each kind is made, with a version tag and without, now and in former days."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from tagship.naming.fields import FieldValue, PatternError
from tagship.naming.pattern import Pattern

EXPORT, ARTIFACT, REPO = "export", "artifact", "repo"
SHORT_NAME_LENGTH = 10


class NamePair(Struct, frozen=True, kw_only=True):
    """How one kind of name is made: with a version tag, and without."""

    tagged: Pattern
    untagged: Pattern

    def at(self, version: str | None) -> Pattern:
        return self.untagged if version is None else self.tagged


class Names(Struct, frozen=True, kw_only=True):
    """The names that one format's releases get; `older` are the styles that they had, by kind of name."""

    export: NamePair
    artifact: NamePair
    repo: NamePair
    older: Mapping[str, tuple[NamePair, ...]]

    def of(self, kind: str) -> NamePair:
        """The pair for `export`, `artifact` or `repo`."""
        pair: NamePair = getattr(self, kind)
        return pair


# The texts of two patterns: for names with a version tag, and without.
Texts = tuple[str, str]


class NamingPolicy(Struct, frozen=True, kw_only=True):
    """What `[naming]` says of all formats: a run's name, and the patterns' texts by kind of name. `tags_versions` is
    whether a repo has all versions of a model, so that its name has none."""

    run: Pattern
    short_names: Mapping[str, str]
    own_fields: Mapping[str, str]
    texts: Mapping[str, Texts]
    older: Mapping[str, Sequence[Texts]]
    tags_versions: bool = False

    def short_base_name(self, base_id: str) -> str:
        """What `{base}` is for a base model: the policy's word, else the repo's name, cut.

        Cut means lower case, without hyphens, at 10 characters: `microsoft/Phi-3-mini-4k-instruct`
        becomes `phi3mini4k`.
        """
        if base_id in self.short_names:
            return self.short_names[base_id]
        return base_id.rsplit("/", 1)[-1].lower().replace("-", "")[:SHORT_NAME_LENGTH]


def make_name(pattern: Pattern, values: Mapping[str, FieldValue | None], what: str) -> str:
    """Format a name. Raises PatternError that says which name could not be made."""
    try:
        return pattern.format(values)
    except PatternError as error:
        raise PatternError(f"no name for the {what} by {pattern.text!r}: {error}") from None
