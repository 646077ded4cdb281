"""Reading names: by the policy, and by the styles before it."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tagship.naming.names import ARTIFACT, EXPORT, REPO, make_name
from tagship.naming.parsing import ARCHIVE_ENDING, OLDER, POLICY, RUN, TAG, Reading, read_as, read_name
from tagship.policy.config import Config, load_config
from tagship.release.options import Options
from tagship.release.plan import Plan, make_plan
from tagship.system.git import Repository

from tests.conftest import POLICY as RELEASE_TOML
from tests.conftest import RUN as RUN_NAME
from tests.conftest import GitFolder

NOW = datetime(2025, 9, 15, 12, 40, 51, tzinfo=UTC)
TRAINED = datetime(2025, 9, 14, 13, 24, 16, tzinfo=UTC)
RUN_FIELDS = {
    "base": "phi3mini4k",
    "dataset": "minimal",
    "rank": 32,
    "alpha": 64,
    "epochs": 20,
    "trained": TRAINED,
}
QUANTS = """\
[project]
namespace = "acme"

[formats.vllm]
[formats.ollama]
quants = ["q4_k_m", "q8_0"]
stream = "ollama-v{version}"
[formats.lora]
repo = { untagged = "{run}-lora" }
"""

ReadPolicy = Callable[[str], Config]


@pytest.fixture
def policy(tmp_path: Path) -> ReadPolicy:
    """A function that reads the text of a release.toml."""

    def read(text: str) -> Config:
        path = tmp_path / "release.toml"
        path.write_text(text, encoding="utf-8")
        return load_config(path, {})

    return read


@pytest.fixture
def config(policy: ReadPolicy) -> Config:
    """The default policy of all three formats."""
    return policy(RELEASE_TOML)


@pytest.fixture
def plan(project: GitFolder) -> Iterator[Callable[..., Plan]]:
    """A function that plans a release of the project."""
    with Repository(project.folder) as repository:
        yield lambda **options: make_plan(
            load_config(project.folder / "release.toml", {}), Options(**options), repository, NOW
        )


def only(readings: list[Reading], what: str) -> Reading:
    (reading,) = [reading for reading in readings if reading.what == what]
    return reading


def told(reading: Reading) -> tuple[str, str, bool, str | None, str | None]:
    return reading.what, reading.style, reading.tagged, reading.format and reading.format.name, reading.quant


# The guide's names


@pytest.mark.parametrize(
    ("name", "expected", "fields"),
    [
        (RUN_NAME, (RUN, POLICY, False, None, None), RUN_FIELDS),
        ("v2.0.0", (TAG, POLICY, True, None, None), {"version": "2.0.0"}),
        ("model-v1.5.0", (TAG, POLICY, True, None, None), {"version": "1.5.0"}),
        ("export-v1.0.0", (TAG, POLICY, True, None, None), {"version": "1.0.0"}),
        (
            f"vllm-{RUN_NAME}.tar.gz",
            (ARTIFACT, POLICY, False, "vllm", None),
            {"prefix": "vllm", "run": RUN_NAME, **RUN_FIELDS},
        ),
        (
            f"ollama-q4_k_m-{RUN_NAME}-v2.0.0.tar.gz",
            (ARTIFACT, POLICY, True, "ollama", "q4_k_m"),
            {"prefix": "ollama-q4_k_m", "run": RUN_NAME, "version": "2.0.0", **RUN_FIELDS},
        ),
        (
            "phi3mini4k-minimal-q4_k_m-gguf-v2.0.1",
            (REPO, POLICY, True, "ollama", "q4_k_m"),
            {"base": "phi3mini4k", "dataset": "minimal", "label": "q4_k_m-gguf", "version": "2.0.1"},
        ),
        (
            f"acme/{RUN_NAME}-vllm-20250915-124051",
            (REPO, POLICY, False, "vllm", None),
            {"run": RUN_NAME, "label": "vllm", "exported": NOW, **RUN_FIELDS},
        ),
        (f"{RUN_NAME}-lora", (REPO, POLICY, False, "lora", None), {"run": RUN_NAME, **RUN_FIELDS}),
        (
            f"{RUN_NAME}-vllm-v2.0.0",
            (EXPORT, POLICY, True, "vllm", None),
            {"run": RUN_NAME, "kind": "vllm", "version": "2.0.0", **RUN_FIELDS},
        ),
        (
            "vllm-adapter-20250915",
            (ARTIFACT, OLDER, False, "vllm", None),
            {"prefix": "vllm", "exported": datetime(2025, 9, 15, tzinfo=UTC)},
        ),
        (
            "vllm-adapter-v2.0.0.tar.gz",
            (ARTIFACT, OLDER, True, "vllm", None),
            {"prefix": "vllm", "version": "2.0.0"},
        ),
        (
            "phi3-avro-vllm-20250915",
            (REPO, OLDER, False, "vllm", None),
            {"base": "phi3", "dataset": "avro", "label": "vllm", "exported": datetime(2025, 9, 15, tzinfo=UTC)},
        ),
    ],
)
def test_names_of_the_guide(config: Config, name: str, expected: tuple[Any, ...], fields: dict[str, Any]) -> None:
    """Every kind of name in the guide says what it is, of which format, and its fields."""
    reading = only(read_name(name, config), expected[0])
    assert told(reading) == expected
    assert reading.fields == fields


def test_former_names_of_a_format(config: Config) -> None:
    """An older name may have the format's plain name, which leaves the quantization type open."""
    for name, what in (("ollama-adapter-20250915", ARTIFACT), ("phi3-avro-ollama-20250915", REPO)):
        assert told(only(read_name(name, config), what)) == (what, OLDER, False, "ollama", None)
    assert told(only(read_name("phi3-avro-q4_k_m-gguf-20250915", config), REPO))[4] == "q4_k_m"


