"""Where a release goes, on the Hub and on this disk: asked before anything is exported whether it may go there.

A name belongs to the release that took it: what is published, or packed, is never replaced by another one. The
manifests say which release it was.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from tagship.artifacts.archive import manifest_in
from tagship.artifacts.manifest import MANIFEST_FILE, Manifest, read_manifest
from tagship.history.model import ModelState, adapter_digest
from tagship.hub.access import check_access
from tagship.hub.base_repo import why_not_fetchable
from tagship.hub.connection import Hub
from tagship.hub.patience import current, set_current
from tagship.hub.publish import MAKE_IT_FIRST, check_privacy, check_proposable
from tagship.hub.repository import Standing, manifest_of, published_manifest, read_published, standing, tags_of
from tagship.naming.fields import DATES
from tagship.policy.versions import OFF, REQUIRED
from tagship.release.finding import WARN, Finding
from tagship.release.plan import Plan
from tagship.release.repos import check_whole, version_of
from tagship.release.targets import Target, by_repo
from tagship.runs.folder import DiskFolder
from tagship.system.called import called
from tagship.system.errors import ReleaseError, ToolError

_AT_ONCE = 8
# What Hugging Face calls the relation of an adapter to its base.
_ADAPTER = "adapter"


def check_repos(plan: Plan, hub: Hub, *, exports_only: bool = False) -> None:
    """Raise ReleaseError when a repo of the release has another release, or what nobody released, or would get a part
    of what it has of each version; when the token may not write there; when a private release would be public.
    ToolError when the Hub does not answer. What is exported only may be a part."""
    if not exports_only:
        check_whole(plan)
    found = _standings(plan, hub)
    check_access(hub, {repo_id: there is not None for repo_id, there in found.items()}, proposes=plan.proposes)
    if plan.proposes:
        _check_proposals(plan, hub, found)
    for repo_id, targets in by_repo(plan.targets).items():
        there = found[repo_id]
        if there is None:
            continue
        check_privacy(there, private=plan.private)
        manifest = _manifest_there(plan, hub, there)
        if manifest is None and there.unused:
            continue
        if manifest is None:
            raise ReleaseError(
                f"the repo {repo_id} has files that no release put there, and would lose them",
                remedy="give the release another name (--repo-name, [naming] repo)"
                + ("" if plan.config.tags_versions else ", or delete that repo on the Hub"),
            )
        if other := _other(plan, targets, manifest, exports_only=exports_only):
            raise _taken(f"the repo {repo_id} has {other}")


def _other(plan: Plan, targets: Sequence[Target], manifest: Manifest, *, exports_only: bool) -> str | None:
    """What is in the targets' repo, by its manifest, that the plan may not add to."""
    tag = plan.version_tag.name if plan.version_tag else None
    if plan.config.tags_versions and tag not in (None, manifest.tag):
        return other_model(plan, targets[0], manifest)
    return other_release(plan, targets, manifest, in_part=exports_only and targets[0].policy.together)


def _check_proposals(plan: Plan, hub: Hub, found: Mapping[str, Standing | None]) -> None:
    """Raise ReleaseError where a pull request cannot be made: to a repo that is not there, or of what is not to be its
    main."""
    if plan.base.publish and plan.base.id in found:
        raise ReleaseError(
            f"the base model {plan.base.id} is not on {hub.url}, and a pull request cannot bring it there",
            remedy="have somebody who may write there release without --create-pr, once",
        )
    version = version_of(plan)
    for repo_id, there in found.items():
        if there is None:
            raise ReleaseError(f"there is no repo {repo_id} to propose a release to", remedy=MAKE_IT_FIRST)
        if version and version.tag not in tags_of(hub, repo_id):
            check_proposable(hub, there, version)


def _manifest_there(plan: Plan, hub: Hub, there: Standing) -> Manifest | None:
    """What a repo says of itself: where it has several versions, at the plan's own tag, else on main, else at any."""
    if not (plan.config.tags_versions and plan.tag):
        return manifest_of(hub, there) if not there.unused else None
    tags = tags_of(hub, there.repo_id)
    if plan.tag.name in tags:
        return read_published(hub, there.repo_id, plan.tag.name)
    if not there.unused:
        return manifest_of(hub, there)
    return next(filter(None, (published_manifest(hub, there.repo_id, tag) for tag in tags)), None)


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
    adapters = [target for target in plan.targets if target.policy.format.facts(target.variant).relation == _ADAPTER]
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


def other_release(plan: Plan, targets: Sequence[Target], manifest: Manifest, *, in_part: bool = False) -> str | None:
    """Which release a manifest is of, where it is not the plan's; None for an earlier run of the same command.
    `targets` are those that are together where the manifest is, or with `in_part` some of them.

    A version is the same by its tag and commit. What has none has the time in its names, or the name of its run: then
    it is the same by the adapter.
    """
    target, quants = targets[0], {each.variant.quant for each in targets}
    tag = plan.tag.name if plan.tag else None
    if manifest.tag != tag:
        return f"the release of {manifest.tag}" if manifest.tag else "a release without a version"
    if manifest.format != target.policy.name or not (in_part or {each.quant for each in manifest.each()} == quants):
        return f"the format {manifest.format} {', '.join(manifest.quants)}".rstrip()
    if manifest.run != target.run.name:
        return f"the run {manifest.run}"
    if tag is not None:
        same = manifest.commit == plan.commit.sha
        return None if same else f"{tag} of the commit {manifest.commit[:10]}"
    state = ModelState.from_manifest(manifest.model)
    weights = adapter_digest(DiskFolder(path=target.run.path))
    return "another adapter of that run" if state and state.weights not in (None, weights) else None


def other_model(plan: Plan, target: Target, manifest: Manifest) -> str | None:
    """What other model a manifest is of than those whose versions go to the target's repo; None for one of them.

    A model is what the policy names its repo by, of one format and one stream of versions.
    """
    if manifest.tag is None:
        return "a release without a version"
    if manifest.format != target.policy.name:
        return f"the format {manifest.format}"
    if plan.stream and manifest.stream != plan.stream.name:
        return f"{manifest.tag}, of the stream {manifest.stream}"
    said = {**manifest.fields, "base": plan.config.naming.short_base_name(manifest.base_model)}
    ours = {**target.run.fields, "base": plan.config.naming.short_base_name(plan.base.id)}
    names = sorted((target.policy.names.repo.tagged.fields & said.keys() & ours.keys()) - {*DATES})
    others = [f"{name} {said[name]}" for name in names if said[name] != ours[name]]
    return f"{manifest.tag} of another model ({', '.join(others)})" if others else None


def _standings(plan: Plan, hub: Hub) -> dict[str, Standing | None]:
    repo_ids = list(by_repo(plan.targets))
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
    if other := other_release(plan, [target], manifest):
        raise _taken(f"{where} has {other}", f"move {where} away or remove it, if nobody needs it, or ")


def _taken(sentence: str, first: str = "") -> ReleaseError:
    return ReleaseError(
        f"{sentence}, which this one would replace",
        remedy=f"{first}release the next version ({called()} bump): what has a name keeps it",
    )
