"""Small languages: what each holds, and whether a text can be divided among several in two ways."""

import re

import pytest
from tagship.naming.language import Language, letters, one_of, repeated, sequence, text, two_readings

LOWER = repeated(letters("abc"), at_least=1)
MAYBE = repeated(letters("abc"), at_least=0)
DIGITS = repeated(letters("0123456789"), at_least=1)


def holds(language: Language, written: str) -> bool:
    return re.fullmatch(language.regex, written) is not None


@pytest.mark.parametrize(
    ("language", "inside", "outside"),
    [
        (letters("ab"), ["a", "b"], ["", "c", "ab"]),
        (letters("]-^\\"), ["]", "-", "^", "\\"], ["", "a", "_", "["]),
        (letters("."), ["."], ["", "a"]),
        (text("a.b"), ["a.b"], ["", "axb", "a.b."]),
        (text(""), [""], ["a"]),
        (sequence(letters("ab"), text("-"), letters("cd")), ["a-c", "b-d"], ["a-", "-c", "ac", "a-cd"]),
        (sequence(), [""], ["a"]),
        (one_of("vllm", "q4_k_m-gguf", "a+"), ["vllm", "q4_k_m-gguf", "a+"], ["", "vll", "aa", "vllmvllm"]),
        (one_of("a", "ab", "abc"), ["a", "ab", "abc"], ["", "b", "abab"]),
        (one_of("a", ""), ["", "a"], ["aa"]),
        (repeated(letters("ab"), at_least=1), ["a", "abba"], ["", "abc"]),
        (repeated(letters("ab"), at_least=0), ["", "abba"], ["abc"]),
        (repeated(text("ab"), at_least=1), ["ab", "abab"], ["", "a", "aba", "abb"]),
        (repeated(one_of("a", "bc"), at_least=1), ["abc", "bca", "aa"], ["", "b", "acb"]),
    ],
)
def test_what_a_language_holds(language: Language, inside: list[str], outside: list[str]) -> None:
    """A language's expression matches its texts, letters that mean something to expressions too, and no others."""
    assert [written for written in inside + outside if holds(language, written)] == inside


def test_longest_text_first() -> None:
    """Of texts that begin with each other the expression tries the longest first, and a shorter one if it must."""
    wanted = re.compile(f"({one_of('q4', 'q4_k', 'q4_k_m').regex})(.*)")
    for written, taken in (("q4_k_m-x", "q4_k_m"), ("q4_k-m", "q4_k"), ("q4-k", "q4")):
        found = wanted.fullmatch(written)
        assert found is not None
        assert found[1] == taken


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [LOWER],
        [MAYBE],
        [LOWER, text("-"), LOWER],
        [LOWER, DIGITS],
        [LOWER, DIGITS, LOWER, DIGITS],
        [letters("ab"), letters("ab"), letters("ab")],
        [LOWER, letters("abc")],
        [LOWER, text("a")],
        [text("a"), MAYBE],
        [one_of("a", "ab"), text("-")],
        [one_of("a", "aa"), one_of("b", "bb")],
        [text("v"), DIGITS, text("v"), DIGITS],
        [MAYBE, text("-"), MAYBE],
        [text(""), text("")],
        [one_of("a", "b"), one_of("ab", "ba")],
        [MAYBE, text("-"), repeated(letters("-b"), at_least=0), text("-"), MAYBE],
    ],
)
def test_one_reading(parts: list[Language]) -> None:
    """Parts that a letter, a length or a kind of letter tells apart divide any text in one way."""
    assert two_readings(parts) is None


@pytest.mark.parametrize(
    "parts",
    [
        [LOWER, LOWER],
        [LOWER, MAYBE],
        [MAYBE, MAYBE],
        [LOWER, text("a"), LOWER],
        [DIGITS, DIGITS],
        [LOWER, text(""), LOWER],
        [LOWER, one_of("-", ""), LOWER],
        [repeated(letters("a-"), at_least=1), text("-"), repeated(letters("a-"), at_least=1)],
        [one_of("a", "ab"), one_of("bc", "c")],
        [one_of("a", ""), one_of("a", "")],
        [one_of("vllm", "vllm-x"), text("-"), one_of("x-y", "y")],
        [repeated(text("ab"), at_least=1), repeated(text("ab"), at_least=1)],
    ],
)
def test_two_readings(parts: list[Language]) -> None:
    """Where a text can be divided in two ways, both are shown: the same text, in two ways, each part its language's."""
    found = two_readings(parts)
    assert found is not None
    one, other = found
    assert "".join(one) == "".join(other)
    assert one != other
    for division in found:
        assert len(division) == len(parts)
        assert all(holds(part, piece) for part, piece in zip(parts, division, strict=True))


def test_shortest_example() -> None:
    """The text that is shown is one of the shortest, in small letters where there are any."""
    found = two_readings([repeated(letters("ZQ.a7"), at_least=1)] * 2)
    assert found is not None
    assert sorted(found) == [["a", "aa"], ["aa", "a"]]
