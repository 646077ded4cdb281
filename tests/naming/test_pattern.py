"""Naming patterns: fields into a name, and a name back into fields."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from tagship.naming.fields import NUMBER, WORD, PatternError, Vocabulary
from tagship.naming.pattern import Pattern

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
        (
            "{bse}",
            "unknown field {bse}; known are base, dataset, name, rank, alpha, epochs, trained, exported, version",
        ),
        ("{run}", "unknown field {run}"),
        ("{kind}", "unknown field {kind}"),
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
        ("{trained:%m%d}", "{trained} needs '%Y'"),
        ("{trained:%Y%d}", "{trained} needs '%m'"),
        ("{trained:%Y%m}", "{trained} needs '%d'"),
        ("{trained:%Y%m%d%M}", "{trained} needs '%H'"),
        ("{trained:%Y%m%d-%S}", "{trained} needs '%H'"),
        ("{trained:%Y%m%d-%H%S}", "{trained} needs '%M'"),
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
        ("version", ""),
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


# A run inside

OWN = Vocabulary(own={"size": WORD, "seed": NUMBER})
CHOICES = Vocabulary(choices={"kind": ("vllm", "ollama", "ollama_q8_0"), "prefix": ("vllm", "ollama-q4_k_m")})
INSIDE = Pattern(RUN_PATTERN)


def test_run_inside() -> None:
    """`{run}` stands for a whole name by the run's own pattern, whose fields are read with it."""
    pattern = Pattern("{run}-{kind}-v{version}", CHOICES, run=INSIDE)
    assert pattern.fields == {"run", "kind", "version"}
    name = pattern.format({"run": RUN, "kind": "vllm", "version": "2.0.0", "base": "not used"})
    assert name == f"{RUN}-vllm-v2.0.0"
    assert pattern.parse(name) == {**FIELDS, "run": RUN, "kind": "vllm", "version": "2.0.0"}


@pytest.mark.parametrize("run", ["mine", f"{RUN}-x", RUN.replace("20250914", "20251314"), "", None])
def test_run_that_does_not_follow_its_pattern(run: str | None) -> None:
    """A run of another name makes no name: it could not be read back."""
    with pytest.raises(PatternError, match=r"^\{run\} (cannot be '.*': it does not follow '\{base\}|is not known)"):
        Pattern("x-{run}", run=INSIDE).format({"run": run})
    assert Pattern("x-{run}", run=INSIDE).parse(f"x-{run}") is None


def test_run_is_no_date() -> None:
    """`{run}` takes no format."""
    with pytest.raises(PatternError, match=r"^\{run\} is no date and takes no format$"):
        Pattern("{run:%Y}-x", run=INSIDE)


def test_fields_beside_the_run() -> None:
    """A name that says something else beside `{run}` than the run itself is none of the pattern, nor is it made."""
    pattern = Pattern("{base}-{run}", run=Pattern("{base}-r{rank}"))
    assert pattern.parse("phi-phi-r8") == {"run": "phi-r8", "base": "phi", "rank": 8}
    assert pattern.parse("qwen-phi-r8") is None
    assert pattern.format({"base": "phi", "run": "phi-r8"}) == "phi-phi-r8"
    with pytest.raises(PatternError, match=r"\{base\} cannot be 'qwen': the run 'phi-r8' says 'phi'"):
        pattern.format({"base": "qwen", "run": "phi-r8"})


def test_number_beside_the_run() -> None:
    """Zeros in front make no other number, beside `{run}` either."""
    pattern = Pattern("r{rank}_{run}", run=Pattern("{base}-r{rank}"))
    assert pattern.parse("r08_phi-r8") == {"run": "phi-r8", "base": "phi", "rank": 8}
    assert pattern.format({"rank": 8, "run": "phi-r08"}) == "r8_phi-r08"
    assert pattern.parse("r8_phi-r08") is not None


def test_date_beside_the_run() -> None:
    """A date of the run stands beside `{run}` in the run's own format, or the two could never agree."""
    run = Pattern("{base}-{trained:%Y%m%d-%H%M%S}")
    moment = FIELDS["trained"]
    pattern = Pattern("{trained:%Y%m%d-%H%M%S}_{run}", run=run)
    name = pattern.format({"trained": moment, "run": "phi-20250914-132416"})
    assert pattern.parse(name) == {"run": "phi-20250914-132416", "base": "phi", "trained": moment}
    for other in ("%Y%m%d", "%Y%m%d-%H%M", "%d%m%Y-%H%M%S"):
        with pytest.raises(PatternError, match=r"\{trained\} is '%Y%m%d-%H%M%S' in \{run\}, not '%"):
            Pattern(f"{{trained:{other}}}_{{run}}", run=run)


# Names that could be read in two ways


