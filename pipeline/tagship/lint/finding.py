"""What came of holding a name against what is there."""

from collections.abc import Iterable
from dataclasses import dataclass

ERROR, WARN, OK = "error", "warn", "ok"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that a name says, or should.

    `level` is `error` for what is not so, `warn` for what is doubtful or left out (`omission`), `ok` for what was
    compared and agrees. `name` is the whole name, `field` what of it this is about; `said` is what the name says,
    `held` what is there, `where` the file that says so; `remedy` is one sentence or command.
    """

    level: str
    field: str
    name: str
    said: str | None = None
    held: str | None = None
    where: str | None = None
    remedy: str | None = None
    omission: bool = False

    @property
    def sentence(self) -> str:
        """This in one line, without its remedy."""
        if self.omission:
            return f"{self.name} does not say {self.field}" + (f" ({self.held})" if self.held else "")
        said = f"says {self.said}" if self.said else "was read"
        agrees = {OK: "so", WARN: "and", ERROR: "but"}[self.level]
        where = f"{self.where}: " if self.where else ""
        return f"{self.field}: {self.name} {said}, {agrees} {where}{self.held}"


def without_repetition(findings: Iterable[Finding]) -> list[Finding]:
    """Findings, each once: the name of a run is inside of those of its exports, archives and repos."""
    kept: dict[tuple[str | None, ...], Finding] = {}
    for finding in findings:
        kept.setdefault((finding.level, finding.field, finding.said, finding.held), finding)
    return list(kept.values())
