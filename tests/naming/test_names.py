"""`[naming]`: short base names, own fields, the formats' own patterns, and the styles of former days."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from tagship.formats import registry
from tagship.naming.fields import PatternError
from tagship.naming.names import Names, NamingPolicy, make_name
from tagship.naming.pattern import Pattern
from tagship.policy.naming import check_general, read_names, read_naming
from tagship.system.toml_reader import Reader

from tests.conftest import RUN

FORMS = ("vllm", "ollama", "lora")


def read(naming: Mapping[str, Any]) -> tuple[NamingPolicy, list[str]]:
    """The policy of a `[naming]` table, and its mistakes, held against all three formats."""
    problems: list[str] = []
    reader = Reader(naming, "naming", problems)
    policy = read_naming(reader)
    check_general(reader, policy, {form: variants(form) for form in FORMS})
    return policy, problems


def policy(**naming: Any) -> NamingPolicy:
    made, problems = read(naming)
    assert problems == []
    return made


def variants(form: str) -> Sequence[Any]:
    """Everything that a format could export."""
    found = registry.find_format(form)
    return found.variants(found.configure(Reader({}, "", []), Reader({}, "", [])), found.quants or ())


def names(form: str, naming: NamingPolicy, **table: Any) -> Names:
    """The names of a format whose own table says so much."""
    problems: list[str] = []
    made = read_names(Reader(table, f"formats.{form}", problems), naming, form, variants(form))
    assert problems == []
    return made


# Short names of bases


@pytest.mark.parametrize(
    ("base", "short"),
    [
        ("microsoft/Phi-3-mini-4k-instruct", "phi3mini4k"),
        ("Qwen/Qwen2.5-0.5B-Instruct", "qwen2.50.5"),
        ("gpt2", "gpt2"),
        ("acme/base_model", "base_model"),
    ],
)
def test_short_base_name(base: str, short: str) -> None:
    """A base is the repo's name in lower case, without hyphens, cut at ten characters."""
    assert policy().short_base_name(base) == short


def test_given_short_name() -> None:
    """The policy's own word for a base goes before the rule."""
    given = policy(bases={"meta-llama/Llama-3.1-8B": "llama318b"})
    assert given.short_base_name("meta-llama/Llama-3.1-8B") == "llama318b"
    assert given.short_base_name("meta-llama/Llama-3.1-70B") == "llama3.170"


@pytest.mark.parametrize(
    ("short", "problem"),
    [
        ("phi-3", "may only have letters, digits, '.' and '_', not 'phi-3': '-' separates fields"),
        ("phi 3", "may only have letters"),
        ("", "is empty: "),
        (3, "must be a string, not 3"),
    ],
)
def test_short_name_that_no_name_can_have(short: Any, problem: str) -> None:
    """A word for a base that names could not hold is a mistake, told under the base's own id."""
    (found,) = read({"bases": {"org/phi-3": short}})[1]
    assert found.startswith(f'naming.bases."org/phi-3" {problem}')


def test_name_that_cannot_be_made() -> None:
    """The error says which name, by which pattern, and which field is the matter."""
    with pytest.raises(PatternError) as caught:
        make_name(Pattern("{base}-{dataset}"), {"base": "phi"}, "repo")
    assert str(caught.value) == "no name for the repo by '{base}-{dataset}': {dataset} is not known"


# Own fields


def test_own_fields() -> None:
    """Fields of `[naming.fields]` may stand in the run's name and in all others."""
    made = policy(
        fields={"size": "word", "seed": "number"},
        run="{base}-{size}-s{seed}",
        repo={"tagged": "{base}-{size}-{label}-v{version}"},
    )
    assert made.run.parse("phi-3.8b-s7") == {"base": "phi", "size": "3.8b", "seed": 7}
    tagged = names("vllm", made).repo.tagged
    assert tagged.parse("phi-3.8b-vllm-v1.0.0") == {"base": "phi", "size": "3.8b", "label": "vllm", "version": "1.0.0"}


