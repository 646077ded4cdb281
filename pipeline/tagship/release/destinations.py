"""Where a release goes, on the Hub and on this disk: asked before anything is exported whether it may go there.

A name belongs to the release that took it: what is published, or packed, is never replaced by another one. The
manifests say which release it was.
"""

from concurrent.futures import ThreadPoolExecutor

from tagship.artifacts.archive import manifest_in
from tagship.artifacts.manifest import MANIFEST_FILE, Manifest, read_manifest
from tagship.history.model import ModelState
from tagship.history.model_lookup import disk_state
from tagship.hub.access import check_access
from tagship.hub.base_repo import why_not_fetchable
from tagship.hub.connection import Hub
from tagship.hub.patience import current, set_current
from tagship.hub.publish import check_privacy
from tagship.hub.repository import Standing, manifest_of, standing
from tagship.policy.versions import OFF, REQUIRED
from tagship.release.finding import WARN, Finding
from tagship.release.plan import Plan
from tagship.release.targets import Target
from tagship.system.called import called
from tagship.system.errors import ReleaseError, ToolError

_AT_ONCE = 8
# What Hugging Face calls the relation of an adapter to its base.
_ADAPTER = "adapter"


def check_repos(plan: Plan, hub: Hub) -> None:
    """Raise ReleaseError when a repo of the release has another release, or what nobody released; when the token may
    not write there; when a private release would be public. ToolError when the Hub does not answer."""
    found = _standings(plan, hub)
    check_access(hub, {repo_id: there is not None for repo_id, there in found.items()})
    for target in plan.targets:
        there = found[target.repo_id]
        if there is None:
            continue
        check_privacy(there, private=plan.private)
        if there.unused:
            continue
        manifest = manifest_of(hub, there)
        if manifest is None:
            raise ReleaseError(
                f"the repo {target.repo_id} has files that no release put there, and would lose them",
                remedy="give the release another name (--repo-name, [naming] repo), or delete that repo on the Hub",
            )
        if other := other_release(plan, target, manifest):
            raise _taken(f"the repo {target.repo_id} has {other}")


def check_local(plan: Plan) -> None:
    """Raise ReleaseError when an export folder or an archive has the release's name, and is of another one."""
    for target in plan.targets:
        if (target.export_dir / MANIFEST_FILE).is_file():
            _check(plan, target, read_manifest(target.export_dir), str(target.export_dir))
        check_archive(plan, target)


def check_archive(plan: Plan, target: Target) -> None:
    """Raise ReleaseError when an archive has the name of a target's, and is of another release."""
    if manifest := manifest_in(target.artifact):
        _check(plan, target, manifest, str(target.artifact))


def check_base_is_there(plan: Plan, hub: Hub) -> Finding | None:
    """Raise ReleaseError when an adapter would be published whose base model those who get it cannot fetch. Returns
    what is to be warned of: that, where the policy only warns, and a Hub that does not say."""
    level = plan.config.checks.base
    adapters = [target for target in plan.targets if target.policy.format.card.relation == _ADAPTER]
    if level == OFF or not adapters:
        return None
    try:
        why = why_not_fetchable(hub, plan.base, private=plan.private)
    except ToolError as error:
        what = f"whether {plan.base.id} can be fetched is not known: {error}"
        return Finding(level=WARN, what=what, remedy=error.remedy)
    if why is None:
        return None
    sentence = f"{adapters[0].repo_id} is an adapter of a base model that nobody can fetch: {why}"
    remedy = (
        f'publish the base with it ([bases."{plan.base.id}"] publish = true), or leave the adapter out, or say '
        '[checks] base = "warn"'
    )
    if level == REQUIRED:
        raise ReleaseError(sentence, remedy=remedy)
    return Finding(level=WARN, what=sentence, remedy=remedy)


def other_release(plan: Plan, target: Target, manifest: Manifest) -> str | None:
    """Which release a manifest is of, where it is not the plan's; None for an earlier run of the same command.

    A version is the same by its tag and commit. What has none has the time in its names, or the name of its run: then
    it is the same by the adapter.
    """
    tag = plan.tag.name if plan.tag else None
    if manifest.tag != tag:
        return f"the release of {manifest.tag}" if manifest.tag else "a release without a version"
    if (manifest.format, manifest.quant) != (target.policy.name, target.variant.quant):
        return f"the format {manifest.format} {manifest.quant or ''}".rstrip()
    if manifest.run != target.run.name:
        return f"the run {manifest.run}"
    if tag is not None:
        same = manifest.commit == plan.commit.sha
        return None if same else f"{tag} of the commit {manifest.commit[:10]}"
    state = ModelState.from_manifest(manifest.model)
    weights = disk_state(plan.config, target.run.path).weights
    return "another adapter of that run" if state and state.weights not in (None, weights) else None


def _standings(plan: Plan, hub: Hub) -> dict[str, Standing | None]:
    repo_ids = [target.repo_id for target in plan.targets]
    if plan.base.publish:
        repo_ids.append(plan.base.id)
    if not hub.has_repos:
        return dict.fromkeys(repo_ids)
    with ThreadPoolExecutor(_AT_ONCE, initializer=set_current, initargs=(current(),)) as pool:
        found = dict(zip(repo_ids, pool.map(lambda repo_id: standing(hub, repo_id), repo_ids), strict=True))
    base = found.get(plan.base.id)
    if plan.base.publish and base is not None and not base.unused:
        del found[plan.base.id]  # it is there, and nobody writes to it
    return found


def _check(plan: Plan, target: Target, manifest: Manifest, where: str) -> None:
    if other := other_release(plan, target, manifest):
        raise _taken(f"{where} has {other}", f"move {where} away or remove it, if nobody needs it, or ")


def _taken(sentence: str, first: str = "") -> ReleaseError:
    return ReleaseError(
        f"{sentence}, which this one would replace",
        remedy=f"{first}release the next version ({called()} bump): what has a name keeps it",
    )
