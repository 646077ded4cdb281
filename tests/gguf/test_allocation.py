"""Which type each tensor gets: by what it costs and takes, and by what a limit is found to need."""

import math
from collections.abc import Mapping

import pytest
from tagship.gguf.allocation import allocate, largest, predicted, smallest, total
from tagship.gguf.kl_search import ROUNDS, search
from tagship.gguf.tensor_errors import Coded

KINDS = {"Q2_K": (26, 0.1), "Q4_K": (45, 0.01), "Q6_K": (66, 0.001)}


def table(**tensors: float) -> dict[str, tuple[Coded, ...]]:
    """Tensors of a thousand numbers in three types, each with what its losses are multiplied by."""
    return {
        name: tuple(Coded(type=kind, size=10 * bits, loss=loss) for kind, (bits, loss) in KINDS.items())
        for name in tensors
    }


def costs_by(**tensors: float):
    return lambda name, coded: tensors[name] * coded.loss


def test_bits_go_where_errors_cost_most() -> None:
    """Of tensors that lose alike, the one whose losses cost more gets more bits; no mix is over its bytes, and more
    bytes never cost more."""
    factors = {"dear": 10.0, "cheap": 0.1}
    tensors, cost = table(**factors), costs_by(**factors)
    found = allocate(tensors, 920, cost)
    assert (found["dear"].type, found["cheap"].type) == ("Q6_K", "Q2_K")
    before = math.inf
    for budget in range(520, 1400, 20):
        mix = allocate(tensors, budget, cost)
        assert total(mix) <= budget
        assert predicted(mix, cost) <= before
        before = predicted(mix, cost)
        assert mix == allocate(dict(reversed(tensors.items())), budget, cost)


def test_the_smallest_and_the_largest() -> None:
    """Too few bytes give the smallest mix, more than enough the largest."""
    tensors, cost = table(a=1, b=1), costs_by(a=1, b=1)
    assert allocate(tensors, 1, cost) == smallest(tensors)
    assert allocate(tensors, 10_000, cost) == largest(tensors)


@pytest.mark.parametrize("wrong", [0.3, 1.0, 4.0])
def test_a_limit_is_met_by_what_is_measured(wrong: float) -> None:
    """Predictions that are wrong by a factor are corrected: what is found is within the limit as measured, in few
    rounds, and little larger than the smallest mix that is."""
    factors = {f"t{number}": 1.0 + number for number in range(40)}
    tensors, cost = table(**factors), costs_by(**factors)
    tried = search(tensors, cost, 10.0, lambda found: wrong * predicted(found, cost))
    assert len(tried) <= ROUNDS + 1
    best = min((each for each in tried if each.measured <= 10.0), key=lambda each: each.size)
    least = min(
        size
        for size in range(total(smallest(tensors)), total(largest(tensors)), 50)
        if wrong * predicted(allocate(tensors, size, cost), cost) <= 10.0
    )
    assert best.size <= 1.02 * least


def test_a_limit_that_no_mix_is_within() -> None:
    """The largest mix is measured before it is given up; one that is always within gives the smallest that was tried
    in its rounds."""
    tensors, cost = table(a=1, b=2), costs_by(a=1, b=2)
    measured: list[Mapping[str, Coded]] = []

    def never(found: Mapping[str, Coded]) -> float:
        measured.append(found)
        return 1.0

    assert all(each.measured > 0.5 for each in search(tensors, cost, 0.5, never))
    assert measured[-1] == largest(tensors)
    assert search(tensors, cost, 0.5, lambda _: 0.0)[-1].found == smallest(tensors)
