"""Properties of reading names: any text is read, whatever is there, and quickly."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tagship.gguf.labels import label_in, unread_label_in
from tagship.lint.checks import lint_names
from tagship.lint.finding import ERROR, OK, WARN
from tagship.lint.held import ADAPTER, GGUF, MERGED, Fact, Held
from tagship.lint.names import named
from tagship.lint.quants import Quantized, missing_parts
from tagship.lint.sizes import Parameters, counted, sizes_in
from tagship.naming.names import ARTIFACT, EXPORT, REPO
from tagship.naming.parsing import RUN
from tagship.policy.config import Config, load_config

from tests.conftest import POLICY

PARTS = [
    "phi3",
    "llama",
    "7b",
    "8x7b",
    "a3b",
    "1_6b",
    "q4_k_m",
    "GGUF",
    "lora",
    "v1.0.0",
    "r8",
    "e3",
    "chat",
    "20250914",
]
names = st.one_of(
    st.text(max_size=60), st.lists(st.one_of(st.sampled_from(PARTS), st.text(max_size=4)), max_size=8).map("-".join)
)
counts = st.integers(0, 10**13)


def facts(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values.map(lambda value: Fact(value, "a file"))


parameters = st.builds(
    Parameters,
    total=counts,
    vocabulary=counts,
    in_experts=counts,
    experts=st.integers(0, 300),
    used=st.integers(0, 300),
)
ggufs = st.builds(
    Quantized,
    kind=st.sampled_from(["model", "adapter", "mmproj"]),
    file_type=st.none() | st.sampled_from(["Q4_K_M", "F16", "type 99"]),
    shares=st.just((("Q4_K", 1.0),)) | st.just(()),
)
held = st.builds(
    Held,
    where=st.just("its files"),
    holds=st.frozensets(st.sampled_from([ADAPTER, MERGED, GGUF])),
    base_ids=st.lists(names, max_size=2).map(tuple),
    architecture=facts(st.sampled_from(["phi3", "llama", "new"]) | st.text(max_size=5)),
    parameters=facts(parameters),
    rank=facts(st.integers(1, 100)),
    alpha=facts(st.floats(0, 1e300)),
    epochs=facts(st.floats(allow_nan=True)),
    stopped=facts(st.floats(allow_nan=True)),
    dataset=facts(names),
    quant=facts(st.sampled_from(["Q4_K_M", "Q8_0"])),
    version=facts(st.none() | st.just("1.0.0")),
    repo_tags=facts(st.just(()) | st.just(("1.0.0",))),
    ggufs=st.dictionaries(names, ggufs, max_size=3),
)


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The policy of the tests."""
    path = tmp_path_factory.mktemp("policy") / "release.toml"
    path.write_text(POLICY)
    return load_config(path, {})


@settings(deadline=None)
@given(text=names, what=st.sampled_from([RUN, EXPORT, ARTIFACT, REPO]), there=held)
def test_any_name_of_anything(policy: Config, text: str, what: str, there: Held) -> None:
    """Any text is held against anything: each finding has a level and a line, and each error a remedy."""
    for finding in lint_names([named(text, what, policy)], there):
        assert finding.level in (ERROR, WARN, OK) and finding.sentence
        assert finding.remedy or finding.level != ERROR


@settings(deadline=None)
@given(text=names, there=parameters)
def test_sizes_of_any_name(text: str, there: Parameters) -> None:
    """Any text says some sizes or none, and each fits or does not."""
    assert all(size.fits(there) in (True, False) for size in sizes_in(text, [text[:3]]))
    assert counted(there.total) and there.shown


@settings(deadline=None)
@given(text=names)
def test_labels_of_any_name(text: str) -> None:
    """Any file name has a label or none; one that ends with a label that is known has that."""
    assert label_in(text) is None or label_in(text) in text.upper()
    assert label_in(f"{text}-Q4_K_M.gguf") == "Q4_K_M"
    assert unread_label_in(text) is None or unread_label_in(text) in text  # type: ignore[operator]
    assert len(missing_parts(text)) <= 2


@pytest.mark.parametrize(
    "text", ["1" * 5000 + "b", "a" + "1." * 2000 + "b", "1_" * 3000, "-v1.0.0" * 999, "7b-" * 2000]
)
def test_long_names(policy: Config, text: str) -> None:
    """A name of any length is read."""
    assert lint_names([named(text, REPO, policy)], Held(where="its files", holds=frozenset({GGUF})))
