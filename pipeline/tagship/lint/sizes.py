"""The number of parameters that a name says (`7b`, `135m`, `8x7b`, `30b-a3b`), and whether a model has as many.

People round, cut, count embeddings or leave them out: Llama's 7B has 6.74 billion parameters, Gemma's 8.54. A size is
wrong only where no way of counting makes it right.
"""

import re
from collections.abc import Iterable, Iterator

from msgspec import Struct

_UNITS = {"b": 10**9, "m": 10**6}
# How far off rounding and marketing go, either way.
_TOLERANCE = 0.15
# Up to how many times as much a size is doubtful rather than wrong: models of several parts are called after one.
_NEARLY = 1.6
# Numbers up to this are also those of examples, or of tokens of context.
_OTHER_THINGS = 10_000_000
_NUMBER = r"\d+(?:\.\d+)?"
_TOKEN = re.compile(
    r"(?<![a-z0-9.])(?:"
    rf"(?P<times>\d+)x(?P<each>{_NUMBER})(?P<each_unit>[bm])"
    rf"|(?P<kind>[ae]?)(?P<number>{_NUMBER}|\d_\d)(?P<unit>[bm])"
    r"|(?P<whole>\d{1,3})b(?P<tenth>\d)"  # 1b7, as Bloom has it
    r")(?![a-z0-9]|\.\d)"
)
_GLUED = re.compile(r"(?<=[a-z])(?P<number>\d[\d.]*)(?P<unit>[bm])(?![a-z0-9])")
# Before or after it, a number is of what a model was trained on.
_DATA = r"(?:tokens?|toks?|steps?|rows|samples)"
_AFTER, _BEFORE = re.compile(rf"[-_]{_DATA}(?![a-z])"), re.compile(rf"{_DATA}[-_]\Z")


class Parameters(Struct, frozen=True, kw_only=True):
    """How many parameters a model has: in all, in embedding and head, in what sees or hears, in experts; and of how
    many experts how many are used for a token (0: nobody says; of no experts: it is no mixture)."""

    total: int
    vocabulary: int = 0
    senses: int = 0
    in_experts: int = 0
    experts: int = 0
    used: int = 0

    @property
    def least(self) -> int:
        """Without embedding and head, and what sees or hears."""
        return self.total - self.vocabulary - self.senses

    def with_experts(self, number: int) -> int:
        """The parameters that are used for a token with so many experts."""
        return self.total - self.in_experts + self.in_experts * number // max(self.experts, 1)

    @property
    def shown(self) -> str:
        """As people read it."""
        mixture = f", {counted(self.with_experts(self.used))} of them for a token" if self.used else ""
        return f"{counted(self.total)} parameters{mixture}"


class Size(Struct, frozen=True, kw_only=True):
    """A size as a name has it: `readings` are the numbers that it may mean, in parameters, each with the worth of one
    in its last digit. `experts` is the number in `8x7b`; `active` is whether it is what is used for a token (`a3b`).
    `glued` is one that does not stand by itself, as in `qwen27b`."""

    text: str
    readings: tuple[tuple[float, float], ...]
    experts: int | None = None
    active: bool = False
    glued: bool = False

    def fits(self, held: Parameters) -> bool:
        """Whether a model of this many parameters may be called so."""
        return any(_fits(number, unit, *bounds) for bounds in self._bounds(held) for number, unit in self.readings)

    def may_be(self, held: Parameters) -> bool:
        """Whether it is only doubtful: nearly right, so small that it may count something else (`1m` of context), or
        glued to other letters, where a number before a "b" may be another one."""
        near = _NEARLY if self.experts is None else 1.0
        return self.glued or any(
            number <= _OTHER_THINGS or (number <= most * near and least <= number * near)
            for least, most in self._bounds(held)
            for number, _ in self.readings
        )

    def _bounds(self, held: Parameters) -> Iterator[tuple[int, int]]:
        """From the least to the most that can be counted, for each way to count."""
        if self.experts is not None:
            if self.experts == held.experts:
                one = held.with_experts(1)
                yield one - held.vocabulary, one
            return
        if held.used:
            used = held.with_experts(held.used)
            yield used - held.vocabulary, used
        if not self.active:
            yield held.least, held.total
        elif held.experts and not held.used:
            yield 0, held.total


def sizes_in(name: str, beside: Iterable[str] = ()) -> list[Size]:
    """The sizes that a name says; not those in the texts `beside`, such as that of a data set."""
    text = name.lower()
    for other in beside:
        text = text.replace(other.lower(), "?" * len(other))
    found = [_size(match) for match in _TOKEN.finditer(text) if not _is_of_data(text, match)]
    standing = [size for size in found if size is not None]
    return standing or [_glued(match) for match in _GLUED.finditer(text)]


def counted(parameters: float) -> str:
    """A number of parameters as people write it: 3.8B, 135M."""
    for unit, worth in (("B", 1e9), ("M", 1e6), ("K", 1e3)):
        if parameters >= 0.95 * worth:
            return f"{parameters / worth:.3g}{unit}"
    return str(int(parameters))


def _size(match: re.Match[str]) -> Size | None:
    if match["times"]:
        one = _reading(match["each"], match["each_unit"])
        return Size(text=match[0], readings=(one,), experts=int(match["times"]))
    if match["whole"]:
        return Size(text=match[0], readings=(_reading(f"{match['whole']}.{match['tenth']}", "b"),))
    if match["kind"] == "e":  # effective, as Gemma 3n counts: without what it keeps out of the accelerator
        return Size(text=match[0], readings=((0.0, float("inf")),))
    numbers = [match["number"]]
    if "_" in match["number"]:  # 1_6b: a decimal, or what follows another number
        numbers = [match["number"].replace("_", "."), match["number"].partition("_")[2]]
    readings = tuple(_reading(number, match["unit"]) for number in numbers)
    if not any(number for number, _ in readings):
        return None
    return Size(text=match[0], readings=readings, active=match["kind"] == "a")


def _glued(match: re.Match[str]) -> Size:
    """Where hyphens were cut out, a version may stand before the size: llama3.18b is of 8b, qwen2.50.5b of 0.5b."""
    digits, unit = match["number"], match["unit"]
    tails = {digits[start:] for start in range(len(digits)) if re.fullmatch(_NUMBER, digits[start:])}
    return Size(text=digits + unit, readings=tuple(_reading(tail, unit) for tail in sorted(tails)), glued=True)


def _reading(number: str, unit: str) -> tuple[float, float]:
    return float(number) * _UNITS[unit], 10.0 ** -len(number.partition(".")[2]) * _UNITS[unit]


def _fits(number: float, last_digit: float, least: int, most: int) -> bool:
    if last_digit == float("inf"):
        return True
    return number <= most * (1 + _TOLERANCE) and least <= max(number * (1 + _TOLERANCE), number + last_digit)


def _is_of_data(text: str, match: re.Match[str]) -> bool:
    return bool(_AFTER.match(text, match.end()) or _BEFORE.search(text[: match.start()]))
