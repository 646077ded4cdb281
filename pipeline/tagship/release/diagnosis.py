"""Why an export does not answer like base + adapter: what it is made of, held against what they give now."""

from collections.abc import Iterator

from tagship.formats.differences import NotAsExported, differences, listed
from tagship.history.model import ModelState, changes
from tagship.history.model_lookup import disk_state
from tagship.release.export_store import forget
from tagship.release.jobs import job_to_export
from tagship.release.plan import Plan
from tagship.release.results import Exported
from tagship.release.step import Tools
from tagship.runs.base_folder import BaseFolder
from tagship.system.errors import Killed, ReleaseError
from tagship.system.files import scratch_folder
from tagship.system.machine import free_disk
from tagship.system.progress import silent
from tagship.verify.comparison import AGAIN

_ANEW = "export it again, which makes it anew; nothing was published"
_WIDER = 'nothing was published; [export] dtype = "f32" in release.toml rounds nothing'


def diagnosed(error: ReleaseError, plan: Plan, exported: Exported, base: BaseFolder, tools: Tools) -> ReleaseError:
    """A failed verification with its cause: what the export was made from has changed since, or it is not what that
    gives when it is exported once more, which is tried. An export that is not is made anew by the next command."""
    if isinstance(error, Killed):
        return error
    if isinstance(error, NotAsExported):
        forget(plan, exported.target)
        return error
    if changed := list(_changed_since(plan, exported)):
        cause = f"The cause: since {exported.target.name} was exported {listed(changed)}"
        return type(error)(f"{error}\n{cause}", remedy=_ANEW)
    found = _unlike_a_new_one(plan, exported, base, tools)
    if found is None:
        return error
    if not found:
        unharmed = "It was not damaged since: exported once more it is the same, byte by byte"
        return type(error)(f"{error}\n{unharmed}", remedy=_WIDER if error.remedy == AGAIN else error.remedy)
    forget(plan, exported.target)
    cause = f"The cause: {exported.folder.name} is not what base and adapter give: {listed(found)}"
    return type(error)(f"{error}\n{cause}", remedy=_ANEW)


def _changed_since(plan: Plan, exported: Exported) -> Iterator[str]:
    """What of the model is another one than the manifest says."""
    before = ModelState.from_manifest(exported.manifest.model)
    if before is not None:
        for change in changes(before, disk_state(plan.config, exported.target.run.path)):
            yield f"{change.what} ({change.file})"


def _unlike_a_new_one(plan: Plan, exported: Exported, base: BaseFolder, tools: Tools) -> list[str] | None:
    """How an export differs from one that is made now; None where none can be made."""
    target, beside = exported.target, exported.folder.parent
    if free_disk(beside) < 2 * exported.manifest.size:
        tools.console.note(f"the cause is not looked for: there is no room to export {target.name} once more")
        return None
    try:
        with (
            tools.console.working(f"looking for the cause: {target.name} is exported once more"),
            scratch_folder("again", beside) as again,
        ):
            # Types that were found for it are its own: the policy may ask for others by now.
            job = job_to_export(plan, target, base, tools.templates, exported.manifest)
            target.policy.format.export([(job, again)], silent)
            return differences(exported.folder, again, base.path)
    except (ReleaseError, OSError) as why_not:
        tools.console.note(f"the cause is not known, as {target.name} could not be exported once more: {why_not}")
        return None
