"""Answers held against a text or a regular expression."""

import pytest
from tagship.evaluation.text_scorers import exact, regex

# Tries each way to divide the letters before it gives up.
ENDLESS = "(a+)+$"


@pytest.mark.parametrize(("answer", "points"), [("5", 1), (" 5\n", 1), ("55", 0), ("five", 0), ("", 0), ("It is 5", 0)])
def test_exact(answer: str, points: float) -> None:
    """The whole answer is the expected text, but for white space around either."""
    assert exact("5\n")(answer) == points


@pytest.mark.parametrize(
    ("expression", "answer", "points"),
    [
        ("red|green", "It is green.", 1),
        ("red|green", "It is blue.", 0),
        ("^red$", "It is red", 0),
        (r"(?i)\bRED\b", "it is red", 1),
        (r"(?s)^a.*b$", "a\nb", 1),
        ("^(?!.*sorry)", "I am sorry", 0),
        (r"(\w)\1", "aa", 1),
    ],
)
def test_regex(expression: str, answer: str, points: float) -> None:
    """An expression of Python is found anywhere, unless it says where."""
    assert regex(expression)(answer) == points


@pytest.mark.parametrize("expected", [None, "", " \n", 5, ["5"], {"a": 1}])
@pytest.mark.parametrize("scorer", [exact, regex])
def test_expected_is_no_text(scorer: object, expected: object) -> None:
    """What is no text, or an empty one, is refused: it would be passed by nothing, or by everything."""
    assert callable(scorer)
    with pytest.raises(ValueError, match="must be a text that is not empty"):
        scorer(expected)


@pytest.mark.parametrize("expression", ["(", "*", "[a", "(?P<a>", "a{99999999999}", r"\1"])
def test_no_regular_expression(expression: str) -> None:
    """What Python cannot compile is told when the case is read."""
    with pytest.raises(ValueError, match=r"is no regular expression: \S"):
        regex(expression)


def test_expression_without_end() -> None:
    """An expression that would be tried for ever is stopped, and has no points."""
    with pytest.raises(TimeoutError, match=r"longer than 0\.2 seconds"):
        regex(ENDLESS, seconds=0.2)("a" * 60 + "!")
