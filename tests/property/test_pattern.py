"""Properties of names: what a pattern writes it reads back, and a name that is mended is valid."""

import re
import string
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from huggingface_hub.utils import validate_repo_id
from hypothesis import given
from hypothesis import strategies as st

from pipeline.naming.names import nearest_repo_name, repo_name_problem
from pipeline.naming.pattern import Pattern, PatternError

WORDS = string.ascii_letters + string.digits + "._"
words = st.text(WORDS, min_size=1, max_size=12)
numbers = st.integers(0, 10**6)
moments = st.datetimes(
    min_value=datetime(1000, 1, 2),
    max_value=datetime(9999, 12, 30),
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=9)), timezone(timedelta(hours=-7, minutes=-30))]),
).map(lambda moment: moment.replace(microsecond=0))
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "base": words,
    "dataset": words,
    "kind": words,
    "rank": numbers,
    "alpha": numbers,
    "epochs": numbers,
    "trained": moments,
    "exported": moments,
    "version": st.from_regex(r"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}(-rc\.[0-9]{1,2})?", fullmatch=True),
}
DATE = ":%Y%m%d-%H%M%S"
DATES = ("trained", "exported")


@st.composite
def named(draw: st.DrawFn) -> tuple[Pattern, dict[str, Any]]:
    """A pattern whose fields hyphens separate, in any order, and values for it."""
    fields = draw(st.lists(st.sampled_from(sorted(set(FIELDS) - {"version"})), unique=True, max_size=6))
    if draw(st.booleans()):
        fields.append("version")  # it may have hyphens, so nothing comes after it
    parts = ["{" + field + (DATE if field in DATES else "") + "}" for field in fields]
    return Pattern("-".join(["x", *parts])), {field: draw(FIELDS[field]) for field in fields}


@given(named())
def test_fields_survive(case: tuple[Pattern, dict[str, Any]]) -> None:
    """The fields that a name was made from are read back from it."""
    pattern, values = case
    assert pattern.parse(pattern.format(values)) == values


@given(st.from_regex(r"[a-z]{1,5}-[a-z]{1,5}-r[0-9]{1,4}-[0-9]{8}-[0-9]{6}", fullmatch=True))
def test_names_survive(name: str) -> None:
    """A name that a pattern reads is written from its fields as it was, but for zeros in front."""
    pattern = Pattern("{base}-{dataset}-r{rank}-{trained:%Y%m%d-%H%M%S}")
    fields = pattern.parse(name)
    if fields is not None and fields["trained"] >= datetime(1000, 1, 1, tzinfo=UTC):  # type: ignore[operator]
        assert pattern.format(fields) == re.sub(r"-r0+(?=\d)", "-r", name)


@given(st.text(max_size=30))
def test_any_text_is_a_pattern_or_refused(text: str) -> None:
    """Any text is a pattern that formats and parses, or is refused by a PatternError."""
    try:
        pattern = Pattern(text)
    except PatternError:
        return
    assert (pattern.parse(text) is None) == bool(pattern.fields)


@given(st.sampled_from(sorted(FIELDS)), st.text(max_size=10))
def test_any_value_is_read_back_or_refused(field: str, value: str) -> None:
    """Any text as a value makes a name that is read back, or is refused by a PatternError."""
    pattern = Pattern("{" + field + (DATE if field in DATES else "") + "}")
    try:
        name = pattern.format({field: value})
    except PatternError:
        return
    assert pattern.parse(name) is not None


@given(
    st.text(max_size=120)
    | st.text("ab-._g it", max_size=110)
    | st.lists(st.sampled_from("a-._") | st.just(".git")).map("".join)
)
def test_nearest_name_is_valid(name: str) -> None:
    """Whatever the name, the nearest one is valid by our rules and by those of the Hub's client."""
    near = nearest_repo_name(name)
    assert repo_name_problem(near) is None
    validate_repo_id(near)


@given(st.text(WORDS + "-", max_size=100))
def test_rules_are_those_of_the_client(name: str) -> None:
    """A name that we allow is allowed by the Hub's client, and is the nearest to itself."""
    if repo_name_problem(name) is None:
        validate_repo_id(f"acme/{name}")
        assert nearest_repo_name(name) == name
