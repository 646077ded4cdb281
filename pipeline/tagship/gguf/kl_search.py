"""The least size whose measured divergence is within a limit: predicted first, then corrected by what is measured."""

from collections.abc import Callable, Mapping
from math import log

from msgspec import Struct

from tagship.gguf.allocation import Cost, Table, allocate, largest, predicted, smallest, total
from tagship.gguf.tensor_errors import Coded

# How often a mix is made and measured at most; and the share of a size that is not worth one more.
ROUNDS = 6
_NEAR = 0.005
# A divergence below this is none.
_LEAST = 1e-9


class Tried(Struct, frozen=True, kw_only=True):
    """A mix, the bytes of its tensors, and its divergence in nats: `predicted`, and `measured`."""

    found: Mapping[str, Coded]
    size: int
    predicted: float
    measured: float


def search(table: Table, cost: Cost, limit: float, measure: Callable[[Mapping[str, Coded]], float]) -> list[Tried]:
    """Mixes in the order in which they were tried; the smallest of those that are within the `limit` is what was
    searched for. None of them is where not even the largest mix is, which then is the last one.

    Between a mix that is too small and one that is large enough the logarithm of the divergence is taken to fall evenly
    with size; before there are both, predictions are multiplied by what the last one was wrong by.
    """
    tried: list[Tried] = []
    low, high = total(smallest(table)), total(largest(table))
    budget = _predicted_size(table, cost, limit, low, high)
    while len(tried) < ROUNDS:
        found = allocate(table, budget, cost)
        if any(found == before.found for before in tried):
            break
        tried.append(_tried(found, cost, measure))
        within = [each for each in tried if each.measured <= limit]
        beyond = [each for each in tried if each.measured > limit]
        if beyond and not within and max(each.size for each in beyond) >= high:
            break
        if within and beyond:
            good, bad = min(within, key=lambda each: each.size), max(beyond, key=lambda each: each.size)
            if good.size - bad.size <= _NEAR * good.size:
                break
            sides = [each.measured <= limit for each in tried[-2:]]
            # Twice on one side, the line has led too near to it.
            budget = (bad.size + good.size) // 2 if sides[0] == sides[-1] else _between(bad, good, limit)
        else:
            last = tried[-1]
            wrong = max(last.measured, _LEAST) / max(last.predicted, _LEAST)
            budget = _predicted_size(table, cost, limit / wrong, low, high)
            # What is measured moves a little with each mix: another step is to lead to the other side.
            step = _NEAR * last.size * len(tried)
            budget = max(budget, int(last.size + step)) if beyond else min(budget, int(last.size - step))
    if all(each.measured > limit for each in tried) and all(each.size < high for each in tried):
        tried.append(_tried(largest(table), cost, measure))
    return tried


def _tried(found: Mapping[str, Coded], cost: Cost, measure: Callable[[Mapping[str, Coded]], float]) -> Tried:
    return Tried(found=found, size=total(found), predicted=predicted(found, cost), measured=measure(found))


def _predicted_size(table: Table, cost: Cost, limit: float, low: int, high: int) -> int:
    """The least size whose predicted divergence is within a limit, about; the largest where none is."""
    while high - low > max(1, high // 1000):
        middle = (low + high) // 2
        within = predicted(allocate(table, middle, cost), cost) <= limit
        low, high = (low, middle) if within else (middle, high)
    return high


def _between(bad: Tried, good: Tried, limit: float) -> int:
    """Where the limit is met by a straight line, but not too near to either end."""
    above, below = log(bad.measured), log(max(good.measured, _LEAST))
    share = (above - log(limit)) / (above - below) if above > below else 0.5
    return int(bad.size + min(max(share, 0.2), 0.8) * (good.size - bad.size))
