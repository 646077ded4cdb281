"""How what is missing of tagship is installed: one place that knows."""


def how_to_install(extra: str) -> str:
    """The remedy for an optional dependency that is not there."""
    return f'pip install -e ".[{extra}]" in a clone of tagship, or pip install "tagship[{extra}]" elsewhere'
