"""The program that was called, as messages name it: `invoke` with a tasks.py, or `tagship`."""

import sys
from pathlib import Path

_OWN = "tagship"


def called() -> str:
    """`tagship` where it was called by that name, else `invoke`."""
    return _OWN if Path(sys.argv[0]).stem == _OWN else "invoke"
