"""Names of any kind as text in a plot: what XML can hold, in a line that has room."""

import unicodedata


def clean(text: str) -> str:
    """One line of what XML can hold, without signs that turn the direction of writing."""
    kinds = [(char, unicodedata.category(char)) for char in " ".join(text.split())]
    return "".join(
        "\ufffd" if kind in ("Cc", "Cs") or char in "\ufffe\uffff" else char for char, kind in kinds if kind != "Cf"
    )


def columns_of(text: str) -> int:
    """How many columns a text takes in a monospaced font: Chinese signs are as wide as two letters."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def shortened(text: str, columns: int) -> str:
    """A text of at most so many columns; an ellipsis is where the rest was."""
    text = clean(text)
    if columns_of(text) <= columns:
        return text
    while columns_of(text) >= columns:
        text = text[:-1]
    return f"{text.rstrip()}…"
