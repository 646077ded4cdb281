"""Naming patterns: fields into a name, and a name back into fields."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from pipeline.naming.pattern import Pattern, PatternError

RUN_PATTERN = "{base}-{dataset}-r{rank}-a{alpha}-e{epochs}-{trained:%Y%m%d-%H%M%S}"
RUN = "phi3mini4k-minimal-r32-a64-e20-20250914-132416"
FIELDS: dict[str, Any] = {
    "base": "phi3mini4k",
    "dataset": "minimal",
    "rank": 32,
    "alpha": 64,
    "epochs": 20,
    "trained": datetime(2025, 9, 14, 13, 24, 16, tzinfo=UTC),
}


def test_format() -> None:
    """Fields become the guide's name of a run."""
    assert Pattern(RUN_PATTERN).format(FIELDS) == RUN


def test_parse() -> None:
    """The guide's name of a run becomes its fields: numbers as numbers, the date in UTC."""
    assert Pattern(RUN_PATTERN).parse(RUN) == FIELDS


def test_fields() -> None:
    """A pattern tells which fields it has."""
    assert Pattern("{base}-r{rank}").fields == {"base", "rank"}
    assert Pattern("plain").fields == frozenset()


def test_values_that_are_not_used_are_ignored() -> None:
    """Formatting takes what the pattern names out of more."""
    assert Pattern("{base}-v{version}").format({**FIELDS, "version": "2.0.0"}) == "phi3mini4k-v2.0.0"


def test_date_is_written_in_utc() -> None:
    """A moment of another time zone is written as UTC."""
    moment = datetime(2025, 9, 15, 0, 30, tzinfo=timezone(timedelta(hours=2)))
    assert Pattern("{exported:%Y%m%d-%H%M}").format({"exported": moment}) == "20250914-2230"


def test_literal_text_is_no_regular_expression() -> None:
    """Dots and plus signs of a pattern stand for themselves."""
    pattern = Pattern("a.b+{base}")
    assert pattern.parse("a.b+x") == {"base": "x"}
    assert pattern.parse("axbbx") is None


@pytest.mark.parametrize(
    "name",
    [
        "",
        "vllm",
        f"{RUN}-vllm",
        f"x-{RUN}",
        f"{RUN}\n",
        RUN.replace("r32", "r"),
        RUN.replace("r32", "rx"),
        RUN.replace("r32", "r٣٢"),
        RUN.replace("20250914", "20251314"),
        RUN.replace("132416", "256199"),
        RUN.replace("phi3mini4k", "phi3/mini"),
    ],
)
def test_other_names(name: str) -> None:
    """A name that is not made by the pattern is none of it, be it that only the date is none."""
    assert Pattern(RUN_PATTERN).parse(name) is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{bse}", "unknown field {bse}; known are base, dataset, rank"),
        ("{}", "unknown field {}"),
        ("{base!r}", "unknown field {base!r}"),
        ("{base}-{base}", "{base} stands twice"),
        ("{base", "unbalanced brace in '{base'"),
        ("base}", "unbalanced brace in 'base}'"),
        ("{trained}", "{trained} is a date: write it as {trained:%Y%m%d-%H%M%S}"),
        ("{trained:}", "{trained} is a date"),
        ("{trained:day}", "{trained} is a date"),
        ("{trained:%y}", "unknown '%y' in {trained}"),
        ("{trained:%Y%}", "unknown '%' in {trained}"),
        ("{trained:%Y-%Y}", "'%Y' stands twice in {trained}"),
        ("{rank:%d}", "{rank} is no date and takes no format"),
    ],
)
def test_wrong_pattern(text: str, problem: str) -> None:
    """A pattern that could not make names is refused with what is wrong in it."""
    with pytest.raises(PatternError) as caught:
        Pattern(text)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("base", "phi-3"),
        ("base", ""),
        ("base", "org/phi"),
        ("dataset", "my data"),
        ("dataset", "café"),
        ("rank", "x"),
        ("rank", -1),
        ("version", "-1"),
        ("version", "release/1"),
        ("run", "a/b"),
        ("base", datetime(2025, 9, 14, tzinfo=UTC)),
    ],
)
def test_value_that_could_not_be_read_back(field: str, value: Any) -> None:
    """A value that its field cannot hold makes no name."""
    with pytest.raises(PatternError, match=rf"{{{field}}} cannot be"):
        Pattern(f"{{{field}}}").format({field: value})


@pytest.mark.parametrize("value", ["yesterday", "20251314", 3])
def test_date_that_is_none(value: Any) -> None:
    """A date field takes a date and nothing else."""
    with pytest.raises(PatternError, match=r"{trained} cannot be"):
        Pattern("{trained:%Y%m%d}").format({"trained": value})


@pytest.mark.parametrize("values", [{}, {"base": None}])
def test_value_that_is_missing(values: dict[str, Any]) -> None:
    """A field without a value makes no name."""
    with pytest.raises(PatternError, match=r"{base} is not known"):
        Pattern("{base}").format(values)


def test_equal_by_text() -> None:
    """Patterns of the same text are the same."""
    assert Pattern("{base}") == Pattern("{base}")
    assert Pattern("{base}") != Pattern("{dataset}")
    assert Pattern("{base}") != "{base}"
    assert len({Pattern("{base}"), Pattern("{base}")}) == 1
    assert repr(Pattern("{base}")) == "Pattern('{base}')"