@pytest.mark.parametrize(
    ("field", "kind", "problem"),
    [
        ("size", "words", "unknown 'words': did you mean 'word'?"),
        ("size", "", "unknown ''; known: number, word"),
        ("size", 3, "must be a string, not 3"),
        ("rank", "number", "cannot be the name of a field: it is taken"),
        ("trained", "word", "cannot be the name of a field"),
        ("run", "word", "cannot be the name of a field"),
        ("label", "word", "cannot be the name of a field"),
        ("version", "word", "cannot be the name of a field"),
        ("my_size", "number", None),
        ("2x", "word", "cannot be the name of a field"),
        ("run__base", "word", "cannot be the name of a field"),
    ],
)
def test_own_fields_that_cannot_be(field: str, kind: Any, problem: str | None) -> None:
    """An own field has a name that is not taken, and is a word or a number."""
    found = read({"fields": {field: kind}})[1]
    assert [line.startswith(f"naming.fields.{field} {problem}") for line in found] == [True] * (problem is not None)


def test_own_field_that_is_named_as_the_inside_of_a_run() -> None:
    """No name of an own field stops the reading of the other tables, whatever patterns do with it."""
    found = read({"fields": {"run__base": "word"}, "export": {"tagged": "{run}-{run__base}-{kind}-v{version}"}})[1]
    assert found


# Patterns


def test_own_run_pattern() -> None:
    """`{run}` in all names is a run by the policy's own pattern."""
    made = names("vllm", policy(run="{name}_r{rank}"))
    assert made.export.tagged.parse("mine_r8-vllm-v1.0.0") == {
        "run": "mine_r8",
        "name": "mine",
        "rank": 8,
        "kind": "vllm",
        "version": "1.0.0",
    }
    assert made.export.tagged.parse(f"{RUN}-vllm-v1.0.0") is None


@pytest.mark.parametrize(
    ("run", "problem"),
    [
        ("{base}{dataset}", "makes names that cannot be read back: 'aaa' is "),
        ("{base}-v{version}", "unknown field {version}"),
        ("{base}-{exported:%Y%m%d}", "unknown field {exported}"),
        ("{base}-{kind}", "unknown field {kind}"),
        ("{run}", "unknown field {run}"),
    ],
)
def test_run_pattern_that_cannot_be(run: str, problem: str) -> None:
    """A run's pattern is refused where its names could be read in two ways, or with what no run has yet."""
    (found,) = read({"run": run})[1]
    assert found.startswith("naming.run ")
    assert problem in found


@pytest.mark.parametrize(
    ("naming", "key", "problem"),
    [
        ({"export": {"tagged": "{base}{kind}{name}"}}, "export.tagged", "cannot be read back: '"),
        ({"artifact": {"untagged": "{prefix}-{run}-v{version}"}}, "artifact.untagged", "unknown field {version}"),
        ({"repo": {"untagged": "{run}-{exported}"}}, "repo.untagged", "{exported} is a date"),
        ({"repo": {"tagged": "{run}-{trained:%Y%m%d}-v{version}"}}, "repo.tagged", "is '%Y%m%d-%H%M%S' in {run}"),
        ({"repo": {"tagd": "x"}}, "repo.tagd", "is unknown: did you mean 'tagged'?"),
        ({"export": "x"}, "export", "must be a table, not 'x'"),
        ({"older": {"repo": [{"tagged": "a-{version}"}]}}, "older.repo[1].untagged", "is missing: the pattern of"),
        ({"older": {"repo": [{"tagged": "{x}", "untagged": "a"}]}}, "older.repo[1].tagged", "unknown field {x}"),
        ({"older": {"repo": {"tagged": "a"}}}, "older.repo", "must be a list of tables"),
        ({"older": {"artifact": "a"}}, "older.artifact", "must be a list of tables"),
        (
            {"older": {"artifact": [{"tagged": 3, "untagged": "a"}]}},
            "older.artifact[1].tagged",
            "must be a string, not 3",
        ),
        ({"older": {"repos": []}}, "older.repos", "is unknown: did you mean 'repo'?"),
        ({"exports": {}}, "exports", "is unknown: did you mean 'export'?"),
    ],
)
def test_patterns_that_cannot_be(naming: Mapping[str, Any], key: str, problem: str) -> None:
    """Each mistake of `[naming]` is told once, by its dotted key."""
    found = read(naming)[1]
    assert len(found) == 1, found
    assert found[0].startswith(f"naming.{key} ")
    assert problem in found[0]


