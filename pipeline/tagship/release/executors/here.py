"""The executor that does all work in this process, one piece after the other."""

from collections.abc import Iterable, Iterator, Sequence

from tagship.release.step import Tools, Work, WorkDone, do
from tagship.system.errors import Killed, ReleaseError, ToolError, UsageError


class Here:
    """Needs nothing but this process."""

    def run(self, works: Iterable[Work], tools: Tools) -> Iterator[WorkDone]:
        """As `Executor.run`; of a step that `goes_on` all is done, and what was refused is raised together."""
        refused: list[ReleaseError] = []
        for work in works:
            try:
                yield do(work, tools)
            except ReleaseError as error:
                # Where memory was full or the policy is wrong, what comes after it would fare the same.
                if not work.step.goes_on or (isinstance(error, Killed | UsageError) and not refused):
                    raise
                refused.append(error)
                if isinstance(error, Killed | UsageError):
                    break
                if len(work.plan.targets) > 1:  # Ctrl-C may come before all of them are told of
                    names = " and ".join(target.name for target in work.targets)
                    tools.console.note(f"{names}: refused: {str(error).splitlines()[0]}")
        if refused:
            raise _together(refused)


def _together(errors: Sequence[ReleaseError]) -> ReleaseError:
    """One error that tells of all."""
    if len(errors) == 1:
        return errors[0]
    kind = next((each for each in (Killed, UsageError) if isinstance(errors[-1], each)), ReleaseError)
    if kind is ReleaseError and all(isinstance(error, ToolError) for error in errors):
        kind = ToolError
    listed = "".join("\n- " + str(error).replace("\n", "\n  ") for error in errors)
    remedy = _remedy_of_all([error.remedy for error in errors if error.remedy])
    return kind(f"{len(errors)} exports are refused:{listed}", remedy=remedy)


def _remedy_of_all(remedies: Sequence[str]) -> str | None:
    """Remedies as one, in which what several of them say stands once, before or after what each says alone."""
    all_parts: list[str] = []
    for parts in (remedy.split("; ") for remedy in remedies):
        others = [place for place, part in enumerate(all_parts) if part not in parts]
        at = others[-1] + 1 if others else len(all_parts)
        all_parts[at:at] = [part for part in parts if part not in all_parts]
    return "; ".join(all_parts) or None
