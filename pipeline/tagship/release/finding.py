"""What the doctor says: findings, each with what mends it."""

from collections.abc import Callable

from msgspec import Struct

from tagship.system.errors import ReleaseError

OK, WARN, STOP = "ok", "warn", "stop"


class Finding(Struct, frozen=True, kw_only=True):
    """Something that was looked at: `ok`, `warn`, or `stop` where a release would be refused; and what
    mends it."""

    level: str
    what: str
    remedy: str | None = None


class Problem(Struct, frozen=True, kw_only=True):
    """What a release would be refused with."""

    what: str
    remedy: str | None = None

    @classmethod
    def of(cls, error: ReleaseError) -> "Problem":
        return cls(what=str(error), remedy=error.remedy)

    def finding(self, level: str = STOP, about: str = "") -> Finding:
        return Finding(level=level, what=about + self.what, remedy=self.remedy)


def tried(what: str, look: Callable[[], object]) -> Finding:
    """Look at something: it is fine, or what it raises stops a release."""
    try:
        look()
    except ReleaseError as error:
        return Problem.of(error).finding()
    return Finding(level=OK, what=what)
