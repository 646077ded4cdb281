"""The step that sees whether a task fits its inputs and this machine, before the first byte is written."""

from collections.abc import Iterator, Sequence

from tagship.release import gates
from tagship.release.describing import check_cards
from tagship.release.destinations import check_repos
from tagship.release.four_bit import check_quantized
from tagship.release.native import predicted_natively
from tagship.release.plan import Plan
from tagship.release.results import Fetched, Results
from tagship.release.room import predicted as predicted_room
from tagship.release.sharing import predicted_parts
from tagship.release.step import SENDS, SENDS_WHERE_FULL, SHARES, Step, Tools, verifies
from tagship.release.verifying import predicted
from tagship.system.errors import ReleaseError


def fit(plan: Plan, done: Results, tools: Tools, *, steps: Sequence[Step] = ()) -> Iterator[object]:
    """Raise ReleaseError for what does not fit: the adapter its base, or what the steps of a task do this machine. What
    each export takes is said, and about how long it all is."""
    base, compares = done.one(Fetched).base, verifies(steps)
    check_quantized(plan, base, tools)
    names = {step.name for step in steps}
    fits = gates.check_fit(plan, base, tools.templates, steps, sends=bool(names & {SENDS, SENDS_WHERE_FULL}))
    by_file = [fitting.target.name for fitting in fits if fitting.by_file]
    if by_file and SENDS not in names:  # which the gates did not know of
        try:
            check_repos(plan, tools.hub, exports_only=True)
        except ReleaseError as error:
            why = f"the disk has no room for all of {', '.join(by_file)}, which then goes to the Hub file by file"
            raise type(error)(f"{why}: {error}", remedy=error.remedy) from error
    if compares:  # and describes
        check_cards(plan, base, tools.templates)
    footprints = [(fitting.target, fitting.footprint) for fitting in fits]
    tools.console.note(predicted_room(plan, footprints, steps, base))
    if by_file:
        tools.console.note(f"{', '.join(by_file)}: sent to the Hub file by file, as there is no room for all of it")
    if SHARES in names and (told := predicted_parts(footprints)):
        tools.console.note(told)
    if compares:
        tools.console.note(predicted(plan, base))
        if told := predicted_natively(plan):
            tools.console.note(told)
    return iter(fits)