def test_mistake_of_one_format() -> None:
    """A format's own pattern that cannot be is told under the format; the general ones are not told again."""
    problems: list[str] = []
    table = Reader({"repo": {"tagged": "{base}{label}{name}"}}, "formats.vllm", problems)
    read_names(table, policy(), "vllm", variants("vllm"))
    (found,) = problems
    assert found.startswith("formats.vllm.repo.tagged '{base}{label}{name}' makes names that cannot be read back: ")


def test_pattern_that_fits_one_format_only() -> None:
    """A general pattern must keep the names of all formats apart; a format's own only those of that format."""
    text = "{kind}{base}-v{version}"
    (found,) = read({"export": {"tagged": text}})[1]
    assert found.startswith(f"naming.export.tagged {text!r} makes names that cannot be read back: 'vllm_")
    fields = names("lora", policy(), export={"tagged": text}).export.tagged.parse("loraphi-v1.0.0")
    assert fields == {"kind": "lora", "base": "phi", "version": "1.0.0"}


# Former styles


def test_older_styles_by_default() -> None:
    """The guide's date-based names are read as the former style of artifacts and repos."""
    made = names("vllm", policy())
    (artifact,) = made.older["artifact"]
    assert artifact.untagged.parse("vllm-adapter-20250915") is not None
    assert artifact.tagged.format({"prefix": "vllm", "version": "2.0.0"}) == "vllm-adapter-v2.0.0"
    (repo,) = made.older["repo"]
    fields = repo.untagged.parse("phi3-avro-vllm-20250915")
    assert fields is not None
    assert repo.tagged.format({**fields, "version": "2.0.0"}) == "phi3-avro-vllm-v2.0.0"


def test_former_names_of_formats() -> None:
    """A former style may hold a format's plain name where new names hold more of it."""
    (artifact,) = names("ollama", policy()).older["artifact"]
    for prefix in ("ollama", "ollama-q4_k_m"):
        fields = artifact.untagged.parse(f"{prefix}-adapter-20250915")
        assert fields is not None
        assert fields["prefix"] == prefix
    assert artifact.untagged.parse("vllm-adapter-20250915") is None


def test_own_older_styles() -> None:
    """`[[naming.older.repo]]` replaces the guide's former style of that kind of name, and no other's."""
    pairs = [
        {"tagged": "{name}-{label}-{version}", "untagged": "{name}-{label}"},
        {"tagged": "{name}-v{version}", "untagged": "{name}"},
    ]
    made = names("lora", policy(older={"repo": pairs}))
    assert [pair.untagged.text for pair in made.older["repo"]] == ["{name}-{label}", "{name}"]
    assert [pair.untagged.text for pair in made.older["artifact"]] == ["{prefix}-adapter-{exported:%Y%m%d}"]
    assert policy(older={"repo": []}).older["repo"] == []


def test_kinds_of_names() -> None:
    """The pairs are found by the kind of name that they are for."""
    made = names("lora", policy())
    assert (made.of("export"), made.of("artifact"), made.of("repo")) == (made.export, made.artifact, made.repo)
    assert made.repo.at("1.0.0") == made.repo.tagged
    assert made.repo.at(None) == made.repo.untagged
