"""What steps return, and how later steps select from it."""

from datetime import UTC, datetime

import pytest
from msgspec import Struct
from tagship.policy.config import load_config
from tagship.release.options import Options
from tagship.release.plan import make_plan
from tagship.release.results import Results
from tagship.release.targets import Target
from tagship.system.git import Repository

from tests.conftest import GitFolder


class Made(Struct, frozen=True, dict=True):
    """Something of the whole plan."""

    number: int


class Exported(Struct, frozen=True, dict=True):
    """Something of one target."""

    target: Target
    number: int


@pytest.fixture
def targets(project: GitFolder) -> tuple[Target, ...]:
    config = load_config(project.folder / "release.toml", {})
    with Repository(config.root) as repository:
        return make_plan(config, Options(), repository, datetime(2025, 9, 15, tzinfo=UTC)).targets


def test_of_one_kind_in_order() -> None:
    """All of a kind are found in the order in which they came, and nothing else."""
    results = Results([Made(1), "text", Made(2)])
    assert results.of(Made) == (Made(1), Made(2))
    assert results.of(str) == ("text",)
    assert results.of(int) == ()


def test_plus_changes_nothing() -> None:
    """Adding gives longer results and leaves the shorter ones as they are; a generator is taken once."""
    short = Results([Made(1)])
    long = short.plus(Made(number) for number in (2, 3))
    assert short.of(Made) == (Made(1),)
    assert long.of(Made) == long.of(Made) == (Made(1), Made(2), Made(3))


def test_the_newest_counts() -> None:
    """`one` is the newest of a kind, and a LookupError where there is none."""
    results = Results([Made(1), Made(2)])
    assert results.one(Made) == Made(2)
    with pytest.raises(LookupError):
        results.one(str)
    with pytest.raises(LookupError):
        Results().one(Made)


def test_by_target(targets: tuple[Target, ...]) -> None:
    """`for_target` is the newest of a kind for that target, and names kind and target where there is none."""
    first, second, third = targets
    results = Results([Exported(first, 1), Exported(second, 2), Exported(first, 3), Made(4)])
    assert results.for_target(Exported, first) == Exported(first, 3)
    assert results.for_target(Exported, second) == Exported(second, 2)
    assert results.find(Exported, third) is None
    with pytest.raises(LookupError, match=f"no Exported for {third.name}"):
        results.for_target(Exported, third)


def test_what_has_no_target(targets: tuple[Target, ...]) -> None:
    """What is of the whole plan is of no target."""
    assert Results([Made(1)]).find(Made, targets[0]) is None


def test_names_of_targets(targets: tuple[Target, ...]) -> None:
    """A target is called by its format, and by its quantization type where it has one."""
    assert [target.name for target in targets] == ["vllm", "ollama q4_k_m", "lora"]