# Whatever the policy makes


@pytest.mark.parametrize("tag", [None, "v2.0.0", "v1.2.3-rc.1", "v1.2.3+cu124", "v1.2.3-rc.1+build.5"])
def test_every_name_of_a_plan_is_read_back(project: GitFolder, plan: Callable[..., Plan], tag: str | None) -> None:
    """Export folders, artifacts and repos of every format and type are read as what they were made for."""
    project.write("release.toml", QUANTS.replace('stream = "ollama-v{version}"\n', ""))
    project.commit("More types")
    if tag:
        project.tag(tag, "Release")
    made = plan()
    assert {target.name for target in made.targets} == {"vllm", "ollama q4_k_m", "ollama q8_0", "lora"}
    for target in made.targets:
        names = {EXPORT: target.export_dir.name, ARTIFACT: target.artifact.name, REPO: target.repo_id}
        for what, name in names.items():
            readings = read_as(what, name, made.config)
            expected = (what, POLICY, tag is not None, target.policy.name, target.variant.quant)
            assert [told(reading) for reading in readings if reading.style == POLICY] == [expected], name
            assert readings[0].fields.get("version") == made.version
            assert readings[0].fields["dataset"] == "minimal"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_fields_are_read_back(config: Config, data: st.DataObject) -> None:
    """A name made of any fields is read as those fields, whatever they hold."""
    word = st.from_regex(r"[A-Za-z0-9._]{1,12}", fullmatch=True)
    number = st.integers(0, 9999)
    moment = st.datetimes(datetime(1000, 1, 1), datetime(9999, 12, 31)).map(
        lambda drawn: drawn.replace(microsecond=0, tzinfo=UTC)
    )
    version = st.from_regex(r"(0|[1-9][0-9]?)\.[1-9]\.0(-[a-z]{1,4}\.[1-9])?(\+[0-9a-z]+(\.[a-z]+)?)?", fullmatch=True)
    fields: dict[str, Any] = {
        "base": data.draw(word),
        "dataset": data.draw(word),
        **{name: data.draw(number) for name in ("rank", "alpha", "epochs")},
        "trained": data.draw(moment),
        "exported": data.draw(moment),
        "version": data.draw(version),
    }
    fields["run"] = make_name(config.naming.run, fields, "run")
    assert only(read_name(fields["run"], config), RUN).fields.items() <= fields.items()
    for form in config.formats:
        for variant in form.variants:
            named = {**fields, "kind": variant.kind, "prefix": variant.prefix, "label": variant.label}
            for what in (EXPORT, ARTIFACT, REPO):
                for pattern in (form.names.of(what).tagged, form.names.of(what).untagged):
                    name = make_name(pattern, named, what)
                    (reading,) = [r for r in read_as(what, name, config) if r.style == POLICY]
                    assert (reading.format, reading.quant) == (form, variant.quant)
                    assert reading.fields.items() <= named.items()


