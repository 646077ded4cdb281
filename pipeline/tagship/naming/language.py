"""Small regular languages, each as a regular expression and as an automaton.

A name is read by the expression. That it can be read in one way only is proven by the automaton:
two readings of one name are two walks through it that spell the same letters, and they are
searched for by walking in pairs (the squaring construction for ambiguity; R. Book et al.,
"Ambiguity in graphs and expressions", 1971).
"""

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from msgspec import Struct, field


class _Span(Struct, frozen=True, kw_only=True):
    """Where walks through a part of the automaton begin and end; `empty` if they may take no letter."""

    first: frozenset[int]
    last: frozenset[int]
    empty: bool


class _Automaton(Struct):
    """Glushkov's: a state for every letter of the expression, the letters it takes, and what may follow."""

    letters: list[frozenset[str]] = field(default_factory=list)
    part: list[int] = field(default_factory=list)
    follow: list[set[int]] = field(default_factory=list)

    def state(self, letters: frozenset[str], part: int) -> int:
        self.letters.append(letters)
        self.part.append(part)
        self.follow.append(set())
        return len(self.letters) - 1

    def connect(self, before: Iterable[int], after: frozenset[int]) -> None:
        for state in before:
            self.follow[state] |= after


class Language(Struct, frozen=True, kw_only=True):
    """A set of texts: its regular expression, and how it is built into an automaton."""

    regex: str
    build: Callable[[_Automaton, int], _Span]


def letters(allowed: str) -> Language:
    """One of some letters."""
    taken = frozenset(allowed)
    listed = "".join(sorted(map(re.escape, taken)))

    def build(automaton: _Automaton, part: int) -> _Span:
        state = frozenset([automaton.state(taken, part)])
        return _Span(first=state, last=state, empty=False)

    return Language(regex=f"[{listed}]" if len(taken) > 1 else listed, build=build)


def text(literal: str) -> Language:
    """Just this text."""
    return sequence(*map(letters, literal))


def sequence(*languages: Language) -> Language:
    """One text of each, in order."""

    def build(automaton: _Automaton, part: int) -> _Span:
        return _joined(automaton, (language.build(automaton, part) for language in languages))

    return Language(regex="".join(language.regex for language in languages), build=build)


def one_of(*literals: str) -> Language:
    """One of some texts."""

    def build(automaton: _Automaton, part: int) -> _Span:
        # Texts share the states of what they begin with: there are fewer pairs of them than of all letters.
        states: dict[str, int] = {}
        for begun in (literal[:end] for literal in literals for end in range(1, len(literal) + 1)):
            if begun not in states:
                states[begun] = automaton.state(frozenset(begun[-1]), part)
                automaton.connect([states[begun[:-1]]] if begun[:-1] else [], frozenset([states[begun]]))
        return _Span(
            first=frozenset(state for begun, state in states.items() if len(begun) == 1),
            last=frozenset(states[literal] for literal in literals if literal),
            empty="" in literals,
        )

    longest_first = sorted(literals, key=len, reverse=True)
    return Language(regex=f"(?:{'|'.join(map(re.escape, longest_first))})", build=build)


def repeated(language: Language, *, at_least: int) -> Language:
    """Texts of a language one after another: any number from 0 or 1 on."""

    def build(automaton: _Automaton, part: int) -> _Span:
        span = language.build(automaton, part)
        automaton.connect(span.last, span.first)
        return _Span(first=span.first, last=span.last, empty=span.empty or at_least == 0)

    return Language(regex=f"(?:{language.regex}){'+' if at_least else '*'}", build=build)


def two_readings(parts: Sequence[Language]) -> tuple[list[str], list[str]] | None:
    """A text that can be divided among the parts in two ways, as both divisions; None if there is none."""
    automaton = _Automaton()
    whole = _joined(automaton, (language.build(automaton, number) for number, language in enumerate(parts)))
    first = [(one, other, False) for one in whole.first for other in whole.first]
    came_from: dict[_Pair, _Pair | None] = {}
    waiting: deque[tuple[_Pair, _Pair | None]] = deque((pair, None) for pair in _steps(automaton, first))
    while waiting:
        pair, before = waiting.popleft()
        if pair in came_from:
            continue
        came_from[pair] = before
        one, other, differs = pair
        if differs and one in whole.last and other in whole.last:
            return _divisions(automaton, _walk(came_from, pair), len(parts))
        follow = ((a, b, differs) for a in automaton.follow[one] for b in automaton.follow[other])
        waiting.extend((step, pair) for step in _steps(automaton, follow))
    return None


_Pair = tuple[int, int, bool]


def _joined(automaton: _Automaton, spans: Iterable[_Span]) -> _Span:
    first: frozenset[int] = frozenset()
    last: frozenset[int] = frozenset()
    empty = True
    for span in spans:
        automaton.connect(last, span.first)
        first = first | span.first if empty else first
        last = last | span.last if span.empty else span.last
        empty = empty and span.empty
    return _Span(first=first, last=last, empty=empty)


def _steps(automaton: _Automaton, pairs: Iterable[_Pair]) -> Iterator[_Pair]:
    """Those pairs of states that some letter leads into; the walks differ once a letter is of two parts."""
    for one, other, differs in pairs:
        if not automaton.letters[one].isdisjoint(automaton.letters[other]):
            yield one, other, differs or automaton.part[one] != automaton.part[other]


def _walk(came_from: dict[_Pair, _Pair | None], end: _Pair) -> list[_Pair]:
    walk = [end]
    while (before := came_from[walk[-1]]) is not None:
        walk.append(before)
    return walk[::-1]


def _divisions(automaton: _Automaton, walk: Sequence[_Pair], count: int) -> tuple[list[str], list[str]]:
    ours, theirs = [""] * count, [""] * count
    for one, other, _ in walk:
        shared = automaton.letters[one] & automaton.letters[other]
        letter = min(shared, key=lambda letter: (not letter.islower(), not letter.isdigit(), letter))
        ours[automaton.part[one]] += letter
        theirs[automaton.part[other]] += letter
    return ours, theirs
