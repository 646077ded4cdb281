"""The steps that bring a release to the Hub: base model, exports and their check, the way from the last version."""

from collections.abc import Iterator, Sequence

from tagship.history.model_lookup import known_digests
from tagship.hub.base_repo import publish_base
from tagship.hub.keyless import NotTrusted
from tagship.hub.proposals import page_of
from tagship.hub.publish import check_published, publish, send_ahead, tag_published
from tagship.hub.succession import lead_on, lines_to
from tagship.hub.upload import Commit, Upload
from tagship.naming.tags import version_tags
from tagship.release.export_store import forget
from tagship.release.plan import Plan
from tagship.release.repos import laid, version_of
from tagship.release.results import (
    Committed,
    Exported,
    Fetched,
    Laid,
    Published,
    Pushed,
    Results,
    Sent,
    Verified,
)
from tagship.release.step import Tools
from tagship.release.targets import Target, by_repo
from tagship.runs.base_files import base_files
from tagship.system.errors import ToolError
from tagship.system.shown import masked, visible
from tagship.system.templating import human_size


def publish_base_model(plan: Plan, done: Results, tools: Tools) -> Iterator[object]:
    base = done.one(Fetched).base
    digest = known_digests(plan.config).of
    size = sum(path.stat().st_size for path in base_files(base).values())
    with tools.console.bytes(base.id, size) as advance:
        put = publish_base(tools.hub, base, digest, private=plan.private, advance=advance)
    tools.console.note(f"{base.id}{'' if put else ': there already'}")
    return iter(())


def publish_repo(plan: Plan, targets: Sequence[Target], done: Results, tools: Tools) -> Iterator[object]:
    contents = laid(targets, done)
    upload = _upload(plan, contents, done)
    names = ", ".join(target.name for target in targets)
    with tools.console.bytes(names, contents.size) as advance:
        commit = publish(tools.hub, upload, advance)
    where = f" on {commit.branch}" if commit.branch else ""
    tools.console.note(f"{names}: commit {commit.sha[:10]}{where}")
    if commit.kept:
        tools.console.note(f"{upload.tag} was released before, and says what was shown then ({', '.join(commit.kept)})")
    yield Committed(repo_id=upload.repo_id, upload=upload, commit=commit)


def send_export(plan: Plan, target: Target, done: Results, tools: Tools) -> Iterator[object]:
    """Send the large files of an export ahead of its commit, and remove each from this disk when the Hub has it."""
    upload = _upload(plan, laid([target], done), done)
    forget(plan, target)  # who exports again here makes it anew
    for path in upload.sent:  # of which the header is here
        (upload.folder / path).unlink()
    paths = list(upload.sent)
    with tools.console.bytes(target.name, sum(entry.size for entry in upload.files)) as advance:
        for path in send_ahead(tools.hub, upload, advance):
            (upload.folder / path).unlink()
            paths.append(path)
    size = human_size(sum(entry.size for entry in upload.files if entry.path in paths))
    tools.console.note(f"{target.name}: {len(paths)} files ({size}) wait on {tools.hub.url} for a commit")
    yield Sent(target=target, paths=frozenset(paths))


def send_the_rest(plan: Plan, target: Target, done: Results, tools: Tools) -> Iterator[object]:
    """As `send_export`, for an export that was sent file by file."""
    return send_export(plan, target, done, tools) if done.find(Sent, target) else iter(())


def check_repo(plan: Plan, targets: Sequence[Target], done: Results, tools: Tools) -> Iterator[object]:
    committed, contents = done.for_repo(Committed, targets[0].repo_id), laid(targets, done)
    upload, commit = committed.upload, committed.commit
    files = check_published(tools.hub, upload, commit)
    told = f"{', '.join(target.name for target in targets)}: {len(files)} files, every checksum right"
    if upload.proposes:
        tools.console.note(told)
        url = _proposed(upload, commit, tools)
    else:
        pushed = [each for each in done.of(Pushed) if each.repo_id == upload.repo_id]
        tag_published(tools.hub, upload, commit, "\n".join(f"OCI: {each.reference}@{each.digest}" for each in pushed))
        tools.console.note(told + (f", tagged {upload.tag}" if upload.tag else ""))
        url = f"{tools.hub.url}/{upload.repo_id}" + (f"/tree/{upload.version.tag}" if upload.version else "")
    paths = [{entry.path for entry in part.files} for part in contents.parts]
    for target, own in zip(targets, paths, strict=True):
        others = set().union(*paths) - own
        kept = tuple(entry for entry in files if entry.path not in others)
        yield Published(
            target=target, url=masked(tools.hub.lasting(url)), commit=commit.sha, files=kept, proposed=upload.proposes
        )


