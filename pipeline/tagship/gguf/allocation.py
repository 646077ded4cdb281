"""Which type each tensor gets so that costs sum up to about the least within so many bytes: Lagrange's multiplier, and
what is left is spent where it gains most."""

from collections.abc import Callable, Mapping, Sequence

from tagship.gguf.tensor_errors import Coded

Table = Mapping[str, Sequence[Coded]]
# What a tensor costs in a type.
Cost = Callable[[str, Coded], float]
# Halvings of the exponent of the price of a byte.
_STEPS = 100
_LOWEST, _HIGHEST = -60.0, 20.0


def allocate(table: Table, budget: int, cost: Cost) -> dict[str, Coded]:
    """A type for each tensor, within `budget` bytes; that is the smallest mix where the budget is less. The same table
    gives the same mix."""
    found = _at(table, cost, _HIGHEST)
    low, high = _LOWEST, _HIGHEST
    for _ in range(_STEPS):
        middle = (low + high) / 2
        tried = _at(table, cost, middle)
        if total(tried) <= budget:
            high, found = middle, tried
        else:
            low = middle
    while better := _best(table, found, budget - total(found), cost):
        name, choice = better
        found[name] = choice
    return found


def smallest(table: Table) -> dict[str, Coded]:
    """Each tensor in the type of fewest bytes."""
    return {name: min(rows, key=lambda each: (each.size, each.loss)) for name, rows in table.items()}


def largest(table: Table) -> dict[str, Coded]:
    """Each tensor in the type of most bytes."""
    return {name: max(rows, key=lambda each: (each.size, -each.loss)) for name, rows in table.items()}


def total(found: Mapping[str, Coded]) -> int:
    """The bytes of a mix."""
    return sum(each.size for each in found.values())


def predicted(found: Mapping[str, Coded], cost: Cost) -> float:
    """What a mix costs."""
    return sum(cost(name, coded) for name, coded in found.items())


def _at(table: Table, cost: Cost, exponent: float) -> dict[str, Coded]:
    """What is best for each tensor where a byte has a price, as a power of 10."""
    price = 10.0**exponent
    return {
        name: min(rows, key=lambda each: (cost(name, each) + price * each.size, each.size))
        for name, rows in table.items()
    }


def _best(table: Table, found: Mapping[str, Coded], left: int, cost: Cost) -> tuple[str, Coded] | None:
    """What gains most for each of the bytes that are left."""
    gains = [
        ((cost(name, found[name]) - cost(name, each)) / (each.size - found[name].size), name, each)
        for name, rows in table.items()
        for each in rows
        if 0 < each.size - found[name].size <= left and cost(name, each) < cost(name, found[name])
    ]
    return max(gains, key=lambda gain: (gain[0], gain[1], gain[2].size))[1:] if gains else None
