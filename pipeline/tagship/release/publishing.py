"""The steps that bring a release to the Hub: base model, exports and their check, the way from the last version."""

from collections.abc import Iterator

from tagship.artifacts.manifest import MANIFEST_FILE, file_entry
from tagship.history.model_lookup import known_digests
from tagship.hub.base_repo import publish_base
from tagship.hub.publish import Upload, check_published, publish, tag_published
from tagship.hub.succession import lead_on, released_repos
from tagship.naming.tags import version_tags
from tagship.release.plan import Plan
from tagship.release.results import Committed, Exported, Fetched, Published, Results, Verified
from tagship.release.step import Tools
from tagship.release.targets import Target
from tagship.runs.base_files import base_files
from tagship.system.errors import ToolError
from tagship.system.shown import masked, visible


def publish_base_model(plan: Plan, done: Results, tools: Tools) -> Iterator[object]:
    base = done.one(Fetched).base
    digest = known_digests(plan.config).of
    size = sum(path.stat().st_size for path in base_files(base).values())
    with tools.console.bytes(base.id, size) as advance:
        put = publish_base(tools.hub, base, digest, private=plan.private, advance=advance)
    tools.console.note(f"{base.id}{'' if put else ': there already'}")
    return iter(())


def publish_export(plan: Plan, target: Target, done: Results, tools: Tools) -> Iterator[object]:
    upload = _upload(plan, done.for_target(Exported, target), done.for_target(Verified, target))
    with tools.console.bytes(target.name, sum(entry.size for entry in upload.files)) as advance:
        commit = publish(tools.hub, upload, advance)
    tools.console.note(f"{target.name}: commit {commit.sha[:10]}")
    if commit.kept:
        tools.console.note(f"{upload.tag} was released before, and says what was shown then ({', '.join(commit.kept)})")
    yield Committed(target=target, upload=upload, commit=commit)


def check_export(plan: Plan, target: Target, done: Results, tools: Tools) -> Iterator[object]:
    committed = done.for_target(Committed, target)
    files = check_published(tools.hub, committed.upload, committed.commit)
    tag_published(tools.hub, committed.upload, committed.commit)
    tagged = f", tagged {committed.upload.tag}" if committed.upload.tag else ""
    tools.console.note(f"{target.name}: {len(files)} files, every checksum right{tagged}")
    url = masked(tools.hub.lasting(f"{tools.hub.url}/{target.repo_id}"))
    yield Published(target=target, url=url, commit=committed.commit.sha, files=files)


def lead_from_before(plan: Plan, done: Results, tools: Tools) -> Iterator[object]:
    """Have earlier versions lead to this one, and this one to a later one that is there, as the Hub shows it. What was
    released under their tags stays."""
    assert plan.stream is not None and plan.version_tag is not None
    tags = version_tags((tag.name for tag in tools.repository.list_tags()), [plan.stream])
    for target in plan.targets:
        try:
            repos = released_repos(tools.hub, plan.config, tags, target)
            for repo_id, successor in lead_on(tools.hub, repos, plan.version_tag):
                tools.console.note(f"{repo_id} leads to {successor}")
        except ToolError as error:
            tools.console.warn(f"no other version leads to {target.repo_id}: {error}", error.remedy)
    return iter(())


def _upload(plan: Plan, exported: Exported, verified: Verified) -> Upload:
    described = (
        plan.tag.message.strip() if plan.tag and plan.tag.message else "",
        f"Made from commit {plan.commit.sha} and the run {plan.run.name}.",
        f"Verified: {verified.evidence.summary}.",
    )
    return Upload(
        repo_id=exported.target.repo_id,
        folder=exported.folder,
        files=(*exported.manifest.files, file_entry(exported.folder, MANIFEST_FILE)),
        private=plan.private,
        message=f"Release {plan.tag.name if plan.tag else exported.target.title}",
        description=visible("\n\n".join(filter(None, described))),
        tag=plan.tag.name if plan.tag else None,
    )


def unless_followed(plan: Plan) -> str | None:
    if reason := unless_published(plan):
        return reason
    if plan.stream is None:
        return "no version"
    return "private repos are nobody's to be led to" if plan.private else None


def unless_published(plan: Plan) -> str | None:
    return None if plan.publishes else "tags of this stream do not publish"


def unless_base_is_published(plan: Plan) -> str | None:
    return unless_published(plan) or (None if plan.base.publish else "the policy leaves the base model alone")
