"""Properties of names: what a pattern writes it reads back, and a name that is mended is valid."""

import re
import string
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from huggingface_hub.utils import validate_repo_id
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from tagship.naming.fields import NUMBER, WORD, PatternError, Vocabulary
from tagship.naming.name_rules import HUB
from tagship.naming.pattern import Pattern

WORDS = string.ascii_letters + string.digits + "._"
words = st.text(WORDS, min_size=1, max_size=12)
numbers = st.integers(0, 10**6)
moments = st.datetimes(
    min_value=datetime(1000, 1, 2),
    max_value=datetime(9999, 12, 30),
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=9)), timezone(timedelta(hours=-7, minutes=-30))]),
).map(lambda moment: moment.replace(microsecond=0))
KINDS = ("vllm", "ollama", "ollama_q8_0", "lora")
PREFIXES = ("vllm", "ollama-q4_k_m", "ollama-q8_0", "lora")
LABELS = ("vllm", "q4_k_m-gguf", "q8_0-gguf", "lora")
IDENTIFIERS = r"(0|[1-9][0-9]{0,2}|[a-z-]{1,4})(\.[a-z-]{1,4})?"
versions = st.one_of(
    st.from_regex(rf"(0|[1-9][0-9]?)(\.(0|[1-9][0-9]?)){{2}}(-{IDENTIFIERS})?(\+{IDENTIFIERS})?", fullmatch=True),
    st.from_regex(r"[a-zA-Z][a-zA-Z0-9._-]{0,9}|[0-9]{1,4}", fullmatch=True),
)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "base": words,
    "dataset": words,
    "name": words,
    "size": words,
    "kind": st.sampled_from(KINDS),
    "prefix": st.sampled_from(PREFIXES),
    "label": st.sampled_from(LABELS),
    "rank": numbers,
    "alpha": numbers,
    "epochs": numbers,
    "seed": numbers,
    "trained": moments,
    "exported": moments,
    "version": versions,
}
DATE = ":%Y%m%d-%H%M%S"
DATES = ("trained", "exported")
DATE_FORMATS = {"%Y%m%d": 3, "%Y-%m-%d": 3, "%Y%m%dT%H": 4, "%d.%m.%Y_%H%M": 5, "%Y%m%d-%H%M%S": 6, "%H%M%S%Y%m%d": 6}
OWN: dict[str, str] = {"size": WORD, "seed": NUMBER}
CHOICES = {"kind": KINDS, "prefix": PREFIXES, "label": LABELS}
OF_NAMES = [Vocabulary(own=OWN, choices=CHOICES, plus=plus) for plus in "+_"]
OF_RUNS = Vocabulary(own=OWN, dates=("trained",), version=False)
separators = st.sampled_from(["-", "-", "-", "-v", "-", ".", "_", "", "x"])


@st.composite
def patterns(draw: st.DrawFn, vocabulary: Vocabulary, run: Pattern | None = None) -> tuple[str, dict[str, str]]:
    """The text of a pattern of any fields in any order, with anything between them, and its dates' formats."""
    named = [*vocabulary.names(), *(["run"] if run else [])]
    fields = draw(st.lists(st.sampled_from(named), unique=True, min_size=1, max_size=6))
    formats = {field: draw(st.sampled_from(sorted(DATE_FORMATS))) for field in fields if field in DATES}
    parts = ["{" + field + (f":{formats[field]}" if field in formats else "") + "}" for field in fields]
    text = draw(separators) + "".join(part + draw(separators) for part in parts)
    return text, formats


def cut(moment: datetime, date_format: str) -> datetime:
    """A moment as far as a date's format tells it."""
    told = DATE_FORMATS[date_format]
    return moment.replace(
        hour=moment.hour if told > 3 else 0,
        minute=moment.minute if told > 4 else 0,
        second=moment.second if told > 5 else 0,
    )


@given(st.data(), st.booleans(), st.sampled_from(OF_NAMES))
@settings(max_examples=300, deadline=None)
def test_fields_survive(data: st.DataObject, nested: bool, vocabulary: Vocabulary) -> None:
    """Of any pattern that is not refused, the fields that a name was made from are read back from it."""
    try:
        run_text, formats = data.draw(patterns(OF_RUNS)) if nested else ("", {})
        run = Pattern(run_text, OF_RUNS) if nested else None
        text, more = data.draw(patterns(vocabulary, run))
        pattern = Pattern(text, vocabulary, run=run)
    except PatternError:
        reject()
    formats |= more
    named = pattern.fields | (run.fields if run and "run" in pattern.fields else set())
    values = {field: data.draw(FIELDS[field], label=field) for field in sorted(named - {"run"})}
    if run and "run" in pattern.fields:
        values["run"] = run.format(values)
    read = pattern.parse(pattern.format(values))
    assert read == {
        field: cut(value.astimezone(UTC), formats[field]) if field in formats else value
        for field, value in values.items()
    }


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
    pattern = Pattern("{" + field + (DATE if field in DATES else "") + "}", OF_NAMES[0])
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
    near = HUB.nearest(name)
    assert HUB.problem(near) is None
    validate_repo_id(near)


@given(st.text(WORDS + "-", max_size=100))
def test_rules_are_those_of_the_client(name: str) -> None:
    """A name that we allow is allowed by the Hub's client, and is the nearest to itself."""
    if HUB.problem(name) is None:
        validate_repo_id(f"acme/{name}")
        assert HUB.nearest(name) == name
