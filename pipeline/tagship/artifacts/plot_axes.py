"""Axes of a plot: which range they show, and where their ticks are, on numbers that people read easily."""

import math
from collections.abc import Sequence

from msgspec import Struct

_UNITS = ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"), (1, "B"))
_MOST_STEPS = 6
_MOST_TICKS = 12
# How much of the largest value an axis shows at least: points of nearly equal sizes are drawn so.
_LEAST_SPAN = 0.1


class Axis(Struct, frozen=True, kw_only=True):
    """`low` and `high` are the values at its ends, `ticks` values with their labels."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """Where a value is: 0 at the low end, 1 at the high one."""
        if self.logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


class SizeAxis(Struct, frozen=True, kw_only=True):
    """Sizes of files, in `unit`s of `bytes_each`."""

    axis: Axis
    unit: str
    bytes_each: int

    def place(self, size: int) -> float:
        """Where a size in bytes is: 0 at the low end, 1 at the high one."""
        return self.axis.place(size / self.bytes_each)


def size_axis(sizes: Sequence[int]) -> SizeAxis:
    """A linear axis for sizes in bytes, at least one, in the unit of the largest."""
    each, unit = next((each, unit) for each, unit in _UNITS if max(sizes) >= each or each == 1)
    low, high = min(sizes) / each, max(sizes) / each
    least = high * _LEAST_SPAN or 1.0
    if high - low < least:
        middle = (low + high) / 2
        low, high = max(0.0, middle - least / 2), middle + least / 2
    factor, exponent = _step(high - low)
    step = _number(factor, exponent)
    first, last = math.floor(low / step), math.ceil(high / step)
    values = [_number(factor * number, exponent) for number in range(first, last + 1)]
    ticks = tuple((value, f"{value:.{max(0, -exponent)}f}") for value in values)
    return SizeAxis(axis=Axis(low=values[0], high=values[-1], ticks=ticks), unit=unit, bytes_each=each)


def log_axis(values: Sequence[float]) -> Axis:
    """A logarithmic axis for positive values, at least one; it ends at 1, 2 or 5 times a power of ten."""
    exponents = range(_exponent(min(values)) - 1, _exponent(max(values)) + 2)
    series = [(factor, exponent) for exponent in exponents for factor in (1, 2, 5)]
    first = max(place for place, tick in enumerate(series) if _number(*tick) <= min(values))
    last = min(place for place, tick in enumerate(series) if _number(*tick) >= max(values))
    if first == last:
        first, last = first - 1, last + 1
    shown = series[first : last + 1]
    low, high = _number(*shown[0]), _number(*shown[-1])
    if len(shown) > _MOST_TICKS:
        shown = [tick for tick in shown if tick[0] == 1]
        shown = shown[:: math.ceil(len(shown) / _MOST_TICKS)]
    ticks = tuple((_number(*tick), _power(*tick)) for tick in shown)
    return Axis(low=low, high=high, ticks=ticks, logarithmic=True)


def _step(span: float) -> tuple[int, int]:
    """The smallest of 1, 2, 5 times a power of ten of which few enough cover a range."""
    exponent = _exponent(span) - 1
    steps = ((factor, exponent + more) for more in range(3) for factor in (1, 2, 5))
    return next(step for step in steps if span / _number(*step) <= _MOST_STEPS)


def _number(factor: int, exponent: int) -> float:
    """The float that is nearest to the decimal number; a product would be off by its rounding."""
    return float(f"{factor}e{exponent}")


def _exponent(value: float) -> int:
    """Of ten: how `value` is written in scientific notation."""
    return int(f"{value:e}".partition("e")[2])


def _power(factor: int, exponent: int) -> str:
    """A tick's label: 0.002, 0.5, 20; below a ten-thousandth 2·10⁻⁵."""
    if exponent >= -4:
        return f"{_number(factor, exponent):.{max(0, -exponent)}f}"
    raised = str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"10{raised}" if factor == 1 else f"{factor}·10{raised}"