@pytest.mark.parametrize(
    ("text", "example"),
    [
        ("{base}{dataset}", "'aaa' is base='aa', dataset='a', or base='a', dataset='aa'"),
        ("{base}_{dataset}", "'a__a' is base='a_', dataset='a', or base='a', dataset='_a'"),
        ("{base}.{dataset}", "is base='"),
        ("{base}x{dataset}", "is base='"),
        ("{rank}{alpha}", "'000' is rank='00', alpha='0', or rank='0', alpha='00'"),
        ("{base}{rank}", "is base='"),
        ("{rank}{trained:%Y%m%d}{epochs}", "is rank='"),
        ("v{version}-{base}", None),
        ("{base}-{version}-{dataset}", None),
        ("{version}{rank}", "is version='"),
        ("{version}-{trained:%Y%m%d}-r{rank}{epochs}", "is version='"),
        ("{kind}{rank}", None),
        ("{kind}_{base}", "'ollama_q8_0_"),
        ("{kind}{base}", "is kind='"),
        ("{run}{base}", "is base='"),
        ("{run}_{dataset}", "is base='"),
        ("{dataset}{run}", "is dataset='"),
        ("{version}-{run}", None),
        ("{version}-{run}-{dataset}", None),
        ("{run}-{kind}-v{version}", None),
        ("{base}-{dataset}-{kind}-v{version}", None),
        ("{trained:%Y%m%d}{exported:%Y%m%d}", None),
        ("r{rank}a{alpha}", None),
        ("{base}-v{version}", None),
        ("{rank}{base}", "is rank='"),
    ],
)
def test_two_readings(text: str, example: str | None) -> None:
    """A pattern of names that could be read in two ways is refused with such a name, and only such a pattern."""
    run = Pattern("{base}-r{rank}" if "{run}-" in text else "{base}")
    if example is None:
        assert Pattern(text, CHOICES, run=run).text == text
        return
    with pytest.raises(PatternError) as caught:
        Pattern(text, CHOICES, run=run)
    message = str(caught.value)
    assert message.startswith(f"{text!r} makes names that cannot be read back: '")
    assert example in message
    assert message.endswith("put text between the fields that none of them may hold")


def test_both_readings_are_told_apart() -> None:
    """The example names the run's own fields too, as it is within them that the name can be divided otherwise."""
    with pytest.raises(PatternError) as caught:
        Pattern("{run}.{name}", run=Pattern("{base}-{dataset}"))
    assert "'a-a..a' is base='a', dataset='a.', name='a', or base='a', dataset='a', name='.a'" in str(caught.value)


# The policy's own fields


def test_own_fields() -> None:
    """A policy's own fields are words and numbers as the others are."""
    pattern = Pattern("{base}-{size}-s{seed}", OWN)
    assert pattern.format({"base": "phi", "size": "3.8b", "seed": 7}) == "phi-3.8b-s7"
    assert pattern.parse("phi-3.8b-s7") == {"base": "phi", "size": "3.8b", "seed": 7}
    with pytest.raises(PatternError, match=r"\{size\} cannot be 'x-l'"):
        pattern.format({"base": "phi", "size": "x-l", "seed": 7})
    with pytest.raises(PatternError, match=r"unknown field \{sise\}; known are .*, size, seed, "):
        Pattern("{sise}", OWN)


def test_choices() -> None:
    """What a format brings is one of its values, which no other text is read as."""
    pattern = Pattern("{prefix}-{base}", CHOICES)
    assert pattern.parse("ollama-q4_k_m-phi") == {"prefix": "ollama-q4_k_m", "base": "phi"}
    assert pattern.parse("lora-phi") is None
    with pytest.raises(PatternError, match=r"\{prefix\} cannot be 'lora'"):
        pattern.format({"prefix": "lora", "base": "phi"})


def test_fields_that_are_not_there_yet() -> None:
    """A run has no version and no export date: its pattern may not name them."""
    of_runs = Vocabulary(dates=("trained",), version=False)
    for text in ("{version}", "{exported:%Y%m%d}"):
        with pytest.raises(PatternError, match="unknown field"):
            Pattern(text, of_runs)


# Versions


@pytest.mark.parametrize("plus", ["+", "_"])
@pytest.mark.parametrize(
    "version",
    ["2.0.0", "1.2.3-rc.1", "1.2.3+cu124", "1.2.3-rc.1+cu124.abc-def", "nightly", "2024.09", "release-7", "2.0", "v2"],
)
def test_versions(version: str, plus: str) -> None:
    """SemVer versions and other tags' names are read back, whether `+` stays or is written as `_`."""
    pattern = Pattern("{base}-v{version}", Vocabulary(plus=plus))
    name = pattern.format({"base": "phi", "version": version})
    assert name == "phi-v" + version.replace("+", plus)
    assert pattern.parse(name) == {"base": "phi", "version": version}


def test_underscores_that_are_no_plus() -> None:
    """A `_` that stands for no `+` of a SemVer version is read as it is."""
    pattern = Pattern("v{version}", Vocabulary(plus="_"))
    assert pattern.parse("vmy_release") == {"version": "my_release"}
    assert pattern.format({"version": "my_release"}) == "vmy_release"
    assert pattern.parse("v1.2.3_a_b") == {"version": "1.2.3_a_b"}
    assert pattern.parse("v1.2.3+a") is None


@pytest.mark.parametrize("version", ["1.2.3_a", "a+b", "1.2.3+a+b", "1.2+x"])
def test_version_that_could_not_be_read_back(version: str) -> None:
    """Another tag whose name would be read as another version, where `+` is written as `_`, makes no name there."""
    with pytest.raises(PatternError, match=r"\{version\} cannot be .* where '\+' is written as '_'"):
        Pattern("v{version}", Vocabulary(plus="_")).format({"version": version})
    assert Pattern("v{version}").format({"version": version}) == f"v{version}"
