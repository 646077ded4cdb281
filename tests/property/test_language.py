"""Properties of languages: what two_readings says is what trying all short texts says."""

import re
from collections.abc import Iterator, Sequence
from itertools import product

from hypothesis import given
from hypothesis import strategies as st
from tagship.naming.language import Language, letters, one_of, repeated, sequence, text, two_readings

ALPHABET = "ab-"
LONGEST = 5
TEXTS = ["".join(spelt) for length in range(LONGEST + 1) for spelt in product(ALPHABET, repeat=length)]

short = st.text(ALPHABET, max_size=2)
classes = st.sets(st.sampled_from(ALPHABET), min_size=1).map(lambda taken: letters("".join(sorted(taken))))
simple = st.one_of(classes, short.map(text), st.lists(short, min_size=1, max_size=3).map(lambda some: one_of(*some)))
languages = st.one_of(
    simple,
    st.builds(repeated, simple, at_least=st.integers(0, 1)),
    st.lists(simple, max_size=2).map(lambda some: sequence(*some)),
)


def divisions(written: str, parts: Sequence[Language]) -> Iterator[tuple[str, ...]]:
    """Every way to divide a text among parts, by trying them all."""
    if not parts:
        if not written:
            yield ()
        return
    for end in range(len(written) + 1):
        if re.fullmatch(parts[0].regex, written[:end]):
            for rest in divisions(written[end:], parts[1:]):
                yield (written[:end], *rest)


@given(st.lists(languages, max_size=4))
def test_as_all_short_texts_say(parts: list[Language]) -> None:
    """No short text has two readings where none is said to be, and an example that is given has two."""
    found = two_readings(parts)
    if found is None:
        assert all(len(list(divisions(written, parts))) <= 1 for written in TEXTS)
        return
    one, other = map(tuple, found)
    assert one != other
    assert {one, other} <= set(divisions("".join(one), parts))
    shorter = (written for written in TEXTS if len(written) < len("".join(one)))
    assert all(len(list(divisions(written, parts))) <= 1 for written in shorter)
