"""The names of a release: short base names, and the Hub's rules for repositories."""

from collections.abc import Mapping

import pytest
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from pipeline.errors import UsageError
from pipeline.naming.clock import parse_moment
from pipeline.naming.names import make_name, nearest_repo_name, repo_name_problem, short_base_name
from pipeline.naming.pattern import Pattern, PatternError


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
    assert short_base_name(base, {}) == short


def test_given_short_name() -> None:
    """The policy's own word for a base goes before the rule."""
    given: Mapping[str, str] = {"meta-llama/Llama-3.1-8B": "llama318b"}
    assert short_base_name("meta-llama/Llama-3.1-8B", given) == "llama318b"
    assert short_base_name("meta-llama/Llama-3.1-70B", given) == "llama3.170"


def test_name_that_cannot_be_made() -> None:
    """The error says which name, by which pattern, and which field is the matter."""
    with pytest.raises(PatternError) as caught:
        make_name(Pattern("{base}-{dataset}"), {"base": "phi"}, "repo")
    assert str(caught.value) == "no name for the repo by '{base}-{dataset}': {dataset} is not known"


@pytest.mark.parametrize("name", ["a", "model", "A_b.c-d", "phi3mini4k-minimal-q4_k_m-gguf-v2.0.0", "_a_", "x" * 96])
def test_valid_repo_names(name: str) -> None:
    """Names that the Hub takes break no rule, and the nearest to them is themselves."""
    assert repo_name_problem(name) is None
    assert nearest_repo_name(name) == name
    validate_repo_id(name)


@pytest.mark.parametrize(
    ("name", "problem", "near"),
    [
        ("", "must not be empty", "model"),
        ("x" * 97, "has 97 characters; the Hub allows 96", "x" * 96),
        ("a+b", "may only have letters, digits", "a-b"),
        ("a b", "may only have letters, digits", "a-b"),
        ("a/b", "may only have letters, digits", "a-b"),
        ("a--b", "must not have '--'", "a-b"),
        ("a..b", "must not have '--' or '..'", "a.b"),
        ("-a", "must not start or end", "a"),
        ("a.", "must not start or end", "a"),
        ("a.git", "must not end with '.git'", "a"),
        ("a.git.git", "must not end with '.git'", "a"),
        ("a.git-", "must not start or end", "a"),
        (".git", "must not start or end", "git"),
        ("---", "must not have '--'", "model"),
    ],
)
def test_repo_names_that_the_hub_refuses(name: str, problem: str, near: str) -> None:
    """Each name that the Hub's client refuses is refused with the rule, and has a nearest valid name."""
    with pytest.raises(HFValidationError):
        validate_repo_id(f"acme/{name}")
    assert problem in str(repo_name_problem(name))
    assert nearest_repo_name(name) == near


def test_letters_beyond_ascii() -> None:
    """A letter that is not ASCII is refused: the Hub has none."""
    assert repo_name_problem("café") is not None
    assert nearest_repo_name("café") == "caf"


def test_moment() -> None:
    """--at is read as UTC."""
    moment = parse_moment("20250915-124051")
    assert moment.isoformat() == "2025-09-15T12:40:51+00:00"


@pytest.mark.parametrize("text", ["", "2025-09-15", "20250915", "20251315-124051", "20250915-124051Z"])
def test_moment_that_is_none(text: str) -> None:
    """Any other text is a mistake in the options."""
    with pytest.raises(UsageError, match="--at must be YYYYMMDD-HHMMSS"):
        parse_moment(text)
