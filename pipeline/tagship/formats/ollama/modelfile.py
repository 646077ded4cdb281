"""Values as Ollama's Modelfile holds them.

A value ends with the line, unless it began with quotes that are not closed yet; nothing within quotes is escaped. What
is neither printed nor white space is lost (parser/parser.go of Ollama).
"""

_QUOTES = '"' * 3


def quoted(text: str) -> str | None:
    """A value in quotes that do not end within it; None for what no quotes hold."""
    if not all(letter.isprintable() or letter in "\n\t" for letter in text):
        return None
    if '"' not in text and "\n" not in text:
        return f'"{text}"'
    if any(line.rstrip().endswith(_QUOTES) for line in text.split("\n")[:-1]):
        return None
    return f"{_QUOTES}{text}{_QUOTES}"
