"""Two models on one task."""

import pytest
from tagship.evaluation.regressions import Flip, check_regression, flips
from tagship.evaluation.results import CaseScore, Evaluation
from tagship.evaluation.scoring import EXACT
from tagship.system.errors import ReleaseError


def scored(model: str, named: bool = False, **points: float) -> Evaluation:
    """`named`: the same cases under other names."""
    cases = tuple(
        CaseScore(id=f"new {key}" if named else key, score=EXACT, digest=key, points=value)
        for key, value in points.items()
    )
    return Evaluation(task="Sums", model=model, max_tokens=64, cases=cases)


def test_flips() -> None:
    """Answers that got worse and better are told, by their names of now, and by how much the mean is lower."""
    changed = flips(scored("a", a=1, b=1, c=0, d=0.5), scored("b", named=True, d=0.25, c=1, b=0, a=1))
    assert (changed.compared, changed.drop) == (4, 0.0625)
    assert changed.worse == (Flip(id="new d", before=0.5, after=0.25), Flip(id="new b", before=1, after=0))
    assert changed.better == (Flip(id="new c", before=0, after=1),)


def test_other_cases() -> None:
    """Cases that only one of the two was asked are not compared."""
    changed = flips(scored("a", a=1, b=1), scored("b", b=1, c=0))
    assert (changed.compared, changed.drop, changed.worse, changed.better) == (1, 0, (), ())


def test_nothing_in_common() -> None:
    """Without a common case nothing is compared, and nothing refused: the caller can see that."""
    assert check_regression(scored("a", a=1), scored("b", b=0), 0.0).compared == 0


def test_rounding_is_no_flip() -> None:
    """Points that differ by less than is kept of them are equal."""
    changed = check_regression(scored("a", a=0.3000001), scored("b", a=0.3), 0.0)
    assert (changed.worse, changed.better) == ((), ())


def test_regression() -> None:
    """A mean that is lower by more than the limit stops the release, and the message names what flipped."""
    before, after = scored("base + adapter", a=1, b=1, c=0, d=1), scored("the ollama export", a=0, b=0.5, c=1, d=1)
    with pytest.raises(ReleaseError) as caught:
        check_regression(before, after, 0.1)
    assert str(caught.value) == (
        "the ollama export is worse than base + adapter at 'Sums': over 4 cases its mean score is lower by 0.125, and "
        "the limit is 0.1; worse: a (1 → 0), b (1 → 0.5); better: c (0 → 1)"
    )
    assert "max_regression in [evaluate]" in str(caught.value.remedy)


@pytest.mark.parametrize("limit", [0.125, 0.2])
def test_within_the_limit(limit: float) -> None:
    """A drop of as much as the limit is allowed, and its flips are returned."""
    changed = check_regression(scored("a", a=1, b=1, c=1, d=1), scored("b", a=0.5, b=1, c=1, d=1), limit)
    assert [flip.id for flip in changed.worse] == ["a"]


def test_gains_make_up_for_losses() -> None:
    """It is the mean that has a limit; what flipped is told nevertheless."""
    changed = check_regression(scored("a", a=1, b=0), scored("b", a=0, b=1), 0.0)
    assert ([flip.id for flip in changed.worse], [flip.id for flip in changed.better]) == (["a"], ["b"])


def test_many_flips() -> None:
    """Of many flips the first ones are named, and how many there are."""
    names = [f"n{number}" for number in range(25)]
    with pytest.raises(ReleaseError, match=r"n19 \(1 → 0\) and 5 more$"):
        check_regression(scored("a", **dict.fromkeys(names, 1)), scored("b", **dict.fromkeys(names, 0)), 0.5)