def test_own_patterns_and_fields(policy: ReadPolicy) -> None:
    """A policy's own patterns and fields are read as its own."""
    config = policy(
        QUANTS + '[naming]\nrun = "{dataset}-s{seed}-{team}"\n'
        'repo = { tagged = "{run}-{label}-v{version}", untagged = "{run}-{label}-{exported:%Y%m%d-%H%M%S}" }\n'
        '[naming.fields]\nseed = "number"\nteam = "word"\n'
    )
    assert only(read_name("avro-s7-search", config), RUN).fields == {"dataset": "avro", "seed": 7, "team": "search"}
    reading = only(read_name("avro-s7-search-q8_0-gguf-v1.0.0", config), REPO)
    assert told(reading) == (REPO, POLICY, True, "ollama", "q8_0")
    assert reading.fields["seed"] == 7


def test_tag_of_a_format_s_own_stream(policy: ReadPolicy) -> None:
    """The tag of a format's own stream is a tag of the policy."""
    reading = only(read_name("ollama-v1.0.0", policy(QUANTS)), TAG)
    assert (reading.pattern.text, reading.fields) == ("ollama-v{version}", {"version": "1.0.0"})


def test_tag_with_a_slash(policy: ReadPolicy) -> None:
    """A stream's pattern may have a slash and any letters."""
    config = policy(RELEASE_TOML + '[tags]\nsemantic = { pattern = "выпуск/v{version}" }\n')
    assert only(read_name("выпуск/v1.0.0", config), TAG).fields == {"version": "1.0.0"}


# Order, doubles, and what is no name


def test_policy_comes_first(policy: ReadPolicy) -> None:
    """Readings by the policy come before those by an older style."""
    config = policy(RELEASE_TOML + '[naming]\nexport = { untagged = "{prefix}-adapter-{exported:%Y%m%d}" }\n')
    assert [(reading.what, reading.style) for reading in read_name("vllm-adapter-20250915", config)] == [
        (EXPORT, POLICY),
        (ARTIFACT, OLDER),
    ]


def test_nothing_is_read_twice(config: Config) -> None:
    """A versioned repo's name is of the policy and of the older style alike, and is read once."""
    readings = read_name("phi3-avro-vllm-v2.0.0", config)
    assert [told(reading) for reading in readings] == [(REPO, POLICY, True, "vllm", None)]


def test_own_older_styles(policy: ReadPolicy) -> None:
    """[naming.older] takes the place of the guide's older styles."""
    older = '[[naming.older.repo]]\ntagged = "{label}_v{version}"\nuntagged = "{label}_{exported:%Y.%m.%d}"\n'
    config = policy(RELEASE_TOML + older)
    assert told(only(read_name("vllm_2025.09.15", config), REPO)) == (REPO, OLDER, False, "vllm", None)
    assert read_as(REPO, "phi3-avro-vllm-20250915", config) == []
    assert read_as(ARTIFACT, "vllm-adapter-20250915", config) != []


@pytest.mark.parametrize(
    "name",
    [
        "",
        "nightly",
        "v1.0",
        "v01.0.0",
        "vllm-adapter-20251315",
        "vllm-adapter-2025091",
        "sglang-adapter-20250915",
        "phi3-avro-vllm-20250230",
        f"{RUN_NAME}-vllm-20250915-246060",
        f"{RUN_NAME}-vllm-",
        f"vllm-{RUN_NAME}.zip",
        f"{RUN_NAME}{ARCHIVE_ENDING}",
        f"{RUN_NAME}\n",
        "acme/",
        "-" * 500,
    ],
)
def test_no_name(config: Config, name: str) -> None:
    """What no pattern makes has no reading: a date that is none, another ending, another format."""
    assert read_name(name, config) == []
