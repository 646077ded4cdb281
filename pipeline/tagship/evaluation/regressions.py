"""Two models on one task: which answers got worse, which better, and whether that may be released."""

import math
from collections.abc import Sequence

from msgspec import Struct

from tagship.evaluation.results import Evaluation
from tagship.system.errors import ReleaseError

# Points are kept with six digits: less is rounding.
_TOLERANCE = 1e-6
_TOLD = 20


class Flip(Struct, frozen=True, kw_only=True):
    """A case that two models have different points for."""

    id: str
    before: float
    after: float


class Flips(Struct, frozen=True, kw_only=True):
    """What changed from one model to another: `compared` is how many cases both were asked, `drop` by how much the mean
    score over those is lower (a fraction; negative where it is higher)."""

    compared: int
    drop: float
    worse: tuple[Flip, ...]
    better: tuple[Flip, ...]


def flips(before: Evaluation, after: Evaluation) -> Flips:
    """Which cases got worse and which better. Cases are the same where they ask and expect the same, whatever they are
    called; those that only one of the two was asked, as between releases, are not compared."""
    known = {case.digest: case.points for case in before.cases}
    both = [
        Flip(id=case.id, before=known[case.digest], after=case.points) for case in after.cases if case.digest in known
    ]
    return Flips(
        compared=len(both),
        drop=math.fsum(flip.before - flip.after for flip in both) / max(len(both), 1),
        worse=tuple(flip for flip in both if flip.before - flip.after > _TOLERANCE),
        better=tuple(flip for flip in both if flip.after - flip.before > _TOLERANCE),
    )


def check_regression(before: Evaluation, after: Evaluation, limit: float) -> Flips:
    """Raise ReleaseError that names the cases which got worse, when the mean score is lower by more than `limit`, a
    fraction. Returns the flips of what is within it."""
    changed = flips(before, after)
    if changed.drop > limit + _TOLERANCE:
        raise ReleaseError(
            f"{after.model} is worse than {before.model} at {after.task!r}: over {changed.compared} cases its mean "
            f"score is lower by {changed.drop:.3g}, and the limit is {limit:g}; {_told('worse', changed.worse)}"
            + (f"; {_told('better', changed.better)}" if changed.better else ""),
            remedy="nothing was published; if these answers may be lost, raise max_regression in [evaluate] of "
            "release.toml, which is a fraction",
        )
    return changed


def _told(how: str, changed: Sequence[Flip]) -> str:
    named = ", ".join(f"{flip.id} ({flip.before:.3g} → {flip.after:.3g})" for flip in changed[:_TOLD])
    more = f" and {len(changed) - _TOLD} more" if len(changed) > _TOLD else ""
    return f"{how}: {named}{more}"