def _proposed(upload: Upload, commit: Commit, tools: Tools) -> str:
    """Say how a proposal becomes a release; returns its page, or that of the repo whose main has it by now."""
    page = page_of(tools.hub, upload.repo_id, commit.branch)
    if page is None:
        tools.console.note(f"{upload.repo_id} has it on main: the same command without --create-pr sets the tag")
        return f"{tools.hub.url}/{upload.repo_id}"
    tools.console.note(
        f"{masked(tools.hub.lasting(page))}: once it is merged, the same command without --create-pr sets the tag"
    )
    return page


def lead_from_before(plan: Plan, done: Results, tools: Tools) -> Iterator[object]:
    """Have earlier versions lead to this one, and this one to a later one that is there, as the Hub shows it. What was
    released under their tags stays."""
    assert plan.stream is not None and plan.version_tag is not None
    tags = version_tags((tag.name for tag in tools.repository.list_tags()), [plan.stream])
    for its_id, targets in by_repo(plan.targets).items():
        try:
            for repos in lines_to(tools.hub, plan.config, tags, targets):
                for repo_id, successor in lead_on(tools.hub, repos, plan.version_tag):
                    tools.console.note(f"{repo_id} leads to {successor}")
        except (ToolError, NotTrusted) as error:
            tools.console.warn(f"no other version leads to {its_id}: {error}", error.remedy)
    return iter(())


def _upload(plan: Plan, contents: Laid, done: Results) -> Upload:
    verified, sent = [done.for_target(Verified, target) for target in contents.targets], _sent(contents.targets, done)
    shown = [f"{each.target.name}: " * (len(verified) > 1) + each.evidence.summary for each in verified]
    described = (
        plan.tag.message.strip() if plan.tag and plan.tag.message else "",
        f"Made from commit {plan.commit.sha} and the run {plan.run.name}.",
        "\n".join(f"Verified: {told}." for told in shown),
        f"The release lacks {', '.join(plan.missing)}." if plan.missing else "",
    )
    return Upload(
        repo_id=contents.repo_id,
        folder=contents.folder,
        files=contents.files,
        private=plan.private,
        message=f"Release {plan.tag.name if plan.tag else contents.targets[0].title}",
        description=visible("\n\n".join(filter(None, described))),
        tag=plan.tag.name if plan.tag else None,
        elsewhere=contents.elsewhere,
        version=version_of(plan),
        proposes=plan.proposes,
        sent=frozenset(entry.path for entry in contents.files if entry.sha256 in sent),
    )


def _sent(targets: Sequence[Target], done: Results) -> frozenset[str]:
    """The SHA-256 of the files that the Hub has ahead of the commit: repos may call them otherwise than exports."""
    return frozenset(
        entry.sha256
        for target in targets
        if (sent := done.find(Sent, target))
        for entry in done.for_target(Exported, target).manifest.files
        if entry.path in sent.paths
    )


def unless_followed(plan: Plan) -> str | None:
    if reason := unless_published(plan):
        return reason
    if plan.stream is None:
        return "no version"
    if plan.proposes:
        return "nothing is released before it is merged"
    if plan.config.tags_versions:
        return "the repo has every version"
    return "private repos are nobody's to be led to" if plan.private else None


def unless_published(plan: Plan) -> str | None:
    return None if plan.publishes else "tags of this stream do not publish"


def unless_base_is_published(plan: Plan) -> str | None:
    return unless_published(plan) or (None if plan.base.publish else "the policy leaves the base model alone")
