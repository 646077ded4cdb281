"""Times as the Hub prints them."""

import time
from datetime import UTC, datetime


def timestamp(seconds: float) -> str:
    """A Unix time."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def now() -> str:
    """This moment."""
    return timestamp(time.time())
