"""What came of holding a name against what is there."""

from collections.abc import Iterable

from msgspec import Struct

ERROR, WARN, OK = "error", "warn", "ok"


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that a name says, or should.

    `level` is `error` for what is not so, `warn` for what is doubtful or left out (`omission`), `ok` for what was
    compared and agrees. `name` is the whole name, `field` what of it this is about; `said` is what the name says
    (None: nothing, or more than a word), `held` what is there, `where` the file that says so; `remedy` is one sentence
    or command.
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
    def line(self) -> str:
        """This in one line, below the name, without its remedy."""
        held = f"{self.where}: {self.held}" if self.where else str(self.held)
        if self.said is None:
            return f"{self.field}: {held}"
        if self.level != OK:
            return f"{self.field}: it says {self.said}, but {held}"
        same = self.held is not None and self.said.lower() == self.held.lower()
        return f"{self.field}: {self.said}, as {self.where}" + ("" if same else f": {self.held}")

    @property
    def sentence(self) -> str:
        """This in one line, with the name."""
        return f"{self.name}: {self.line}"


def without_repetition(findings: Iterable[Finding]) -> list[Finding]:
    """Findings, each once: the name of a run is inside of those of its exports, archives and repos."""
    kept: dict[tuple[str | None, ...], Finding] = {}
    for finding in findings:
        kept.setdefault((finding.level, finding.field, finding.said, finding.held), finding)
    return list(kept.values())
