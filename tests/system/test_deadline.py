"""Questions that may hang: they are not waited for."""

from threading import Event

import pytest
from tagship.system.deadline import answers_within, begin


def test_answers_in_time() -> None:
    """Each answer comes by its question; what was raised is an answer; all that hangs is left out."""
    never = Event()
    problem = ValueError("no")

    def fail() -> int:
        raise problem

    found = answers_within(0.2, {"one": lambda: 1, "fails": fail, "hangs": never.wait})
    never.set()
    assert found == {"one": 1, "fails": problem}


def test_more_questions_than_threads() -> None:
    """All are asked, however many there are."""
    found = answers_within(30, {number: lambda number=number: number for number in range(200)})
    assert found == {number: number for number in range(200)}
    assert answers_within(30, {}) == {}


def test_begin() -> None:
    """What is begun is waited for later, and no longer than is said."""
    never = Event()
    assert begin(lambda: 5)(10) == 5
    assert begin(never.wait)(0.05) is None
    never.set()
    with pytest.raises(ZeroDivisionError):
        raise begin(lambda: 1 // 0)(10)  # type: ignore[misc]
