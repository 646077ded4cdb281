"""What writes drafts of answers: the exports of a release, as far as memory holds them."""

import pytest
from tagship.release.trained import best_draft, fair_rounds


@pytest.mark.parametrize(
    ("sizes", "room", "best"),
    [
        ([16, 8, 4], 100, 1),  # 16 bits are no faster than the base itself, and 8 are more like it than 4
        ([16, 8, 4], 7, 2),  # 8 would be read from the disk for each token
        ([16, 12], 100, 1),  # the smallest, where all are nearly as large as the base
        ([16, 8], 7, None),
        ([], 100, None),
    ],
)
def test_best_draft(sizes: list[int], room: int, best: int | None) -> None:
    """The largest export that is well below the base, of those that memory holds."""
    assert best_draft(sizes, 16, room) == best


@pytest.mark.parametrize(("billions", "rounds"), [(0.1, 18), (1.9, 18), (7.6, 9), (16.2, 4), (140, 4)])
def test_fair_rounds(billions: float, rounds: int) -> None:
    """As many as read some 70 GB, and some of the largest base, too."""
    assert fair_rounds(int(billions * 1e9)) == rounds
