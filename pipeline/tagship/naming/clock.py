"""The moment in names, as the command line gives it."""

from datetime import UTC, datetime

from tagship.system.errors import UsageError

MOMENT_FORMAT = "%Y%m%d-%H%M%S"


def parse_moment(text: str) -> datetime:
    """`YYYYMMDD-HHMMSS` in UTC. Raises UsageError."""
    try:
        return datetime.strptime(text, MOMENT_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        raise UsageError(f"--at must be YYYYMMDD-HHMMSS in UTC, not {text!r}") from None
