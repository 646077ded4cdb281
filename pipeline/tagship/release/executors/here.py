"""The executor that does all work in this process, one piece after the other."""

from collections.abc import Iterable, Iterator, Sequence

from tagship.release.step import Tools, Work, WorkDone, do
from tagship.system.errors import Killed, ReleaseError, ToolError


class Here:
    """Needs nothing but this process."""

    def run(self, works: Iterable[Work], tools: Tools) -> Iterator[WorkDone]:
        """As `Executor.run`; of a step that `goes_on` all is done, and what was refused is raised together."""
        refused: list[ReleaseError] = []
        for work in works:
            try:
                yield do(work, tools)
            except ToolError as error:  # with what comes after it that tool would probably fare the same
                raise _together([*refused, error]) from error
            except ReleaseError as error:
                if not work.step.goes_on:
                    raise
                refused.append(error)
                names = " and ".join(target.name for target in work.targets)
                tools.console.note(f"{names}: refused, which is told when the others have been looked at")
        if refused:
            raise _together(refused) from refused[0]


def _together(errors: Sequence[ReleaseError]) -> ReleaseError:
    """One error that tells of all."""
    if len(errors) == 1:
        return errors[0]
    kind = next((each for each in (Killed, ToolError) if isinstance(errors[-1], each)), ReleaseError)
    listed = "".join(f"\n- {error}" for error in errors)
    remedies = "; ".join(dict.fromkeys(error.remedy for error in errors if error.remedy))
    return kind(f"{len(errors)} exports are refused:{listed}", remedy=remedies or None)
